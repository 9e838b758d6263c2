"""Recipes: what they say of themselves, what they run, and the constants of the papers.

The constants are written down here a second time, from the sources and not from the
recipes, so that one that is changed turns a test red.
"""

import contextlib
import dataclasses
import io
import pathlib
import re
import runpy

import pytest

from selfsup_tf import cli
from selfsup_tf import config as configs
from selfsup_tf.config import EncoderConfig, OptimizerConfig, make_plan
from selfsup_tf.methods import find_method, list_methods

ROOT = pathlib.Path(__file__).parents[1]
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate_recipes.py"))
read_card = GENERATOR["read_card"]

RECIPES = {
    (method, name): recipe
    for method in list_methods()
    for name, recipe in find_method(method).recipes.items()
}
EACH = pytest.mark.parametrize(("method", "name"), RECIPES)


def test_document_is_what_the_generator_prints(run_program):
    script = ROOT / "docs" / "generate_recipes.py"
    said = run_program("-X", "importtime", script)
    assert said.stdout == (ROOT / "docs" / "recipes.md").read_text(), (
        "python docs/generate_recipes.py > docs/recipes.md"
    )
    assert "| tensorflow" not in said.stderr
    assert GENERATOR["format_document"]() == said.stdout


@EACH
def test_says_what_it_is(method, name):
    card = read_card(RECIPES[method, name])
    keys = ["Reproduces", "Command", "Published", "Hardware", "Measured"]
    assert list(card.fields) == keys
    assert card.summary.endswith(".")
    assert all(card.fields.values())


def test_what_lacks_a_key_is_refused():
    def recipe():
        """A summary.

        Reproduces: nothing
        Command: python train.py
        Hardware: none
        Measured: not yet
        """

    with pytest.raises(ValueError, match="Published"):
        read_card(recipe)


@EACH
def test_command_parses_and_names_the_recipe(method, name, monkeypatch):
    """As do the flags that the docstring offers beside it; nothing is trained."""

    class Parsed(Exception):
        pass

    def stop(modules):
        raise Parsed

    monkeypatch.setattr("selfsup_tf.cli.program.import_tensorflow", stop)
    # Its folders and runs are not there.
    monkeypatch.setattr("selfsup_tf.cli.training.check_named", lambda *_, **__: None)
    fields = read_card(RECIPES[method, name]).fields
    words = fields["Command"].split()
    assert words[:4] == ["python", "train.py", method, name]
    # Of each recipe's own directory, which is the default: runs/METHOD-RECIPE.
    assert not any(word.startswith("--run_dir=") for word in words)
    runs = {f"runs/{method}-{name}" for method, name in RECIPES}
    assert {w.partition("=")[2] for w in words if "=runs/" in w} <= runs
    offered = re.findall(r"`(--[^`]+)`", " ".join(fields.values()))
    for flags in ["", *offered]:
        with pytest.raises(Parsed):
            cli.train([*words[2:], *flags.split()])


@pytest.mark.parametrize("method", list_methods())
def test_are_listed_in_a_column(method):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        cli.train([method])
    lines = [line for line in said.getvalue().splitlines() if line.startswith("  ")]
    names = list(find_method(method).recipes)
    assert [line.split()[0] for line in lines] == names
    starts = {
        line.index(read_card(RECIPES[method, name]).summary)
        for line, name in zip(lines, names, strict=True)
    }
    assert len(starts) == 1
    assert max(map(len, lines)) <= 88


def _network_of(config):
    """What decides whether a network can be built; width and mean do not."""
    none = EncoderConfig()
    encoder = dataclasses.replace(config.encoder, mean=none.mean, std=none.std)
    if encoder.name in EncoderConfig.RESNETS:
        encoder = dataclasses.replace(encoder, width=1 / 16)
    return encoder, config.image_size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "image_size"),
    {
        _network_of(recipe()): None
        for recipe in RECIPES.values()
        if recipe().encoder.name != configs.PRETRAINED
    },
    ids=lambda value: getattr(value, "name", value),
)
def test_encoder_can_be_built_for_the_image_size(encoder, image_size):
    from selfsup_tf.models.encoders import build_encoder

    built = build_encoder(encoder, image_size)
    assert built.input_shape == (None, image_size, image_size, 3)


