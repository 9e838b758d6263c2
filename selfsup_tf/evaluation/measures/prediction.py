"""The class of every image, by a classifier or by its nearest labelled images.

Legend: N images, C classes, D length of the representation h.
"""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.data.sources import Source, check_labelled
from selfsup_tf.data.stored_vectors import readable
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import (
    compile_network,
    encoded_batches,
    extract_features,
    image_size,
    open_images,
)
from selfsup_tf.evaluation.measures.knn import knn_rank
from selfsup_tf.evaluation.table_files import Rows, check_output, write_table

SUFFIXES = (".csv", ".parquet")


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A file of classes.

    Attributes:
        path: The file.
        counts: How many images were given each class, the most frequent first.
    """

    path: pathlib.Path
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Answers:
    """What tells the classes of images.

    Attributes:
        network: From images (N, S, S, 3) to vectors.
        probabilities: From these vectors to the probability of each class, (N, C); of
            one that is no answer at all -inf.
        class_names: Of the C classes.
    """

    network: keras.Model
    probabilities: Callable[[np.ndarray], np.ndarray]
    class_names: Sequence[str]


def by_classifier(
    classifier: keras.Model, class_names: Sequence[str] | None
) -> Answers:
    """The answers of a classifier.

    Args:
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C).
        class_names: What they mean; their numbers where nothing says.

    Raises:
        InputError: There are other names than classes.
    """
    classes = classifier.output_shape[-1]
    check(
        classes >= 2,
        "a classifier of two classes or more",
        f"a network of {classes} output",
        "Name one with a logit for each class, or --examples=FOLDER.",
    )
    names = class_names or [str(n) for n in range(classes)]
    check(
        len(names) == classes,
        f"a classifier of the {len(names)} classes of its run",
        f"a network of {classes} outputs",
        "Name the run's directory, or its classifier.keras.",
    )
    return Answers(
        classifier,
        probabilities=lambda logits: tf.nn.softmax(logits).numpy(),
        class_names=names,
    )


def by_examples(
    encoder: keras.Model,
    examples: Any,
    *,
    k: int,
    temperature: float,
    cache: pathlib.Path | None = None,
) -> Answers:
    """The answers of the k labelled images nearest to one, see `knn_rank`.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        examples: A labelled Source, or what `open_source` takes.
        k: How many vote.
        temperature: Above 0.
        cache: Where their representations are kept.

    Raises:
        InputError: They have no labels or one class alone, or are fewer than k.
    """
    examples = open_images(encoder, examples)
    check_labelled(examples)
    names = examples.class_names
    check(
        len(names) > 1,
        f"examples of two classes or more in {examples.name}",
        f"{len(names)}, {', '.join(names)}",
        "Give a folder with a sub-folder for each class.",
    )
    check(
        k <= examples.size,
        f"k of 1 to {examples.size}, the examples of {examples.name}",
        k,
        "Lower --k, or give more examples.",
    )
    bank = extract_features(encoder, examples, cache=cache)

    options = {"k": k, "temperature": temperature, "num_classes": len(names)}
    rank = functools.partial(knn_rank, bank.features, bank.labels, **options)
    return Answers(encoder, probabilities=rank, class_names=names)


def predict(
    answers: Answers,
    source: Any,
    output: str | pathlib.Path,
    *,
    batch_size: int = 256,
    overwrite: bool = False,
) -> Predictions:
    """Writes the class of every image with its probability, in the source's order.

    The columns are `path`, or `index` of images without files; `class`, the most
    probable one, and `probability`, its own; `second` and `second_probability`, by
    which doubtful images can be sorted.

    Args:
        answers: Of `by_classifier` or `by_examples`.
        source: Anything `open_source` takes.
        output: The file to write, whole or not at all: .csv or .parquet.
        batch_size: Images of a call.
        overwrite: Whether a file that is there is replaced.

    Raises:
        InputError: The output can't be written, or an image can't be read any longer.
    """
    output = pathlib.Path(output).expanduser()
    check_output(output, SUFFIXES, overwrite=overwrite)
    source = open_images(answers.network, source)
    check(source.size > 0, "at least one image", f"none in {source.name}", "Add some.")
    names = np.array([str(name) for name in answers.class_names])
    paths = source.paths and np.array([readable(path) for path in source.paths])
    first = {"index": np.dtype(np.int64)} if paths is None else {"path": paths.dtype}
    share = np.dtype(np.float32)
    columns = {
        **first,
        "class": names.dtype,
        "probability": share,
        "second": names.dtype,
        "second_probability": share,
    }
    counts = collections.Counter()

    def answered() -> Iterator[Rows]:
        for rows in _answer(answers, source, names, paths, batch_size):
            counts.update(rows["class"].tolist())
            yield {name: rows[name] for name in columns}

    write_table(output, columns, answered(), source)
    return Predictions(output, dict(counts.most_common()))


def _answer(
    answers: Answers,
    source: Source,
    names: np.ndarray,
    paths: np.ndarray | None,
    batch_size: int,
) -> Iterator[Rows]:
    """The rows of the file, batch after batch."""
    encode, size = compile_network(answers.network), image_size(answers.network)
    first = 0
    for batch in encoded_batches(encode, source, size, batch_size):
        found = answers.probabilities(batch["h"])
        order = np.argsort(-found, axis=1, kind="stable")[:, :2]
        shares = np.take_along_axis(found, order, axis=1)
        known = np.where(shares >= 0, names[order], "")
        rows = {
            "index": batch["index"],
            "class": known[:, 0],
            "second": known[:, 1],
            "probability": shares[:, 0].astype(np.float32),
            "second_probability": np.maximum(shares[:, 1], 0).astype(np.float32),
        }
        if paths is not None:
            rows["path"] = paths[first : first + len(order)]
        first += len(order)
        yield rows
