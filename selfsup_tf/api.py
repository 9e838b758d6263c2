"""Training from Python: what a run learns from, what watches it, and the loop.

`selfsup_tf.VERBS` lists every verb of the package with the module that it is in.
"""

import dataclasses
import hashlib
import logging
import pathlib
import sys
from typing import Any

from selfsup_tf import config as configs
from selfsup_tf.config import FROM_PYTHON, Config
from selfsup_tf.data.sources import Source, open_source
from selfsup_tf.data.views import check_views
from selfsup_tf.distribution.strategy import connect, is_chief
from selfsup_tf.errors import check
from selfsup_tf.evaluation.measures.monitor import hold_out
from selfsup_tf.methods import Method, restore_config
from selfsup_tf.models.own import channels_of, check_fits
from selfsup_tf.run import RunDirectory
from selfsup_tf.training import loop
from selfsup_tf.training.beginning import check_config, has_begun
from selfsup_tf.training.loop import Run
from selfsup_tf.training.lr_curve import LearningRates
from selfsup_tf.training.lr_find import lr_find

logger = logging.getLogger("selfsup_tf")


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
    directory = RunDirectory(run_dir)
    if is_chief(connect(config)):
        # Refuses another run, or one in progress, before the data are opened.
        check_config(directory, config)
        directory.check_free()
    # A file that has vanished since has a place in the order of the rest.
    begun = directory.read_images() if has_begun(directory) else None
    source = _open(method, data).as_begun(begun)
    source, monitor = hold_out(source, config)
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
    source, _ = hold_out(_open(method, data), config)
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
        # On stdout, as the command line does: a notebook shows stderr in red.
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.propagate = False  # or what others set up later says all of it again
        logger.setLevel(logging.INFO)
    config = _name_what_is_given(method, data)
    configs.check_complete(config)
    if not is_chief(connect(config)):
        logger.info("Connected. The chief, worker 0, tells how it goes.")
        logger.setLevel(logging.ERROR)
    known = _channels(method) or (3 if data is None else None)
    if known is not None and not config.data.endswith(".npz"):
        # Before the images are opened, which takes long.
        check_views(config.drawn_views, known)
    return config


def _open(method: Method, data: Any) -> Source:
    config = method.config
    return open_source(
        config.data if data is None else data,
        split=config.split,
        data_dir=config.data_dir,
        exif=config.exif,
        labels=config.labels,
        channels=_channels(method),
    )


def _channels(method: Method) -> int | None:
    """What the config or an encoder from Python says of the images, if either does."""
    own = method.own_encoder
    return method.config.channels or (None if own is None else channels_of(own))


def _name_what_is_given(method: Method, data: Any) -> Config:
    """The config with what came from Python in place of what it would have named."""
    config = method.config = method.asked
    if isinstance(data, str | pathlib.Path):
        config = dataclasses.replace(config, data=str(data))
    elif data is not None:
        config = dataclasses.replace(config, data=FROM_PYTHON)
    if method.own_encoder is not None:
        check_fits(method.own_encoder, config.image_size, config.channels or 0)
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