def _flat(config, prefix=""):
    flat = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= _flat(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat


def _facts(config):
    """The fields by their dotted names; and the rate, which several of them make."""
    plan = make_plan(config, 10 * config.batch_size)
    views = {f"view_{i}.": view for i, view in enumerate(config.views, 1)}
    facts = _flat(config)
    for prefix, view in views.items():
        facts |= _flat(view, prefix)
    return {**facts, "rate": pytest.approx(plan.learning_rate)}


def _both(view):
    return {f"view_{i}.{key}": value for i in (1, 2) for key, value in view.items()}


def _check(method, name, *tables):
    facts = _facts(RECIPES[method, name]())
    for expected in tables:
        found = {key: facts[key] for key in expected}
        assert found == expected


# --- google-research/simclr: README, tf2/data_util.py, tf2/model.py, tf2/objective.py

SIMCLR_VIEW = {
    "crop_area": (0.08, 1.0),
    "crop_aspect": (3 / 4, 4 / 3),
    "crop_law": "distorted_box",
    "interpolation": "bicubic",
    "antialias": False,
    "flip": 0.5,
    "jitter": 0.8,
    "brightness": 0.8,
    "brightness_mode": "multiply",
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.2,
    "grayscale": 0.2,
    "blur": 0.5,
    "blur_sigma": (0.1, 2.0),
    "blur_size": 0.1,
    "solarize": 0.0,
}
SIMCLR_V1_VIEW = SIMCLR_VIEW | {"brightness_mode": "add"}
HALF_STRENGTH = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
GOOGLE = {
    "optimizer.name": "lars",
    "optimizer.lars_form": "classic",
    "optimizer.momentum": 0.9,
    "optimizer.trust_coefficient": 0.001,
    "optimizer.trust_clip": False,
    "optimizer.schedule": "cosine",
    "encoder.mean": (0.0, 0.0, 0.0),
    "encoder.std": (1.0, 1.0, 1.0),
    "encoder.zero_init": True,
    "projector_norm": "all",
    "directions": "sum",
}
SIMCLR_IMAGENET = GOOGLE | {
    "data": "imagenet2012",
    "image_size": 224,
    "batch_size": 4096,
    "temperature": 0.1,
    "held_out": 0,
    "encoder.stem": "imagenet",
}


@pytest.mark.parametrize(
    ("name", "epochs"), [("imagenet", 100), ("imagenet_1000", 1000)]
)
def test_simclr_v1(name, epochs):
    table = {
        "epochs": epochs,
        "encoder.name": "resnet50",
        "encoder.width": 1.0,
        "encoder.sk_ratio": 0.0,
        "projector": (2048, 128),
        "rate": 0.3 * 4096 / 256,
        "optimizer.warmup_epochs": 10.0,
        "optimizer.weight_decay": 1e-6,
    }
    _check("simclr", name, SIMCLR_IMAGENET, _both(SIMCLR_V1_VIEW), table)


# Chen et al. 2020b, table 1: depth, width, selective kernels; width of representation.
@pytest.mark.parametrize(
    ("name", "depth", "width", "sk_ratio", "size"),
    [
        ("imagenet_v2", 50, 1.0, 0.0, 2048),
        ("imagenet_v2_sk", 50, 1.0, 1 / 16, 2048),
        ("imagenet_v2_wide", 50, 2.0, 1 / 16, 4096),
        ("imagenet_v2_deep", 101, 1.0, 0.0, 2048),
        ("imagenet_v2_big", 152, 3.0, 1 / 16, 6144),
    ],
)
def test_simclr_v2(name, depth, width, sk_ratio, size):
    table = {
        "epochs": 800,
        "encoder.name": f"resnet{depth}",
        "encoder.width": width,
        "encoder.sk_ratio": sk_ratio,
        "projector": (size, size, 128),
        "rate": 0.1 * 4096**0.5,
        "optimizer.warmup_epochs": 0.05 * 800,
        "optimizer.weight_decay": 1e-4,
    }
    _check("simclr", name, SIMCLR_IMAGENET, _both(SIMCLR_VIEW), table)


SMALL_RESNET = {"encoder.name": "resnet18", "encoder.stem": "small"}
CIFAR10 = {"data": "cifar10", "image_size": 32, "held_out": 0} | SMALL_RESNET
CIFAR10_STATISTICS = {
    "encoder.mean": (0.4914, 0.4822, 0.4465),
    "encoder.std": (0.2470, 0.2435, 0.2616),
}
IMAGENET_STATISTICS = {
    "encoder.mean": (0.485, 0.456, 0.406),
    "encoder.std": (0.229, 0.224, 0.225),
}
NO_BLUR = {"blur": 0.0}


def test_simclr_cifar10_of_google():
    table = {
        "batch_size": 512,
        "epochs": 1000,
        "temperature": 0.5,
        "projector": (512, 512, 128),
        "rate": 1.0 * 512 / 256,
        "optimizer.warmup_epochs": 10.0,
        "optimizer.weight_decay": 1e-4,
    }
    view = SIMCLR_VIEW | HALF_STRENGTH | NO_BLUR
    _check("simclr", "cifar10", GOOGLE, CIFAR10, _both(view), table)


@pytest.mark.parametrize(
    ("name", "batch_size", "epochs"), [("stl10", 512, 200), ("folder", 256, 200)]
)
def test_simclr_by_the_authors_advice(name, batch_size, epochs):
    table = {
        "batch_size": batch_size,
        "epochs": epochs,
        "temperature": 0.2,
        "rate": 0.075 * batch_size**0.5,
        "optimizer.weight_decay": 1e-4,
    }
    _check("simclr", name, GOOGLE, _both(SIMCLR_VIEW), table)
    assert RECIPES["simclr", name]().projector[-1] == 128


# --- vturrisi/solo-learn: scripts/pretrain/cifar, solo/utils/lars.py, torchvision

SOLO = {
    "optimizer.name": "lars",
    "optimizer.lars_form": "popular",
    "optimizer.momentum": 0.9,
    "optimizer.trust_coefficient": 0.02,
    "optimizer.trust_clip": True,
    "optimizer.warmup_epochs": 10.0,
    "optimizer.schedule": "cosine",
    "encoder.zero_init": False,
    "batch_size": 256,
    "epochs": 1000,
}
TORCHVISION_VIEW = SIMCLR_VIEW | {"crop_law": "log_uniform", "antialias": True}


def test_simclr_cifar10_of_solo_learn():
    table = {
        "temperature": 0.2,
        "projector": (2048, 256),
        "projector_norm": "none",
        "directions": "mean",
        "rate": 0.4,
        "optimizer.weight_decay": 1e-4,
    }
    # Pillow's blur reaches as far as its sigma asks for: 13 taps of 32 px.
    views = _both(TORCHVISION_VIEW | {"blur_size": 0.4})
    _check("simclr", "cifar10_solo", CIFAR10, CIFAR10_STATISTICS, SOLO, views, table)


def test_byol_cifar10_of_solo_learn():
    table = {
        "base_tau": 0.99,
        "projector": (4096, 256),
        "predictor": (4096, 256),
        "directions": "sum",
        "rate": 1.0,
        "optimizer.weight_decay": 1e-5,
    }
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
    views = _both(TORCHVISION_VIEW | NO_BLUR | jitter)
    views["view_2.solarize"] = 0.2
    _check("byol", "cifar10", CIFAR10, CIFAR10_STATISTICS, SOLO, views, table)


# --- lightly-ai/lightly: docs/source/getting_started/benchmarks, March 2023

LIGHTLY = {
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": False,
    "optimizer.warmup_epochs": 0.0,
    "optimizer.schedule": "cosine",
    "encoder.zero_init": False,
    "directions": "mean",
    "held_out": 0,
}
LIGHTLY_VIEW = TORCHVISION_VIEW | HALF_STRENGTH | {"interpolation": "bilinear"}
LIGHTLY_SIMCLR = {
    "temperature": 0.5,
    "projector": (512, 128),
    "projector_norm": "none",
    "optimizer.weight_decay": 5e-4,
}


def test_simclr_cifar10_of_lightly():
    table = {"batch_size": 128, "epochs": 200, "rate": 0.06 * 128 / 128}
    views = _both(LIGHTLY_VIEW | NO_BLUR)
    tables = LIGHTLY, LIGHTLY_SIMCLR, IMAGENET_STATISTICS, views, table
    _check("simclr", "cifar10_lightly", CIFAR10, *tables)


def test_simclr_imagenette_of_lightly():
    table = {
        "data": "imagenette/160px-v2",
        "image_size": 128,
        "encoder.name": "resnet18",
        "encoder.stem": "imagenet",
        "batch_size": 256,
        "epochs": 800,
        "rate": 0.06 * 256 / 256,
    }
    tables = LIGHTLY, LIGHTLY_SIMCLR, IMAGENET_STATISTICS, _both(LIGHTLY_VIEW), table
    _check("simclr", "imagenette", *tables)


def test_byol_cifar10_of_lightly():
    # -cos has half the gradient of 2 - 2 cos. Plain SGD makes the same updates by half
    # the rate and, as the decay is coupled into the gradient, twice the decay.
    table = {
        "batch_size": 128,
        "epochs": 200,
        "base_tau": 0.99,
        "projector": (1024, 256),
        "predictor": (1024, 256),
        "rate": 0.06 * 128 / 128 / 2,
        "optimizer.weight_decay": 2 * 5e-4,
    }
    views = _both(LIGHTLY_VIEW | NO_BLUR)
    tables = LIGHTLY, IMAGENET_STATISTICS, views, table
    _check("byol", "cifar10_lightly", CIFAR10, *tables)


# --- google-deepmind/deepmind-research: byol/configs, byol/utils, byol/README.md

BYOL_VIEW = {
    "crop_area": (0.08, 1.0),
    "crop_aspect": (3 / 4, 4 / 3),
    "crop_law": "log_uniform_clipped",
    "interpolation": "bicubic",
    "antialias": False,
    "flip": 0.5,
    "jitter": 0.8,
    "brightness": 0.4,
    "brightness_mode": "add",
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "grayscale": 0.2,
    "blur": 1.0,
    "blur_sigma": (0.1, 2.0),
    "blur_size": 0.1,
    "solarize": 0.0,
    "solarize_threshold": 0.5,
}
BYOL_VIEWS = _both(BYOL_VIEW) | {"view_2.blur": 0.1, "view_2.solarize": 0.2}
DEEPMIND = IMAGENET_STATISTICS | {
    "held_out": 0,
    "optimizer.name": "lars",
    "optimizer.lars_form": "popular",
    "optimizer.momentum": 0.9,
    "optimizer.trust_coefficient": 0.001,
    "optimizer.trust_clip": False,
    "optimizer.warmup_epochs": 10.0,
    "optimizer.schedule": "cosine",
    "encoder.zero_init": True,
    "encoder.stem": "imagenet",
    "projector": (4096, 256),
    "predictor": (4096, 256),
    "directions": "sum",
}


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "decay", "tau"),
    [
        ("imagenet_40", 40, 0.45, 1e-6, 0.97),
        ("imagenet_100", 100, 0.45, 1e-6, 0.99),
        ("imagenet", 300, 0.3, 1e-6, 0.99),
        ("imagenet_1000", 1000, 0.2, 1.5e-6, 0.996),
    ],
)
def test_byol_imagenet(name, epochs, rate, decay, tau):
    table = {
        "data": "imagenet2012",
        "image_size": 224,
        "encoder.name": "resnet50",
        "batch_size": 4096,
        "epochs": epochs,
        "rate": rate * 4096 / 256,
        "optimizer.weight_decay": decay,
        "base_tau": tau,
    }
    _check("byol", name, DEEPMIND, BYOL_VIEWS, table)


