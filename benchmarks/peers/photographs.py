"""Ours beside lightly-train, on a folder of photographs and this machine, in one go.

python benchmarks/peers/photographs.py --data=FOLDER --output=runs/photographs

FOLDER has `train` and `test`, each with a folder for each class. Both learn SimCLR of a
ResNet-18 by their commands alone, on all images of `train`, in batches of 128 images,
two views of 96 pixels of each, in float32. Everything else is each program's own: ours
the recipe `folder_cpu`, which was made for a few thousand photographs and few epochs,
lightly-train's its defaults, for which its documentation advises batches of 256 and
more, hundreds of epochs and tens of thousands of images. It is then trained once more,
for as many whole epochs as ours has minutes for. Minutes are those of the
whole command, its start included. Our k-NN (k 20, T .1) judges both, of the same
pixels: the views that ours is judged by, written as files.

lightly-train (AGPL-3.0) is installed into an environment of its own and run as a
program. What was measured is not measured again, unless its settings have changed.
"""

import argparse
import csv
import dataclasses
import pathlib
import shutil
import sys

import numpy as np
from environment import peers_python
from kept import measured
from process import run
from shared import our_knn

from selfsup_tf.evaluation.naming import place_digest
from selfsup_tf.files import read_json
from selfsup_tf.methods import find_method

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = "lightly-train==0.18.0"
SIZE, BATCH, K = 96, 128, 20


def main() -> None:
    """Runs what is missing and prints the table."""
    flags = _parse_flags()
    flags.output.mkdir(parents=True, exist_ok=True)
    python = peers_python(flags.env, (PACKAGE,))
    views = _write_views(flags)
    print("\n| heat | seed | whose | epochs | min | peak GiB | k-NN by us |")
    print("|---|---|---|---|---|---|---|")
    for seed in flags.seeds:
        options = (seed, python, views, flags)
        if seed % 2:  # who is first may be better off
            _theirs(*options, epochs=flags.epochs)
        ours = _ours(seed, flags)
        theirs = _theirs(*options, epochs=flags.epochs)
        _tell("epochs", seed, "ours", ours)
        _tell("epochs", seed, "lightly-train", theirs)
        equal = round(flags.epochs * ours["seconds"] / theirs["seconds"])
        theirs = _theirs(*options, epochs=max(1, equal))
        _tell("minutes", seed, "lightly-train", theirs)


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


def _write_views(flags: argparse.Namespace) -> pathlib.Path:
    """What ours is judged by, as PNG files of SIZE pixels in the folders of FOLDER."""
    import tensorflow as tf

    from selfsup_tf.data.decode import decode_image
    from selfsup_tf.data.views import evaluation_view

    views = flags.output / f"views_{place_digest(str(flags.data))}"
    for split in ("train", "test"):
        for file in sorted((flags.data / split).rglob("*.*")):
            view = views / f"{file.relative_to(flags.data)}.png"
            if not view.is_file():
                view.parent.mkdir(parents=True, exist_ok=True)
                image = decode_image(tf.io.read_file(str(file)))
                pixels = tf.round(255 * evaluation_view(image, SIZE))
                tf.io.write_file(str(view), tf.io.encode_png(tf.cast(pixels, tf.uint8)))
    return views


def _ours(seed: int, flags: argparse.Namespace) -> dict:
    folder = flags.output / f"ours_{seed}"
    where = f"--run_dir={folder}"
    fields = {
        "data": str(flags.data),
        "image_size": SIZE,
        "batch_size": BATCH,
        "held_out": 0,
        "epochs": float(flags.epochs),
        "seed": seed,
    }
    config = find_method("simclr").recipe("folder_cpu")(**fields)
    encoder = dataclasses.replace(config.encoder, width=1.0)  # as torchvision's
    asked = dataclasses.asdict(dataclasses.replace(config, encoder=encoder))

    def train():
        shutil.rmtree(folder, ignore_errors=True)
        given = [f"--{name}={value}" for name, value in fields.items()]
        given += ["--encoder.width=1.0", "--knn_epochs=1000", where]
        used = run([sys.executable, "train.py", "simclr", "folder_cpu", *given], ROOT)
        return dataclasses.asdict(used) | {"epochs": flags.epochs}

    def judge():
        words = ["eval.py", "knn", f"--k={K}", "--untrained=False", where]
        run([sys.executable, *words], ROOT)
        return read_json(folder / "eval" / f"knn_k={K}.json")["rows"][0]["value"]

    return measured(folder, asked, train, judge)


def _theirs(seed, python, views, flags, *, epochs: int) -> dict:
    program = str(python.with_name("lightly-train"))
    folder = flags.output / f"lightly_train_{seed}_{epochs}"
    options = {
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

    def train():
        shutil.rmtree(folder, ignore_errors=True)
        given = [f"{name}={value}" for name, value in options.items()]
        used = run([program, "pretrain", f"out={folder}", *given], ROOT)
        return dataclasses.asdict(used) | {"epochs": epochs}

    def judge():
        tables = [folder / f"{split}.csv" for split in ("train", "test")]
        for table in tables:
            embed = {
                "out": table,
                "data": views / table.stem,
                "checkpoint": folder / "checkpoints" / "last.ckpt",
                "format": "csv",
                "image_size": SIZE,
                "accelerator": "cpu",
                "overwrite": True,
            }
            given = [f"{name}={value}" for name, value in embed.items()]
            run([program, "embed", *given], ROOT)
        return _judge(*tables)

    return measured(folder, options | {"package": PACKAGE}, train, judge)


def _judge(*tables: pathlib.Path) -> float:
    """Our k-NN of the representations in two files, whose folders are the classes."""
    parts, names = [], None
    for table in tables:
        with table.open(newline="") as stream:
            header, *rows = csv.reader(stream)
        name = header.index("filename")
        numbers = [i for i, title in enumerate(header) if title.startswith("embedding")]
        h = np.array([[row[i] for i in numbers] for row in rows], np.float32)
        classes = [pathlib.PurePath(row[name]).parts[-2] for row in rows]
        names = sorted(set(classes)) if names is None else names  # those of train
        parts.append((h, np.array([names.index(word) for word in classes])))
    return our_knn(*parts, k=K)


def _tell(heat: str, seed: int, whose: str, found: dict) -> None:
    print(
        f"| {heat} | {seed} | {whose} | {found['epochs']} "
        f"| {found['seconds'] / 60:.1f} "
        f"| {found['peak_bytes'] / 2**30:.1f} | {100 * found['knn']:.2f} % |",
        flush=True,
    )


if __name__ == "__main__":
    main()
