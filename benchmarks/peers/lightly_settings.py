"""What lightly is told: our recipe's constants, or those that it publishes itself."""

import dataclasses

from selfsup_tf.config import fitting_warmup, make_plan
from selfsup_tf.methods import find_method

PACKAGES = ("torch", "torchvision", "lightly==1.6.0")
OWN_OF_LIGHTLY = {
    "batch_size": 128,
    "learning_rate": 0.06,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "decay_all": True,
    "warmup_epochs": 0.0,
    "by_epoch": True,
    "stride": 1,
    "zero_init": False,
    "batch_norm": False,  # the head had none then
    "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
}
"""docs, cifar10_benchmark.py, as are the next two."""
OWN_HEADS = {
    "simclr": {"projector": [512, 128], "temperature": 0.5},
    "byol": {
        "projector": [1024, 256],
        "predictor": [1024, 256],
        "base_tau": 0.99,
        "final_tau": 0.99,
        "solarize": 0.0,
    },
}
OWN_VIEWS = {
    "input_size": 32,
    "gaussian_blur": 0.0,
    "cj_bright": 0.4,
    "cj_contrast": 0.4,
    "cj_sat": 0.4,
    "cj_hue": 0.1,
}


def lightly_settings(
    heat: str, method: str, *, images: int, epochs: float, seed: int
) -> dict:
    """The settings of `of_lightly.py`, but for places, workers and how to judge.

    Args:
        heat: "same" takes the constants of our recipe `cifar10_cpu`, "own" lightly's.
        method: "simclr" or "byol".
        images: How many are learned from.
        epochs: How long.
        seed: Of the run.
    """
    constants = _constants(heat, method, images)
    return constants | {
        "lightly": PACKAGES[-1],
        "method": method,
        "seed": seed,
        "epochs": epochs,
        "warmup_epochs": fitting_warmup(constants["warmup_epochs"], epochs),
        "width": 0.25,
    }


def _constants(heat: str, method: str, images: int) -> dict:
    config = find_method(method).recipe("cifar10_cpu")()
    plan, optimizer = make_plan(config, images), config.optimizer
    first, last = config.views[0], config.views[-1]
    if heat == "own":
        return OWN_OF_LIGHTLY | OWN_HEADS[method] | {"views": OWN_VIEWS}
    views = {
        "input_size": config.image_size,
        "min_scale": first.crop_area[0],
        "gaussian_blur": first.blur,
        "hf_prob": first.flip,
        "random_gray_scale": first.grayscale,
        "cj_prob": first.jitter,
        "cj_bright": first.brightness,
        "cj_contrast": first.contrast,
        "cj_sat": first.saturation,
        "cj_hue": first.hue,
    }
    # BYOL's loss is (2 - 2 cos) here, of both directions added or averaged, and -cos of
    # both averaged there: a factor that SGD takes as well in its rate.
    factor = 1.0
    if method == "byol":
        factor = {"sum": 4.0, "mean": 2.0}[config.directions]
    names = ("projector", "predictor", "temperature", "base_tau")
    return {
        "batch_size": config.batch_size,
        "learning_rate": plan.learning_rate * factor,
        "momentum": optimizer.momentum,
        "weight_decay": optimizer.weight_decay / factor,
        "decay_all": False,
        "warmup_epochs": optimizer.warmup_epochs,
        "by_epoch": False,
        "stride": 2,
        "zero_init": config.encoder.zero_init,
        "normalize": {"mean": config.encoder.mean, "std": config.encoder.std},
        "views": views,
        "batch_norm": True,  # as our recipe's head
        "solarize": last.solarize,
        "final_tau": 1.0,
        **{n: v for n, v in dataclasses.asdict(config).items() if n in names},
    }