def test_byol_imagenette():
    table = {
        "data": "imagenette/160px-v2",
        "image_size": 128,
        "encoder.name": "resnet18",
        # hk.nets.ResNet starts the last gamma of bottlenecks at 0, of no other block.
        "encoder.zero_init": False,
        "batch_size": 256,
        "epochs": 1000,
        "rate": 2.0,
        "optimizer.weight_decay": 1e-6,
        "base_tau": 0.996,
    }
    _check("byol", "imagenette", DEEPMIND | table, BYOL_VIEWS)


# --- Chen and He 2021, section 3 and appendices A and D; solo-learn; lightly

SIMSIAM = {
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": False,
    "optimizer.schedule": "cosine",
    "predictor": (512, 2048),
}
NO_WARMUP = {"optimizer.warmup_epochs": 0.0}
SIMSIAM_VIEW = LIGHTLY_VIEW | {"crop_area": (0.2, 1.0)}


def test_simsiam_imagenet():
    table = {
        "data": "imagenet2012",
        "encoder.name": "resnet50",
        "encoder.zero_init": True,
        "batch_size": 512,
        "epochs": 100,
        "rate": 0.05 * 512 / 256,
        "optimizer.weight_decay": 1e-4,
        "projector": (2048, 2048, 2048),
        "projector_norm": "bare",
        "fixed_predictor_rate": True,
    }
    tables = (
        SIMSIAM,
        NO_WARMUP,
        IMAGENET_STATISTICS,
        _both(SIMSIAM_VIEW | {"blur": 0.5}),
    )
    _check("simsiam", "imagenet", *tables, table)


