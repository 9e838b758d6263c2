"""Ours beside lightly, on the same images and this machine, in one go.

python benchmarks/peers/race.py --data_dir=DIRECTORY --output=runs/peers
python benchmarks/peers/race.py --data_dir=DIRECTORY --output=runs/try --epochs=0.05

SimCLR and BYOL on all of CIFAR-10 for --epochs, a ResNet-18 of width 1/4, in two heats:

  same   batch, head sizes, optimizer, rate, decay and strength of the views of our
         recipe `cifar10_cpu`, for both; they were chosen with ours. What differs: the
         first weights, and with them what a rate amounts to; the crop (ours bicubic,
         theirs bilinear); colours (ours in floats, contrast about each channel's mean,
         saturation by HSV; theirs on bytes, contrast about the mean grey); BYOL's
         brightness (ours adds), its target (theirs moves before a step) and the last
         bias of its heads (theirs have one); SimCLR's
         BatchNorms (ours see both views together, the last without centre); where the
         rate stands in SGD's momentum (ours within); the moving variance (theirs
         unbiased)
  own    ours by that recipe, lightly by the constants of cifar10_benchmark.py of its
         documentation (commit 0351a522) with the stem of that file, four times the
         work; they were made for the full width and 200 epochs

lightly is installed into an environment of its own, with the build of PyTorch that pip
takes, and used by its public interface (`of_lightly.py`); of the ways tried to call it
on two cores that which was fastest: a thread of PyTorch beside two workers, and
channels_last. Minutes are those of training alone; the memory is that of the whole
process. Our k-NN (k
200, T .1) judges the representations of both; lightly's own stands beside. Who is first
changes with the seed. After the heat `same` lightly
is trained once more, for as many epochs as ours has minutes for. A race that was
stopped goes on; what was run with other settings is run again.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import statistics
import sys

import numpy as np
from environment import peers_python
from kept import measured
from lightly_settings import PACKAGES, lightly_settings
from process import run
from shared import cifar10, flags_beside_lightly, our_knn, parsed, write_images

from selfsup_tf.config import make_plan
from selfsup_tf.files import read_json, read_records
from selfsup_tf.methods import find_method

ROOT = pathlib.Path(__file__).parents[2]
IMAGES = 50_000


def main() -> None:
    """Runs what is missing and prints the table."""
    flags = _parse_flags()
    python = peers_python(flags.env, PACKAGES)
    images = _write_images(flags)
    loader = f"lightly: {flags.workers} workers, threads of PyTorch: {flags.threads}"
    print(f"{os.cpu_count()} cores, {loader}\n")
    print(
        "| heat | method | seed | whose | epochs | min | images/s | peak GiB", end=" "
    )
    print("| k-NN by us | by lightly |\n|---|---|---|---|---|---|---|---|---|---|")
    gaps = []
    for heat in flags.heats:
        for method in flags.methods:
            for seed in flags.seeds:
                options = (heat, method, seed, python, images, flags)
                measure_ours = functools.partial(_ours, method, seed, flags)
                if seed % 2 == 0:
                    measure_ours()  # and is known from then on
                theirs = _theirs(*options, epochs=flags.epochs)
                ours = measure_ours()
                _tell(heat, method, seed, "ours", ours)
                _tell(heat, method, seed, "lightly", theirs)
                gaps.append((heat, method, ours["knn"] - theirs["knn"]))
                if heat == "same":
                    speed = theirs["epochs"] / theirs["seconds"]
                    theirs = _theirs(*options, epochs=ours["seconds"] * speed)
                    _tell("minutes", method, seed, "lightly", theirs)
                    gaps.append(("minutes", method, ours["knn"] - theirs["knn"]))
    print("\nOurs less lightly's, k-NN by us, points, mean over the seeds:\n")
    for heat, method in dict.fromkeys(gap[:2] for gap in gaps):
        values = [100 * g for h, m, g in gaps if (h, m) == (heat, method)]
        each = ", ".join(f"{value:+.2f}" for value in values)
        print(f"{heat:8}{method:8}{statistics.mean(values):+.2f}  ({each})")


def _parse_flags() -> argparse.Namespace:
    parser = flags_beside_lightly(__doc__)
    parser.add_argument("--epochs", default=8.0, type=float)
    heats = ["same", "own"]
    parser.add_argument("--heats", nargs="+", default=heats, choices=heats)
    parser.add_argument("--seeds", nargs="+", default=[0, 1], type=int)
    return parsed(parser)


def _write_images(flags: argparse.Namespace) -> pathlib.Path:
    """All of CIFAR-10 as a file that needs no TensorFlow to be read."""
    file = flags.output / "cifar10.npz"
    if not file.is_file():
        splits = ("train", "test")
        write_images(file, {name: cifar10(name, flags.data_dir) for name in splits})
    return file


def _ours(method: str, seed: int, flags: argparse.Namespace) -> dict:
    """Our run by its command line, in a process of its own."""
    folder = flags.output / f"{method}_{seed}_ours"
    where = f"--run_dir={folder}"
    # All images are learned from, as by lightly.
    fields = {"epochs": flags.epochs, "seed": seed, "held_out": 0}
    config = find_method(method).recipe("cifar10_cpu")(**fields)

    def train():
        shutil.rmtree(folder, ignore_errors=True)
        given = [f"--{name}={value}" for name, value in fields.items()]
        given += ["--knn_epochs=1000", "--checkpoint_epochs=1000"]
        words = ["train.py", method, "cifar10_cpu", *given, where, *flags.data]
        peak = run([sys.executable, *words], ROOT).peak_bytes
        log = read_records(folder / "log.jsonl")
        records = [r for r in log if "train/images_per_second" in r]
        steps = [0, *(record["step"] for record in records)]
        seconds = sum(
            (after - before) * config.batch_size / record["train/images_per_second"]
            for before, after, record in zip(steps, steps[1:], records, strict=False)
        )
        epochs = make_plan(config, IMAGES).total_steps * config.batch_size / IMAGES
        return {"epochs": epochs, "seconds": seconds, "peak_bytes": peak}

    def judge():
        words = ["eval.py", "knn", "--untrained=False", where, *flags.data]
        run([sys.executable, *words], ROOT)
        return read_json(folder / "eval" / "knn.json")["rows"][0]["value"]

    return measured(folder, dataclasses.asdict(config), train, judge)


def _theirs(heat, method, seed, python, images, flags, *, epochs) -> dict:
    """A run of lightly, judged by us, too."""
    length = {"images": IMAGES, "epochs": epochs, "seed": seed}
    settings = lightly_settings(heat, method, **length)
    settings |= {"workers": flags.workers, "threads": flags.threads}
    settings |= {"images": str(images)}
    kind = heat if epochs == flags.epochs else "minutes"
    out = flags.output / f"{kind}_{method}_{seed}_lightly"

    def train():
        file, done = out.with_suffix(".settings"), out.with_suffix(".json")
        file.write_text(json.dumps(settings | {"out": str(out)}, indent=2))
        program = pathlib.Path(__file__).with_name("of_lightly.py")
        done.unlink(missing_ok=True)
        peak = run([str(python), str(program), str(file)], ROOT, until=done).peak_bytes
        return read_json(done) | {"peak_bytes": peak}

    def judge():
        return _judge(out.with_suffix(".npz"), images)

    return measured(out, settings, train, judge)


def _judge(file: pathlib.Path, images: pathlib.Path) -> float:
    """Our k-NN of representations in a file."""
    with np.load(file) as h, np.load(images) as data:
        return our_knn(*((h[n], data[f"{n}_labels"]) for n in ("train", "test")))


def _tell(heat: str, method: str, seed: int, whose: str, found: dict) -> None:
    theirs = f"{100 * found['their_knn']:.2f} %" if "their_knn" in found else ""
    speed = found["epochs"] * IMAGES / found["seconds"]
    memory = found["peak_bytes"] / 2**30
    print(
        f"| {heat} | {method} | {seed} | {whose} | {found['epochs']:.2f} "
        f"| {found['seconds'] / 60:.1f} | {speed:.0f} "
        f"| {memory:.1f} | {100 * found['knn']:.2f} % | {theirs} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
