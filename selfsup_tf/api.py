"""The verbs of the package, for Python: train, knn, linear_probe, export, views.

They put together what the rooms below them hold and are all that the command line
calls.
"""

import dataclasses
import hashlib
import logging
import pathlib
from typing import Any

import keras
import matplotlib.figure

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
from selfsup_tf.evaluation.embedding_map import embedding_map, write_map
from selfsup_tf.evaluation.embeddings import embed
from selfsup_tf.evaluation.knn import knn
from selfsup_tf.evaluation.linear import linear_probe
from selfsup_tf.evaluation.linear_classifier import linear_classifier
from selfsup_tf.evaluation.neighbours import neighbour_gallery
from selfsup_tf.evaluation.projector_files import write_projector
from selfsup_tf.evaluation.report import write_comparison, write_report
from selfsup_tf.evaluation.results import evaluate, transfer
from selfsup_tf.evaluation.retrieval import retrieval
from selfsup_tf.evaluation.robustness import robustness
from selfsup_tf.evaluation.verdict import Health, health
from selfsup_tf.exporting.exporter import export
from selfsup_tf.files import write_json
from selfsup_tf.fine_tuning import fine_tune
from selfsup_tf.methods import Method, restore_config
from selfsup_tf.models.saved import load_class_names, load_network
from selfsup_tf.models.untrained import untrained_copy
from selfsup_tf.monitoring import hold_out
from selfsup_tf.run import ENCODERS, TRAIN_ONE, RunDirectory
from selfsup_tf.training import loop
from selfsup_tf.training.loop import Run
from selfsup_tf.training.lr_curve import LearningRates
from selfsup_tf.training.lr_find import lr_find

logger = logging.getLogger("selfsup_tf")

__all__ = [
    "Run",
    "classifier_accuracy",
    "connect",
    "embed",
    "embedding_map",
    "evaluate",
    "export",
    "find_learning_rate",
    "fine_tune",
    "health",
    "knn",
    "linear_classifier",
    "linear_probe",
    "load_class_names",
    "load_config",
    "load_encoder",
    "load_network",
    "neighbour_gallery",
    "open_evaluation",
    "open_pair",
    "open_source",
    "open_test",
    "preview_run",
    "preview_views",
    "retrieval",
    "robustness",
    "run_health",
    "train",
    "transfer",
    "write_comparison",
    "write_map",
    "write_projector",
    "write_report",
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
    config = _begin(method, data, progress=progress)
    if is_chief(connect(config)):
        # Refuses another run, or one in progress, before the data are opened.
        directory = RunDirectory(run_dir)
        directory.check_config(config)
        directory.check_free()
    source, monitor = hold_out(_open(config, data), config)
    return loop.train(
        method,
        source,
        run_dir=run_dir,
        monitor=monitor,
        progress=progress,
        recorded=config,
    )


def find_learning_rate(
    method: Method,
    data: Any = None,
    *,
    path: str | pathlib.Path | None = None,
    lowest: float = 1e-4,
    highest: float = 10.0,
    steps: int = 200,
) -> LearningRates:
    """Which rate to begin with, from a few steps at rising rates; see `lr_find`.

    Args:
        method: Such as `simclr_tf.SimCLR(config)`; make another one to train.
        data: As for `train`.
        path: A directory for lr_find.json and lr_find.png; None writes nothing.
        lowest: The first rate, per 256 images.
        highest: The last one.
        steps: Updates, unless the loss diverges before.

    Raises:
        InputError: Something does not fit.
    """
    config = _begin(method, data, progress=True)
    source, _ = hold_out(_open(config, data), config)
    return lr_find(
        method, source, path=path, lowest=lowest, highest=highest, steps=steps
    )


def _begin(method: Method, data: Any, *, progress: bool) -> Config:
    """The config of a run on these data, checked; all devices are connected."""
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
    config = _name_what_is_given(method, data)
    configs.check_complete(config)
    if not is_chief(connect(config)):
        logger.info("Connected. The chief, worker 0, tells how it goes.")
        logger.setLevel(logging.ERROR)
    return config


def _open(config: Config, data: Any) -> Source:
    return open_source(
        config.data if data is None else data,
        data_dir=config.data_dir,
        split=config.split,
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


def load_config(run_dir: str | pathlib.Path) -> Config | None:
    """What a run was made with; None beside a .keras file that no run has left.

    Raises:
        InputError: config.json can't be read, or its method is not installed.
    """
    stored = RunDirectory(run_dir).read_config()
    return None if stored is None else restore_config(stored)


def preview_run(
    run_dir: str | pathlib.Path, images: Any, path: str | pathlib.Path
) -> matplotlib.figure.Figure:
    """Draws images beside the views that a run learned from; see `preview_views`.

    Args:
        run_dir: Directory of the run.
        images: A Source, or arrays.
        path: Where to write the picture.

    Raises:
        InputError: There is no run.
    """
    config = load_config(run_dir)
    check(
        config is not None,
        f"the config.json of a run in {run_dir}",
        "none",
        "Only a run that was trained here knows its views.",
    )
    return preview_views(images, config, path, seed=config.seed)


def run_health(
    run_dir: str | pathlib.Path,
    images: Any,
    *,
    which: str = "last",
    count: int = 4096,
    seed: int = 0,
    compare_untrained: bool = True,
    path: str | pathlib.Path | None = None,
) -> Health:
    """Judges the encoder of a run without labels, with its own views; see `health`.

    Args:
        run_dir: Directory of the run, or a .keras file. Where no config.json lies
            beside it, it is judged by the views of SimCLR.
        images: A Source, or arrays, as the run learned from.
        which: "last" or "best".
        count: Images that are looked at.
        seed: Of their views.
        compare_untrained: Whether the same network untrained is measured, too, for
            the file.
        path: A JSON file for the numbers, such as RUN_DIR/eval/health.json.
    """
    directory = RunDirectory(run_dir)
    # The projector of the run's end fits its last encoder alone.
    is_last = directory.encoder(which).stem != ENCODERS["best"]
    directory = RunDirectory(directory.path)
    has_projector = is_last and directory.network("projector").is_file()
    encoder, images = load_encoder(run_dir, which), open_source(images)
    options = {"config": load_config(run_dir), "count": count, "seed": seed}
    found = health(
        encoder,
        images,
        projector=load_network(directory.path, "projector") if has_projector else None,
        **options,
    )
    if path is not None:
        values = found.to_dict()
        if compare_untrained:
            fresh = health(untrained_copy(encoder), images, **options)
            before = fresh.representation.scalars()
            values["untrained"] = {"representation": before, "projection": None}
        write_json(path, values)
    return found


def load_encoder(run_dir: str | pathlib.Path, which: str = "last") -> keras.Model:
    """The encoder of a run, ready for evaluation, export or fine-tuning.

    Args:
        run_dir: Directory of the run, or a .keras file.
        which: "last", or "best" by the online k-NN, or by RankMe without labels.

    Raises:
        InputError: There is none.
    """
    directory = RunDirectory(run_dir)
    advice = TRAIN_ONE
    if directory.encoder(which) != directory.network() and directory.exists:
        advice = "This run has measured nothing to choose its best by; use last."
    return load_network(run_dir, ENCODERS[which], advice=advice)