def test_simsiam_cifar10():
    table = {
        "batch_size": 512,
        "epochs": 800,
        "rate": 0.03 * 512 / 256,
        "optimizer.weight_decay": 5e-4,
        "projector": (2048, 2048),
    }
    views = _both(SIMSIAM_VIEW | NO_BLUR)
    _check("simsiam", "cifar10", CIFAR10, SIMSIAM, NO_WARMUP, views, table)


def test_simsiam_cifar10_of_solo_learn():
    table = {
        "batch_size": 256,
        "epochs": 1000,
        "rate": 0.5,
        "optimizer.weight_decay": 1e-5,
        "optimizer.warmup_epochs": 10.0,
        "encoder.zero_init": False,
        "projector": (2048, 2048, 2048),
        "projector_norm": "bare",
        "fixed_predictor_rate": True,
    }
    views = _both(TORCHVISION_VIEW | HALF_STRENGTH | {"blur": 0.5, "blur_size": 0.4})
    tables = CIFAR10, CIFAR10_STATISTICS, SIMSIAM, views, table
    _check("simsiam", "cifar10_solo", *tables)


def test_simsiam_cifar10_of_lightly():
    table = {
        "batch_size": 512,
        "epochs": 800,
        "rate": 0.06,
        "optimizer.weight_decay": 5e-4,
        "encoder.zero_init": False,
        "projector": (2048, 2048),
        "projector_norm": "full",
        "fixed_predictor_rate": False,
    }
    views = _both(LIGHTLY_VIEW | NO_BLUR)
    tables = CIFAR10, IMAGENET_STATISTICS, SIMSIAM, NO_WARMUP, views, table
    _check("simsiam", "cifar10_lightly", *tables)


