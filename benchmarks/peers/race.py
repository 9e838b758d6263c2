"""Ours beside lightly: the same network and images, on this machine, in one go.

python benchmarks/peers/race.py --data_dir=DIRECTORY --output=runs/peers
python benchmarks/peers/race.py --data_dir=DIRECTORY --output=runs/peers --epochs=0.05

SimCLR and BYOL on CIFAR-10, a ResNet-18 of width 1/4, in two heats:

  same   batch, epochs, head sizes, optimizer, rate and views of our recipe
         `cifar10_cpu`, for both
  own    each as it is published for CIFAR-10: ours by that recipe, lightly by
         cifar10_benchmark.py of its documentation, on the narrow network

lightly is installed into an environment of its own and used by its public interface
(`of_lightly.py`). Its minutes are those of training alone, ours those of the whole
program, from its start to its files. Our k-NN (k 200, T .1) judges the representations
of both; lightly's own stands beside. In the heat `same` lightly is trained a second
time, for as many epochs as ours has minutes for. What is there already is not run
again: a race that was stopped goes on.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
from environment import peers_python

from selfsup_tf.config import fitting_warmup, make_plan
from selfsup_tf.methods import find_method

ROOT = pathlib.Path(__file__).parents[2]
_PACKAGES = ("torch", "torchvision", "lightly")
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
OWN_OF_LIGHTLY = {
    "batch_size": 128,
    "learning_rate": 0.06,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "warmup_epochs": 0.0,
    "stride": 1,
    "normalize": _IMAGENET,
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
OWN_VIEWS = {"cj_bright": 0.4, "cj_contrast": 0.4, "cj_sat": 0.4, "cj_hue": 0.1}


def main() -> None:
    """Runs what is missing and prints the table."""
    flags = _parse_flags()
    flags.output.mkdir(parents=True, exist_ok=True)
    python = peers_python(flags.env, _PACKAGES)
    images = _write_images(flags)
    print("| heat | method | seed | whose | epochs | min | images/s | peak GB", end=" ")
    print("| k-NN by us | by lightly |\n|---|---|---|---|---|---|---|---|---|---|")
    gaps = []
    for heat in flags.heats:
        for method in flags.methods:
            for seed in flags.seeds:
                name = f"{heat}_{method}_{seed}"
                ours = _ours(method, seed, flags)  # of both heats
                _tell(heat, method, seed, "ours", ours)
                theirs = _theirs(name, heat, method, seed, python, images, flags)
                _tell(heat, method, seed, "lightly", theirs)
                gaps.append((heat, method, ours["knn"] - theirs["knn"]))
                if heat == "same":
                    speed = theirs["seconds"] / theirs["epochs"]
                    epochs = max(ours["seconds"] / speed, 0.01)
                    short = (f"minutes_{method}_{seed}", heat, method, seed)
                    theirs = _theirs(*short, python, images, flags, epochs=epochs)
                    _tell("minutes", method, seed, "lightly", theirs)
                    gaps.append(("minutes", method, ours["knn"] - theirs["knn"]))
    print("\nOurs less lightly's, k-NN by us, points, mean over the seeds:\n")
    for heat, method in dict.fromkeys(gap[:2] for gap in gaps):
        values = [100 * g for h, m, g in gaps if (h, m) == (heat, method)]
        each = ", ".join(f"{value:+.2f}" for value in values)
        print(f"{heat:8}{method:8}{statistics.mean(values):+.2f}  ({each})")


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", help="where TFDS keeps CIFAR-10")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--epochs", default=8.0, type=float)
    parser.add_argument("--heats", nargs="+", default=["same", "own"])
    parser.add_argument("--methods", nargs="+", default=["simclr", "byol"])
    parser.add_argument("--seeds", nargs="+", default=[0, 1], type=int)
    parser.add_argument("--workers", default=2, type=int, help="of lightly's loader")
    parser.add_argument(
        "--env", type=pathlib.Path, default=pathlib.Path("~/.cache/selfsup-tf/lightly")
    )
    return parser.parse_args()


def _write_images(flags: argparse.Namespace) -> pathlib.Path:
    """All of CIFAR-10 as a file that needs no TensorFlow to be read."""
    file = flags.output / "cifar10.npz"
    if not file.is_file():
        import tensorflow_datasets as tfds

        parts = {}
        for split in ("train", "test"):
            data = tfds.load(
                "cifar10", split=split, batch_size=-1, data_dir=flags.data_dir
            )
            parts[split] = np.asarray(data["image"])
            parts[f"{split}_labels"] = np.asarray(data["label"])
        np.savez(file, **parts)
    return file


def _ours(method: str, seed: int, flags: argparse.Namespace) -> dict:
    """Our run by its command line, in a process of its own."""
    folder = flags.output / f"{method}_{seed}_ours"
    told = folder.with_suffix(".json")
    if told.is_file():
        return json.loads(told.read_text())
    data = [f"--data_dir={flags.data_dir}"] if flags.data_dir else []
    where, length = f"--run_dir={folder}", f"--epochs={flags.epochs:g}"
    train = ["train.py", method, "cifar10_cpu", length, f"--seed={seed}"]
    # All 50,000 images are learned from, as by lightly; nothing is judged on the way.
    train += ["--held_out=0", "--knn_epochs=1000", "--checkpoint_epochs=1000"]
    start = time.perf_counter()
    _, _, usage = _run([sys.executable, *train, where, *data])
    whole = time.perf_counter() - start
    _run([sys.executable, "eval.py", "knn", "--untrained=False", where, *data])
    judged = json.loads((folder / "eval" / "knn.json").read_text())
    config = find_method(method).recipe("cifar10_cpu")(epochs=flags.epochs, held_out=0)
    images = make_plan(config, 50_000).total_steps * config.batch_size
    found = {
        "epochs": images / 50_000,
        "seconds": whole,
        "images_per_second": images / whole,
        "peak_bytes": 1024 * usage.ru_maxrss,
        "knn": judged["rows"][0]["value"],
    }
    told.write_text(json.dumps(found))
    return found


def _run(command: list[str]) -> tuple:
    """Waits for a command and says what it has used; its output is not shown."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    found = os.wait4(process.pid, 0)
    if found[1]:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return found


