"""The verbs of the package, for Python: train, knn, linear_probe, export, views.

They put together what the rooms below them hold and are all that the command line
calls.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras

from selfsup_tf import config as configs
from selfsup_tf.config import Config, InputError, check
from selfsup_tf.data.preview import preview_views
from selfsup_tf.data.sources import Source, open_evaluation, open_source
from selfsup_tf.evaluation.features import compile_encoder, extract_features
from selfsup_tf.evaluation.knn import knn, knn_from_features
from selfsup_tf.evaluation.linear import linear_probe
from selfsup_tf.evaluation.neighbours import neighbour_gallery
from selfsup_tf.exporting.exporter import export
from selfsup_tf.methods import Method

# The import registers the layers that encoder.keras may hold.
from selfsup_tf.models import encoders  # noqa: F401
from selfsup_tf.training import loop
from selfsup_tf.training.loop import Run

__all__ = [
    "Run",
    "export",
    "knn",
    "linear_probe",
    "load_encoder",
    "neighbour_gallery",
    "open_evaluation",
    "open_source",
    "preview_views",
    "train",
]

FROM_PYTHON = "(given in Python)"
"""Stands for `data` in the config.json of a run whose images are not on disk."""


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
        progress: Whether to draw a progress bar.

    Returns:
        The run, with its encoder.

    Raises:
        InputError: Something does not fit; nothing has been written then.
        TrainingDiverged: The loss is no longer finite; the last checkpoint stays.
    """
    config = method.config
    if data is not None:
        is_path = isinstance(data, str | pathlib.Path)
        config = dataclasses.replace(config, data=str(data) if is_path else FROM_PYTHON)
        method.config = config
    source = open_source(
        config.data if data is None else data,
        data_dir=config.data_dir,
        split=config.split,
    )
    source, monitor = _hold_out(source, config)
    return loop.train(
        method, source, run_dir=run_dir, monitor=monitor, progress=progress
    )


def _hold_out(
    source: Source, config: Config
) -> tuple[Source, Callable[[keras.Model], dict[str, float]] | None]:
    """Keeps some labelled images from training and makes the online k-NN of them."""
    count = min(config.held_out, source.size // 10)
    if not source.labelled or count == 0:
        return source, None
    rest, queries = source.split(count, seed=config.seed)
    _, bank = rest.split(min(4 * count, rest.size // 2), seed=config.seed + 1)

    encode = None

    def monitor(encoder: keras.Model) -> dict[str, float]:
        # The loop brings the same encoder every time, so it is traced but once.
        nonlocal encode
        encode = encode or compile_encoder(encoder)
        result = knn_from_features(
            extract_features(encoder, bank, encode=encode),
            extract_features(encoder, queries, encode=encode),
            k=min(200, bank.size),
        )
        return {"eval/knn_top_1": result.top_1}

    return rest, monitor


def load_encoder(run_dir: str | pathlib.Path, which: str = "last") -> keras.Model:
    """The encoder of a run, ready for evaluation, export or fine-tuning.

    Args:
        run_dir: Directory of the run, or a .keras file.
        which: "last", or "best" by the online k-NN.

    Raises:
        InputError: There is none.
    """
    path = pathlib.Path(run_dir).expanduser()
    if path.suffix != ".keras":
        path = path / {"last": "encoder.keras", "best": "encoder_best.keras"}[which]
    check(
        path.is_file(),
        f"an encoder at {path}",
        "no file" if path.parent.is_dir() else "no such directory",
        "Train one first: python train.py METHOD RECIPE --run_dir=DIRECTORY",
    )
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError) as error:
        raise InputError(
            f"a readable Keras model at {path}",
            str(error).splitlines()[0],
            "Train again, or name another run.",
        ) from error


def stored_config(run_dir: str | pathlib.Path) -> dict[str, Any]:
    """The config.json of a run as plain values."""
    return configs.read_json(pathlib.Path(run_dir).expanduser() / "config.json")