# --- Zbontar et al. 2021 and facebookresearch/barlowtwins; Bardes et al. 2022;
# --- solo-learn; lightly

BYOL_OF_TORCHVISION = BYOL_VIEW | {
    "crop_law": "log_uniform",
    "brightness_mode": "multiply",
    "antialias": True,
}
WIDE = {
    "data": "imagenet2012",
    "encoder.name": "resnet50",
    "encoder.zero_init": True,
    "batch_size": 2048,
    "epochs": 1000,
    "rate": 0.2 * 2048 / 256,
    "optimizer.name": "lars",
    "optimizer.lars_form": "popular",
    "optimizer.warmup_epochs": 10.0,
    "optimizer.weight_decay": 1e-6,
    "projector": (8192, 8192, 8192),
}
SOLO_WIDE = {
    "rate": 0.3,
    "optimizer.weight_decay": 1e-4,
    "projector": (2048, 2048, 2048),
}
LIGHTLY_128 = {  # cifar10_benchmark.py, of a batch of 128
    "batch_size": 128,
    "epochs": 200,
    "rate": 0.06 * 128 / 128,
    "optimizer.name": "sgd",
    "optimizer.weight_decay": 5e-4,
    "encoder.zero_init": False,
}
SOLO_SMALL = (
    TORCHVISION_VIEW
    | NO_BLUR
    | {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
)


def test_barlow_imagenet():
    table = {"off_diagonal": 0.0051, "loss_scale": 1.0, "bias_rate": 0.0048}
    views = _both(BYOL_OF_TORCHVISION) | {"view_2.blur": 0.1, "view_2.solarize": 0.2}
    _check("barlow", "imagenet", WIDE, IMAGENET_STATISTICS, views, table)


def test_barlow_cifar10_of_solo_learn():
    table = {"off_diagonal": 0.0051, "loss_scale": 0.1, "bias_rate": None}
    views = _both(SOLO_SMALL) | {"view_2.solarize": 0.2}
    tables = CIFAR10, CIFAR10_STATISTICS, SOLO, SOLO_WIDE, views, table
    _check("barlow", "cifar10", *tables)


def test_barlow_cifar10_of_lightly():
    table = {
        "projector": (2048, 2048),
        "off_diagonal": 5e-3,
    }
    views = _both(LIGHTLY_VIEW | NO_BLUR)
    tables = CIFAR10, IMAGENET_STATISTICS, NO_WARMUP, LIGHTLY_128, views, table
    _check("barlow", "cifar10_lightly", *tables)


VICREG = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}


def test_vicreg_imagenet():
    views = _both(BYOL_OF_TORCHVISION | {"blur": 0.5, "solarize": 0.1})
    _check("vicreg", "imagenet", WIDE, IMAGENET_STATISTICS, views, VICREG)


def test_vicreg_cifar10_of_solo_learn():
    views = _both(SOLO_SMALL | {"crop_area": (0.2, 1.0), "solarize": 0.1})
    tables = CIFAR10, CIFAR10_STATISTICS, SOLO, SOLO_WIDE, views, VICREG
    _check("vicreg", "cifar10", *tables)


# --- MoCo: mmpretrain; facebookresearch/moco, README; solo-learn; lightly

MOCO_V2 = {
    "temperature": 0.2,
    "projector_norm": "none",
    "predictor": (),
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.schedule": "cosine",
}


def test_moco_imagenet():
    table = {
        "encoder.name": "resnet50",
        "batch_size": 4096,
        "epochs": 100,
        "rate": 9.6,
        "optimizer.name": "lars",
        "optimizer.warmup_epochs": 10.0,
        "optimizer.weight_decay": 1e-6,
        "temperature": 1.0,
        "queue": 0,
        "base_tau": 0.99,
        "final_tau": 1.0,
        "projector": (4096, 256),
        "projector_norm": "bare",
        "predictor": (4096, 256),
        "predictor_norm": "hidden",
        "directions": "sum",
    }
    _check("moco", "imagenet", IMAGENET_STATISTICS, _moco_v3_views(0.2), table)


