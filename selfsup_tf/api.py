"""The verbs of the package, for Python: train, knn, linear_probe, export, views.

They put together what the rooms below them hold and are all that the command line
calls.
"""

import dataclasses
import hashlib
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from selfsup_tf import config as configs
from selfsup_tf.config import FROM_PYTHON, Config
from selfsup_tf.data.preview import preview_views
from selfsup_tf.data.sources import (
    Source,
    open_evaluation,
    open_pair,
    open_source,
    open_test,
)
from selfsup_tf.distribution.strategy import connect, is_chief
from selfsup_tf.errors import check
from selfsup_tf.evaluation.classifier import classifier_accuracy
from selfsup_tf.evaluation.features import compile_encoder, extract_features
from selfsup_tf.evaluation.knn import knn, knn_from_features
from selfsup_tf.evaluation.linear import linear_probe
from selfsup_tf.evaluation.neighbours import neighbour_gallery
from selfsup_tf.exporting.exporter import export
from selfsup_tf.methods import Method
from selfsup_tf.models.saved import load_class_names, load_network
from selfsup_tf.training import loop
from selfsup_tf.training.loop import Run
from selfsup_tf.training.run_directory import RunDirectory

logger = logging.getLogger("selfsup_tf")

__all__ = [
    "Run",
    "classifier_accuracy",
    "connect",
    "export",
    "knn",
    "linear_probe",
    "load_class_names",
    "load_encoder",
    "load_network",
    "neighbour_gallery",
    "open_evaluation",
    "open_pair",
    "open_source",
    "open_test",
    "preview_views",
    "train",
]


def train(
    method: Method,
    data: Any = None,
    *,
    run_dir: str | pathlib.Path,
    progress: bool = True,
) -> Run:
    """Learns an encoder, or goes on where a run was stopped.

    Args:
        method: Such as `simclr_tf.SimCLR(config)`.
        data: Anything `open_source` takes (arrays, a folder, a TFDS name, a
            tf.data.Dataset); config.data where it is left out.
        run_dir: Directory of the run; the same call again resumes it.
        progress: Whether to tell how it goes, with a bar on a terminal.

    Returns:
        The run, with its encoder.

    Raises:
        InputError: Something does not fit; nothing has been written then.
        TrainingDiverged: The loss is no longer finite; the last checkpoint stays.
    """
    check(
        isinstance(method, Method),
        "a method, such as simclr_tf.SimCLR(config)",
        f"an object of type {type(method).__name__}",
        "Make a method of a config first.",
    )
    if progress and not logger.hasHandlers():
        # A run must not be silent for hours because nobody has set up logging.
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False  # or what others set up later says all of it again
        logger.setLevel(logging.INFO)
    method.config = config = _name_what_is_given(method, data)
    configs.check_complete(config)
    if is_chief(connect(config)):
        RunDirectory(run_dir, config)  # refuses another run before the data are opened
    else:
        logger.info("Connected. The chief, worker 0, tells how it goes.")
        logger.setLevel(logging.ERROR)
    source = open_source(
        config.data if data is None else data,
        data_dir=config.data_dir,
        split=config.split,
    )
    source, monitor = _hold_out(source, config)
    return loop.train(
        method, source, run_dir=run_dir, monitor=monitor, progress=progress
    )


def _name_what_is_given(method: Method, data: Any) -> Config:
    """The config with what came from Python in place of what it would have named."""
    config = method.config
    if isinstance(data, str | pathlib.Path):
        config = dataclasses.replace(config, data=str(data))
    elif data is not None:
        config = dataclasses.replace(config, data=FROM_PYTHON)
    if method.own_encoder is not None:
        shapes = [tuple(weight.shape) for weight in method.own_encoder.weights]
        digest = hashlib.sha256(str(shapes).encode()).hexdigest()[:12]
        name = f"{FROM_PYTHON} {digest}"
        config = dataclasses.replace(config, encoder=configs.EncoderConfig(name=name))
    return config


def _hold_out(
    source: Source, config: Config
) -> tuple[Source, Callable[[keras.Model], dict[str, float]] | None]:
    """Keeps some labelled images from training and makes the online k-NN of them."""
    count = min(config.held_out, source.size // 10)
    if not source.labelled or count == 0:
        return source, None
    if source.streamed or source.labels.min() < 0:
        logger.info("No online k-NN: the data are streamed, or not all have labels.")
        return source, None
    rest, queries = source.split(count, seed=config.seed)
    _, bank = rest.split(min(4 * count, rest.size // 2), seed=config.seed + 1)
    if len(np.unique(bank.labels)) < 2:
        logger.info("No online k-NN: the images held out are of one class.")
        return source, None

    encode = None

    def monitor(encoder: keras.Model) -> dict[str, float]:
        # The loop brings the same encoder every time, so it is traced but once.
        nonlocal encode
        encode = encode or compile_encoder(encoder)
        result = knn_from_features(
            extract_features(encoder, bank, encode=encode),
            extract_features(encoder, queries, encode=encode),
        )
        return {"eval/knn_top_1": result.top_1}

    return rest, monitor


NETWORKS = {"last": "encoder", "best": "encoder_best"}


def load_encoder(run_dir: str | pathlib.Path, which: str = "last") -> keras.Model:
    """The encoder of a run, ready for evaluation, export or fine-tuning.

    Args:
        run_dir: Directory of the run, or a .keras file.
        which: "last", or "best" by the online k-NN.

    Raises:
        InputError: There is none.
    """
    check(which in NETWORKS, "which to be last or best", repr(which), "Choose one.")
    path = pathlib.Path(run_dir).expanduser()
    if which == "best" and (path / "encoder.keras").is_file():
        advice = "Only a run with labels and held_out above 0 knows its best; use last."
        return load_network(path, NETWORKS[which], advice=advice)
    return load_network(path, NETWORKS[which])