def _theirs(name, heat, method, seed, python, images, flags, epochs=None) -> dict:
    """A run of lightly, judged by us, too."""
    out = flags.output / f"{name}_lightly"
    judged = out.with_name(f"{out.name}_judged.json")
    if judged.is_file():
        return json.loads(judged.read_text())
    epochs, settings = epochs or flags.epochs, _settings(heat, method)
    settings |= {
        "method": method,
        "seed": seed,
        "epochs": epochs,
        "warmup_epochs": fitting_warmup(settings["warmup_epochs"], epochs),
        "width": 0.25,
        "workers": flags.workers,
        "images": str(images.resolve()),
        "out": str(out.resolve()),
    }
    file = out.with_name(f"{out.name}_settings.json")
    file.write_text(json.dumps(settings, indent=2))
    start = time.perf_counter()
    program = pathlib.Path(__file__).with_name("of_lightly.py")
    _run([str(python), str(program), str(file.resolve())])
    whole = time.perf_counter() - start
    records = json.loads(out.with_suffix(".json").read_text())
    found = {
        "epochs": records[-1]["epoch"],
        "seconds": records[-1]["seconds"],
        "with_its_judging": whole,
        "images_per_second": records[-1]["images_per_second"],
        "peak_bytes": records[-1]["peak_bytes"],
        "knn": _judge(out.with_suffix(".npz"), images),
        "their_knn": records[-1]["knn"],
    }
    judged.write_text(json.dumps(found))
    return found


def _settings(heat: str, method: str) -> dict:
    """What lightly is told: our recipe's constants, or those it publishes."""
    config = find_method(method).recipe("cifar10_cpu")()
    plan, optimizer = make_plan(config, 50_000), config.optimizer
    first, last = config.views[0], config.views[-1]
    views = {"input_size": 32, "min_scale": first.crop_area[0], "gaussian_blur": 0.0}
    if heat == "own":
        return OWN_OF_LIGHTLY | OWN_HEADS[method] | {"views": views | OWN_VIEWS}
    strengths = {
        "cj_bright": first.brightness,
        "cj_contrast": first.contrast,
        "cj_sat": first.saturation,
        "cj_hue": first.hue,
    }
    names = ("projector", "predictor", "temperature", "base_tau")
    return {
        "batch_size": config.batch_size,
        "learning_rate": plan.learning_rate,
        "momentum": optimizer.momentum,
        "weight_decay": optimizer.weight_decay,
        "warmup_epochs": optimizer.warmup_epochs,
        "stride": 2,
        "normalize": {"mean": config.encoder.mean, "std": config.encoder.std},
        "views": views | strengths,
        "solarize": last.solarize,
        "final_tau": 1.0,
        **{n: v for n, v in dataclasses.asdict(config).items() if n in names},
    }


def _judge(file: pathlib.Path, images: pathlib.Path) -> float:
    """Our k-NN of representations in a file."""
    from selfsup_tf.evaluation.features import Features
    from selfsup_tf.evaluation.knn import knn_from_features

    with np.load(file) as h, np.load(images) as data:
        parts = [
            Features(h[part], data[f"{part}_labels"], np.arange(len(h[part])))
            for part in ("train", "test")
        ]
    return knn_from_features(*parts).top_1


def _tell(heat: str, method: str, seed: int, whose: str, found: dict) -> None:
    theirs = f"{100 * found['their_knn']:.2f} %" if "their_knn" in found else ""
    memory = found["peak_bytes"] / 2**30
    print(
        f"| {heat} | {method} | {seed} | {whose} | {found['epochs']:.2f} "
        f"| {found['seconds'] / 60:.1f} | {found['images_per_second']:.0f} "
        f"| {memory:.1f} | {100 * found['knn']:.2f} % | {theirs} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