def _moco_v3_views(smallest_area):
    """The pipelines of mmpretrain, whose RandomResizedCrop is bilinear by default."""
    crop = {"crop_area": (smallest_area, 1.0), "interpolation": "bilinear"}
    views = _both(BYOL_OF_TORCHVISION | crop)
    return views | {"view_2.blur": 0.1, "view_2.solarize": 0.2}


def test_moco_imagenet_of_a_vit():
    table = {
        "data": "imagenet2012",
        "image_size": 224,
        "encoder.name": "vit_small",
        "encoder.patch_size": 16,
        "encoder.fixed_embedding": True,
        "batch_size": 16 * 256,
        "epochs": 300,
        "rate": 2.4e-3,
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.1,
        "optimizer.warmup_epochs": 40.0,
        "optimizer.schedule": "cosine",
        "temperature": 0.2,
        "queue": 0,
        "base_tau": 0.99,
        "final_tau": 1.0,
        "projector": (4096, 4096, 256),
        "projector_norm": "bare",
        "predictor": (4096, 256),
        "predictor_norm": "bare",
        "directions": "sum",
    }
    _check("moco", "imagenet_vit", IMAGENET_STATISTICS, _moco_v3_views(0.08), table)


def test_moco_imagenet_v2():
    table = {
        "encoder.name": "resnet50",
        "batch_size": 256,
        "epochs": 200,
        "rate": 0.03,
        "optimizer.weight_decay": 1e-4,
        "queue": 65536,
        "base_tau": 0.999,
        "final_tau": 0.999,
        "projector": (2048, 128),
        "directions": "one",
    }
    views = _both(SIMSIAM_VIEW | {"blur": 0.5})
    _check("moco", "imagenet_v2", IMAGENET_STATISTICS, NO_WARMUP, MOCO_V2, views, table)


def test_moco_cifar10_of_solo_learn():
    table = {
        "rate": 0.3,
        "optimizer.weight_decay": 1e-6,
        "temperature": 0.2,
        "queue": 0,
        "base_tau": 0.99,
        "final_tau": 1.0,
        "projector": (4096, 256),
        "predictor": (4096, 256),
        "directions": "sum",
    }
    views = _both(SOLO_SMALL) | {"view_2.solarize": 0.2}
    _check("moco", "cifar10", CIFAR10, CIFAR10_STATISTICS, SOLO, views, table)


def test_moco_cifar10_v2_of_solo_learn():
    table = {
        "batch_size": 256,
        "epochs": 1000,
        "rate": 0.3,
        "optimizer.weight_decay": 1e-4,
        "optimizer.warmup_epochs": 10.0,
        "queue": 32768,
        "base_tau": 0.99,
        "final_tau": 0.999,
        "projector": (2048, 256),
        "directions": "mean",
    }
    views = _both(TORCHVISION_VIEW | HALF_STRENGTH | {"blur": 0.5, "blur_size": 0.4})
    tables = CIFAR10, CIFAR10_STATISTICS, MOCO_V2, views, table
    _check("moco", "cifar10_v2", *tables)


def test_moco_cifar10_of_lightly():
    table = {
        "temperature": 0.1,
        "queue": 4096,
        "base_tau": 0.99,
        "final_tau": 0.99,
        "projector": (512, 128),
        "projector_norm": "none",
        "directions": "mean",
    }
    views = _both(LIGHTLY_VIEW | NO_BLUR)
    tables = CIFAR10, IMAGENET_STATISTICS, NO_WARMUP, LIGHTLY_128, views, table
    _check("moco", "cifar10_lightly", *tables)


# --- DINO: facebookresearch/dino; solo-learn, dino.yaml; lightly, cifar10_benchmark.py

DINO_HEAD = {
    "temperature": 0.1,
    "centre_momentum": 0.9,
    "projector": (2048, 2048, 256),
    "projector_norm": "none",
    "frozen_epochs": 1.0,
    "learn_lengths": False,
}
DINO_IMAGENET = IMAGENET_STATISTICS | {
    "data": "imagenet2012",
    "image_size": 224,
    "batch_size": 8 * 64,
    "epochs": 100,
    "optimizer.warmup_epochs": 10.0,
    "optimizer.schedule": "cosine",
    "optimizer.clip_norm": 3.0,
    "optimizer.clip_each": True,
    "prototypes": 65536,
    "target_temperature": 0.04,
    "target_temperature_start": 0.04,
    "base_tau": 0.996,
    "final_tau": 1.0,
}


