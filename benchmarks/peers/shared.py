"""What the programs of this folder share: flags, images as a file, our k-NN."""

import argparse
import pathlib

import numpy as np

from selfsup_tf.files import whole_file


def flags_beside_lightly(doc: str) -> argparse.ArgumentParser:
    """A parser of what `race.py` and `curve.py` both ask for."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--data_dir", help="where TFDS keeps CIFAR-10")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--methods", nargs="+", default=["simclr", "byol"])
    parser.add_argument("--workers", default=2, type=int, help="of lightly's loader")
    parser.add_argument("--threads", default=1, type=int, help="of PyTorch beside them")
    parser.add_argument(
        "--env", type=pathlib.Path, default=pathlib.Path("~/.cache/selfsup-tf/lightly")
    )
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The flags, their places absolute; `data` are those that train.py is given."""
    flags = parser.parse_args()
    flags.output = flags.output.expanduser().resolve()
    flags.output.mkdir(parents=True, exist_ok=True)
    flags.data = []
    if flags.data_dir:
        flags.data_dir = str(pathlib.Path(flags.data_dir).expanduser().resolve())
        flags.data = [f"--data_dir={flags.data_dir}"]
    return flags


def cifar10(split: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, uint8 (N, 32, 32, 3), and their labels, (N,)."""
    import tensorflow_datasets as tfds

    data = tfds.load("cifar10", split=split, batch_size=-1, data_dir=data_dir)
    return np.asarray(data["image"]), np.asarray(data["label"])


def write_images(
    file: pathlib.Path, parts: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """Images and labels by the names of their parts, as `of_lightly.py` reads them."""
    arrays = {name: images for name, (images, _) in parts.items()}
    arrays |= {f"{name}_labels": labels for name, (_, labels) in parts.items()}
    with whole_file(file) as part, part.open("wb") as stream:
        np.savez(stream, **arrays)


def our_knn(
    bank: tuple[np.ndarray, np.ndarray],
    queries: tuple[np.ndarray, np.ndarray],
    k: int | None = None,
) -> float:
    """Top-1 of our k-NN of representations, (N, D) each, and their labels."""
    from selfsup_tf.evaluation.features import Features
    from selfsup_tf.evaluation.measures.knn import knn_from_features

    parts = [Features(h, labels, np.arange(len(h))) for h, labels in (bank, queries)]
    return knn_from_features(*parts, k=k).top_1
