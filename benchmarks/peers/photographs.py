"""Ours beside lightly-train, on a folder of photographs and this machine, in one go.

python benchmarks/peers/photographs.py --data=FOLDER --output=runs/photographs

FOLDER has `train` and `test`, each with a folder for each class. Both learn SimCLR of a
ResNet-18 by their commands alone, on all images of `train`, in batches of 128 views of
96 pixels, in float32: ours by the recipe `folder_cpu`, lightly-train by its defaults.
It is then trained once more, for as many epochs as ours has minutes for. Minutes are
those of the whole command, its start included. Our k-NN (k 20, T .1) judges the
representations of both.

lightly-train (AGPL-3.0) is installed into an environment of its own and run as a
program. What was measured is not measured again, unless its settings have changed.
"""

import argparse
import csv
import pathlib
import shutil
import sys
import time

import numpy as np
from environment import peers_python
from kept import keep, known
from process import run

from selfsup_tf.files import read_json

ROOT = pathlib.Path(__file__).parents[2]
SIZE, BATCH, K = 96, 128, 20


def main() -> None:
    """Runs what is missing and prints the table."""
    flags = _parse_flags()
    flags.output.mkdir(parents=True, exist_ok=True)
    python = peers_python(flags.env, ("lightly-train==0.18.0",))
    print("\n| heat | seed | whose | epochs | min | images/s | peak GiB | k-NN by us |")
    print("|---|---|---|---|---|---|---|---|")
    images = sum(file.is_file() for file in (flags.data / "train").rglob("*"))
    for seed in flags.seeds:
        ours = _ours(seed, flags)
        _tell("same", seed, "ours", ours, images)
        theirs = _theirs(seed, flags.epochs, python, flags)
        _tell("same", seed, "lightly-train", theirs, images)
        equal = round(flags.epochs * ours["seconds"] / theirs["seconds"])
        theirs = _theirs(seed, max(1, equal), python, flags)
        _tell("minutes", seed, "lightly-train", theirs, images)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--epochs", default=8, type=int)
    parser.add_argument("--seeds", nargs="+", default=[0, 1], type=int)
    parser.add_argument(
        "--env",
        type=pathlib.Path,
        default=pathlib.Path("~/.cache/selfsup-tf/lightly-train"),
    )
    flags = parser.parse_args()
    flags.data = flags.data.expanduser().resolve()
    flags.output = flags.output.expanduser().resolve()
    return flags


def _ours(seed: int, flags: argparse.Namespace) -> dict:
    folder = flags.output / f"ours_{seed}"
    train = {
        "data": flags.data,
        "image_size": SIZE,
        "batch_size": BATCH,
        "encoder.width": 1.0,  # as torchvision's
        "held_out": 0,
        "epochs": flags.epochs,
        "knn_epochs": 1000,
        "seed": seed,
    }
    asked = {name: str(value) for name, value in train.items()}
    if found := known(folder.with_suffix(".json"), asked):
        return found
    shutil.rmtree(folder, ignore_errors=True)
    where = f"--run_dir={folder}"
    given = [f"--{name}={value}" for name, value in train.items()]
    command = [sys.executable, "train.py", "simclr", "folder_cpu", *given, where]
    found = _timed(command) | {"epochs": flags.epochs}
    judge = [sys.executable, "eval.py", "knn", f"--k={K}", "--untrained=False", where]
    run(judge, ROOT)
    found["knn"] = read_json(folder / "eval" / f"knn_k={K}.json")["rows"][0]["value"]
    keep(folder.with_suffix(".json"), asked, found)
    return found


def _theirs(seed: int, epochs: int, python: pathlib.Path, flags) -> dict:
    program = str(python.with_name("lightly-train"))
    folder = flags.output / f"lightly_train_{seed}_{epochs}"
    train = {
        "data": str(flags.data / "train"),
        "model": "torchvision/resnet18",
        "method": "simclr",
        "epochs": str(epochs),
        "batch_size": str(BATCH),
        "transform_args.image_size": f"[{SIZE},{SIZE}]",
        "precision": "32-true",
        "accelerator": "cpu",
        "seed": str(seed),
    }
    if found := known(folder.with_suffix(".json"), train):
        return found
    shutil.rmtree(folder, ignore_errors=True)
    given = [f"{name}={value}" for name, value in train.items()]
    found = _timed([program, "pretrain", f"out={folder}", *given]) | {"epochs": epochs}
    tables = [folder / f"{split}.csv" for split in ("train", "test")]
    for table in tables:
        embed = {
            "out": table,
            "data": flags.data / table.stem,
            "checkpoint": folder / "checkpoints" / "last.ckpt",
            "format": "csv",
            "image_size": SIZE,
            "accelerator": "cpu",
        }
        given = [f"{name}={value}" for name, value in embed.items()]
        run([program, "embed", *given], ROOT)
    found["knn"] = _judge(*tables)
    keep(folder.with_suffix(".json"), train, found)
    return found


def _timed(command: list[str]) -> dict:
    start = time.perf_counter()
    peak = run(command, ROOT)
    return {"seconds": time.perf_counter() - start, "peak_bytes": peak}


def _judge(*tables: pathlib.Path) -> float:
    """Our k-NN of the representations in two files, whose folders are the classes."""
    from selfsup_tf.evaluation.features import Features
    from selfsup_tf.evaluation.knn import knn_from_features

    parts = []
    for table in tables:
        with table.open(newline="") as stream:
            header, *rows = csv.reader(stream)
        name = header.index("filename")
        numbers = [i for i, title in enumerate(header) if title.startswith("embedding")]
        h = np.array([[row[i] for i in numbers] for row in rows], np.float32)
        classes = [pathlib.PurePath(row[name]).parts[-2] for row in rows]
        _, labels = np.unique(classes, return_inverse=True)
        parts.append(Features(h, labels.astype(np.int64), np.arange(len(h))))
    return knn_from_features(*parts, k=K).top_1


def _tell(heat: str, seed: int, whose: str, found: dict, images: int) -> None:
    print(
        f"| {heat} | {seed} | {whose} | {found['epochs']} "
        f"| {found['seconds'] / 60:.1f} "
        f"| {found['epochs'] * images / found['seconds']:.0f} "
        f"| {found['peak_bytes'] / 2**30:.1f} | {100 * found['knn']:.2f} % |",
        flush=True,
    )


if __name__ == "__main__":
    main()