def _dino_crops(large, small):
    """main_dino.py, DataAugmentationDINO."""
    of_all = SOLO_SMALL | {"blur_sigma": (0.1, 2.0)}
    kinds = (
        {"crop_area": large, "blur": 1.0, "solarize": 0.0, "size": None, "count": 1},
        {"crop_area": large, "blur": 0.1, "solarize": 0.2, "size": None, "count": 1},
        {"crop_area": small, "blur": 0.5, "solarize": 0.0, "size": 96, "count": 8}
        | {"blur_size": 17 / 96},
    )
    return {
        f"view_{i}.{key}": value
        for i, kind in enumerate(kinds, 1)
        for key, value in (of_all | kind).items()
    }


def test_dino_imagenet():
    table = {
        "encoder.name": "resnet50",
        "rate": 0.03 * 512 / 256,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 1e-4,
    }
    views = _dino_crops((0.14, 1.0), (0.05, 0.14))
    _check("dino", "imagenet", DINO_IMAGENET, DINO_HEAD, views, table)


def test_dino_imagenet_of_a_vit():
    table = {
        "encoder.name": "vit_small",
        "encoder.patch_size": 16,
        "rate": 0.0005 * 512 / 256,
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.04,
        "optimizer.final_weight_decay": 0.4,
    }
    views = _dino_crops((0.4, 1.0), (0.05, 0.4))
    _check("dino", "imagenet_vit", DINO_IMAGENET, DINO_HEAD, views, table)


def test_dino_cifar10_of_solo_learn():
    table = {
        "rate": 0.3,
        "optimizer.weight_decay": 1e-6,
        "target_temperature": 0.07,
        "target_temperature_start": 0.04,
        "target_temperature_epochs": 50,
        "base_tau": 0.9995,
        "final_tau": 1.0,
        "prototypes": 4096,
    }
    views = _both(SOLO_SMALL) | {"view_2.solarize": 0.2}
    tables = CIFAR10, CIFAR10_STATISTICS, SOLO, DINO_HEAD, views, table
    _check("dino", "cifar10", *tables)


def test_dino_cifar10_of_lightly():
    table = {
        "target_temperature": 0.04,
        "target_temperature_start": 0.04,
        "base_tau": 0.99,
        "final_tau": 0.99,
        "prototypes": 2048,
        "projector": (2048, 256),
        "projector_norm": "hidden",
        "frozen_epochs": 0.0,
    }
    views = _both(SOLO_SMALL | {"crop_area": (0.4, 1.0)}) | {"view_2.solarize": 0.2}
    tables = (
        CIFAR10,
        IMAGENET_STATISTICS,
        NO_WARMUP,
        LIGHTLY_128,
        DINO_HEAD | table,
        views,
    )
    _check("dino", "cifar10_lightly", *tables)


# --- fine-tuning and linear evaluation: READMEs of both, byol/configs/eval.py

CROP_AND_FLIP = {
    "crop_area": (0.08, 1.0),
    "crop_aspect": (3 / 4, 4 / 3),
    "flip": 0.5,
    "jitter": 0.0,
    "grayscale": 0.0,
    "blur": 0.0,
    "solarize": 0.0,
}
SIMCLR_CROPS = {f"view_1.{key}": value for key, value in CROP_AND_FLIP.items()} | {
    "view_1.crop_law": "distorted_box"
}
BYOL_CROPS = SIMCLR_CROPS | {"view_1.crop_law": "log_uniform_clipped"}
NO_WARMUP = {"optimizer.warmup_epochs": 0.0, "optimizer.schedule": "cosine"}
FEW_LABELS = NO_WARMUP | {
    "optimizer.name": "lars",
    "optimizer.lars_form": "classic",
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 0.0,
    "batch_size": 1024,
    "rate": 0.005 * 1024**0.5,
    "head_layer": 1,
    "frozen": False,
}
LINEAR = NO_WARMUP | {
    "data": "imagenet2012",
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": True,
    "head_layer": 0,
    "frozen": True,
}


@pytest.mark.parametrize(
    ("name", "data", "epochs"),
    [
        ("imagenet_1pct", "imagenet2012_subset/1pct", 60),
        ("imagenet_10pct", "imagenet2012_subset/10pct", 30),
    ],
)
def test_fine_tuning_of_simclr_v2(name, data, epochs):
    table = {"data": data, "epochs": epochs, "fraction": 1.0}
    _check("finetune", name, FEW_LABELS, SIMCLR_CROPS, table)


