"""The k-NN of ours and of lightly over a long run, of the same images: a picture.

python benchmarks/peers/curve.py --data_dir=DIRECTORY --output=runs/curve --epochs=100
python benchmarks/peers/curve.py --data_dir=DIRECTORY --output=runs/curve --whose=ours

The recipe `cifar10_cpu` and lightly with its constants (`race.py` says what differs)
learn from the images that the recipe learns from. Every --every epochs each is judged
as a run judges itself while it trains: by the images that it holds out, whose
neighbours are looked for among four times as many. What was stopped goes on.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
from environment import peers_python
from lightly_settings import PACKAGES, lightly_settings
from shared import cifar10, flags_beside_lightly, our_knn, parsed, write_images

from selfsup_tf.evaluation.plotting import Curve, add_axes, draw_lines, new_figure
from selfsup_tf.files import read_json, read_records, save_figure
from selfsup_tf.methods import find_method

ROOT = pathlib.Path(__file__).parents[2]


def main() -> None:
    """Trains what is missing, prints the numbers and draws them."""
    flags = _parse_flags()
    for method in flags.methods:
        curves = []
        if "ours" in flags.whose:
            curves.append(_ours(method, flags))
        if "lightly" in flags.whose:
            curves.append(_theirs(method, flags))
        title = find_method(method).title
        print(f"\n{title}\n\n| epoch | {' | '.join(c.name for c in curves)} |")
        print("|---" * (1 + len(curves)) + "|")
        for rows in zip(*(zip(c.x, c.y, strict=True) for c in curves), strict=False):
            values = " | ".join(f"{100 * y:.2f} %" for _, y in rows)
            print(f"| {rows[0][0]:.0f} | {values} |")
        figure = new_figure()
        axes = add_axes(figure, f"{title}, k-NN of images held out", "epoch", "%")
        draw_lines(axes, curves, percent=True)
        print(save_figure(figure, flags.output / f"{method}.png"))


def _parse_flags() -> argparse.Namespace:
    parser = flags_beside_lightly(__doc__)
    parser.add_argument("--epochs", default=100.0, type=float)
    parser.add_argument("--every", default=5.0, type=float, help="epochs")
    whose = ["ours", "lightly"]
    parser.add_argument("--whose", nargs="+", default=whose, choices=whose)
    parser.add_argument("--seed", default=0, type=int)
    return parsed(parser)


def _ours(method: str, flags: argparse.Namespace) -> Curve:
    folder = flags.output / f"{method}_ours"
    given = {
        "epochs": flags.epochs,
        "seed": flags.seed,
        "knn_epochs": flags.every,
        "checkpoint_epochs": flags.every,
        "run_dir": folder,
    }
    words = [f"--{name}={value}" for name, value in given.items()]
    train = [sys.executable, "train.py", method, "cifar10_cpu", *words, *flags.data]
    subprocess.run(train, cwd=ROOT, check=True)
    log = [r for r in read_records(folder / "log.jsonl") if "eval/knn_top_1" in r]
    x, y = (tuple(r[name] for r in log) for name in ("epoch", "eval/knn_top_1"))
    return Curve("ours", x, y)


def _theirs(method: str, flags: argparse.Namespace) -> Curve:
    python = peers_python(flags.env, PACKAGES)
    images = _write_images(method, flags)
    with np.load(images) as file:
        labels = {part: file[f"{part}_labels"] for part in ("train", "bank", "test")}
    out = flags.output / f"{method}_lightly"
    size = len(labels["train"])
    length = {"images": size, "epochs": flags.epochs, "seed": flags.seed}
    settings = lightly_settings("same", method, **length)
    settings |= {"workers": flags.workers, "threads": flags.threads}
    settings |= {"images": str(images), "out": str(out)}
    settings |= {"every": flags.every}
    file, done = out.with_suffix(".settings"), out.with_suffix(".json")
    asked = json.dumps(settings, indent=2)
    if file.is_file() and file.read_text() != asked:
        raise SystemExit(f"{file} is of other settings: use another --output.")
    file.write_text(asked)
    if not done.is_file():
        program = pathlib.Path(__file__).with_name("of_lightly.py")
        subprocess.run([str(python), str(program), str(file)], check=True)
    print(f"lightly: {read_json(done)['seconds'] / 60:.1f} min of training")
    kept = out.parent.glob(f"{out.name}_*.npz")
    files = {int(file.stem.rpartition("_")[2]): file for file in kept}
    steps_per_epoch = size // settings["batch_size"]
    x = tuple(step / steps_per_epoch for step in sorted(files))
    return Curve("lightly", x, tuple(_judge(files[n], labels) for n in sorted(files)))


def _write_images(method: str, flags: argparse.Namespace) -> pathlib.Path:
    """What the recipe learns from, and what it is judged by meanwhile."""
    file = flags.output / f"{method}_images.npz"
    if not file.is_file():
        from selfsup_tf.data.sources import open_source
        from selfsup_tf.evaluation.measures.monitor import hold_out

        config = find_method(method).recipe("cifar10_cpu")(seed=flags.seed)
        source = open_source(config.data, data_dir=flags.data_dir)
        rest, monitor = hold_out(source, config)
        bank, queries = monitor.knn
        images, _ = cifar10("train", flags.data_dir)
        parts = {"train": rest, "bank": bank, "test": queries}
        write_images(
            file, {n: (images[part.indices], part.labels) for n, part in parts.items()}
        )
    return file


def _judge(file: pathlib.Path, labels: dict[str, np.ndarray]) -> float:
    with np.load(file) as h:
        return our_knn(*((h[name], labels[name]) for name in ("bank", "test")))


if __name__ == "__main__":
    main()
