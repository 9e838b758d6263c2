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

from selfsup_tf.evaluation.plotting import Curve, add_axes, draw_lines, new_figure
from selfsup_tf.files import read_json, read_records, save_figure, whole_file
from selfsup_tf.methods import find_method

ROOT = pathlib.Path(__file__).parents[2]


def main() -> None:
    """Trains what is missing, prints the numbers and draws them."""
    flags = _parse_flags()
    flags.output.mkdir(parents=True, exist_ok=True)
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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", help="where TFDS keeps CIFAR-10")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--epochs", default=100.0, type=float)
    parser.add_argument("--every", default=5.0, type=float, help="epochs")
    parser.add_argument("--methods", nargs="+", default=["simclr", "byol"])
    parser.add_argument("--whose", nargs="+", default=["ours", "lightly"])
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--workers", default=2, type=int, help="of lightly's loader")
    parser.add_argument(
        "--env", type=pathlib.Path, default=pathlib.Path("~/.cache/selfsup-tf/lightly")
    )
    flags = parser.parse_args()
    flags.output = flags.output.expanduser().resolve()
    if flags.data_dir:
        flags.data_dir = str(pathlib.Path(flags.data_dir).expanduser().resolve())
    return flags


def _ours(method: str, flags: argparse.Namespace) -> Curve:
    folder = flags.output / f"{method}_ours"
    data = [f"--data_dir={flags.data_dir}"] if flags.data_dir else []
    given = {
        "epochs": flags.epochs,
        "seed": flags.seed,
        "knn_epochs": flags.every,
        "checkpoint_epochs": flags.every,
        "run_dir": folder,
    }
    words = [f"--{name}={value}" for name, value in given.items()]
    train = [sys.executable, "train.py", method, "cifar10_cpu", *words, *data]
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
    settings |= {"workers": flags.workers, "images": str(images), "out": str(out)}
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
    steps = sorted(
        int(p.stem.rpartition("_")[2]) for p in out.parent.glob(f"{out.name}_*.npz")
    )
    batch = settings["batch_size"]
    x = tuple(step / (size // batch) for step in steps)
    y = tuple(_judge(out.with_name(f"{out.name}_{step}.npz"), labels) for step in steps)
    return Curve("lightly", x, y)


def _write_images(method: str, flags: argparse.Namespace) -> pathlib.Path:
    """What the recipe learns from, and what it is judged by meanwhile."""
    file = flags.output / f"{method}_images.npz"
    if not file.is_file():
        import tensorflow_datasets as tfds

        from selfsup_tf.data.sources import open_source
        from selfsup_tf.evaluation.monitor import hold_out

        config = find_method(method).recipe("cifar10_cpu")(seed=flags.seed)
        source = open_source(config.data, data_dir=flags.data_dir)
        rest, monitor = hold_out(source, config)
        options = {"batch_size": -1, "data_dir": flags.data_dir}
        images = np.asarray(tfds.load("cifar10", split="train", **options)["image"])
        bank, queries = monitor.knn
        parts = {"train": rest, "bank": bank, "test": queries}
        arrays = {name: images[part.indices] for name, part in parts.items()}
        labels = {f"{name}_labels": part.labels for name, part in parts.items()}
        with whole_file(file) as part, part.open("wb") as stream:
            np.savez(stream, **arrays, **labels)
    return file


def _judge(file: pathlib.Path, labels: dict[str, np.ndarray]) -> float:
    from selfsup_tf.evaluation.features import Features
    from selfsup_tf.evaluation.knn import knn_from_features

    with np.load(file) as h:
        parts = [
            Features(h[part], labels[part], np.arange(len(h[part])))
            for part in ("bank", "test")
        ]
    return knn_from_features(*parts).top_1


if __name__ == "__main__":
    main()