def test_linear_evaluation_of_simclr():
    table = {
        "batch_size": 4096,
        "epochs": 90,
        "rate": 0.1 * 4096 / 256,
        "optimizer.weight_decay": 1e-6,
    }
    _check("finetune", "linear_simclr", LINEAR, SIMCLR_CROPS, table)


def test_linear_evaluation_of_byol():
    table = {
        "batch_size": 1024,
        "epochs": 80,
        "rate": 0.2 * 1024 / 256,
        "optimizer.weight_decay": 0.0,
    }
    _check("finetune", "linear_byol", LINEAR, BYOL_CROPS, table)


def test_distillation_of_simclr_v2():
    """Of a student of the teacher's size."""
    table = {
        "data": "imagenet2012",
        "batch_size": 4096,
        "epochs": 400,
        "rate": 0.1 * 4096**0.5,
        "temperature": 0.1,
        "optimizer.name": "lars",
        "optimizer.weight_decay": 1e-4,
        "optimizer.warmup_epochs": 20.0,
    }
    _check("distill", "imagenet", SIMCLR_CROPS, table)


# --- ours: numbers in docs/measured.md were measured with these

CPU = {
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 5e-4,
    "optimizer.warmup_epochs": 0.5,
    "encoder.name": "resnet18",
    "encoder.width": 0.25,
}
MEASURED = {
    ("simclr", "shapes"): {
        "epochs": 18,
        "rate": 0.12,
        "temperature": 0.2,
        "projector": (256, 128),
    },
    ("simclr", "cifar10_cpu"): {
        "epochs": 10,
        "rate": 0.12,
        "temperature": 0.2,
        "projector": (256, 128),
        **_both({"crop_law": "log_uniform", "blur": 0.0} | HALF_STRENGTH),
    },
    ("simclr", "folder_cpu"): {
        "image_size": 96,
        "rate": 0.06,
        "temperature": 0.2,
        "projector": (256, 128),
        **_both(SIMCLR_VIEW | {"crop_law": "log_uniform"}),
    },
    ("byol", "cifar10_cpu"): {
        "epochs": 8,
        "rate": 0.1,
        "base_tau": 0.97,
        "projector": (512, 128),
        "predictor": (512, 128),
        **BYOL_VIEWS,
        **_both({"crop_law": "log_uniform", "blur": 0.0}),
    },
}


def test_measured_on_networks_for_devices():
    table = {
        "image_size": 96,
        "encoder.name": "MobileNetV3Small",
        "encoder.width": 1.0,
        "optimizer.name": "adam",
        "rate": 0.001,
        "optimizer.weight_decay": 1e-6,
        "optimizer.warmup_epochs": 0.5,
        "batch_size": 64,
        "epochs": 40,
        "temperature": 0.2,
        "projector": (256, 128),
        "directions": "mean",
        **_both({"crop_law": "log_uniform", "blur": 0.5} | HALF_STRENGTH),
        **_both({"crop_area": (0.25, 1.0)}),
    }
    _check("simclr", "folder_edge", table)


@pytest.mark.parametrize(("method", "name"), MEASURED)
def test_measured_here(method, name):
    directions = {"simclr": "mean", "byol": "sum"}[method]
    _check(method, name, CPU, MEASURED[method, name], {"directions": directions})


def test_stl10_learns_from_what_has_no_labels():
    for method in ("simclr", "byol"):
        for name in ("stl10", "stl10_cpu"):
            config = RECIPES[method, name]()
            assert (config.data, config.image_size) == ("stl10", 96)
            assert config.split.startswith("unlabelled")


# google-research/simclr, tf2/data_util.py: 2 int(H // 10 / 2) + 1, and BYOL's alike.
@pytest.mark.parametrize(
    ("size", "taps"), [(224, 23), (128, 13), (96, 9), (64, 7), (32, 3)]
)
@pytest.mark.parametrize(
    ("method", "name"),
    [("simclr", "imagenet"), ("simclr", "imagenet_v2"), ("byol", "imagenet_1000")],
)
def test_taps_of_the_blur(method, name, size, taps):
    from selfsup_tf.data.layers import RandomGaussianBlur
    from selfsup_tf.data.views import View

    config = RECIPES[method, name]()
    for view in config.views:
        layers = View(view, size).layers
        (blur,) = [layer for layer in layers if isinstance(layer, RandomGaussianBlur)]
        assert blur.taps(size) == taps


def test_overrides_reach_every_recipe():
    for recipe in RECIPES.values():
        optimizer = OptimizerConfig(name="adam")
        config = recipe(seed=7, optimizer=optimizer)
        assert (config.seed, config.optimizer) == (7, optimizer)
        assert configs.differences(config, configs.to_dict(recipe())) != []
