"""The state of a run on disk: everything that a resumption needs."""

import contextlib
import logging
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping

import keras
import tensorflow as tf

from selfsup_tf.errors import InputError
from selfsup_tf.files import PATTERN, sync
from selfsup_tf.run import STATE, saved_steps

logger = logging.getLogger("selfsup_tf")

_LEFT = re.compile(r"ckpt-[0-9]+(_temp|\..*\.tempstate.*)")
"""Of a state in the making."""


class Checkpoints:
    """The last states of a run: step, model, optimizer, what a method keeps beside.

    The data order and the views follow from the seed and the step, so nothing of the
    input pipeline is kept.

    Args:
        directory: Where they lie.
        model: The method's model.
        optimizer: Built already.
        state: The method's own variables, by name; there may be none.
        keep: How many are kept; the one before the last is there for the day on which
            the last is damaged.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        state: Mapping[str, keras.Variable] | None = None,
        keep: int = 2,
    ):
        self._directory, self._keep = pathlib.Path(directory), keep
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        parts = {"model": model, "optimizer": optimizer}
        if state:
            parts["state"] = {name: v.value for name, v in state.items()}
        self._checkpoint = tf.train.Checkpoint(step=self._step, **parts)

    def save(self, step: int) -> None:
        """Writes the state after `step` updates, whole or not at all."""
        self._step.assign(step)
        self._directory.mkdir(exist_ok=True)
        prefix = self._directory / f"ckpt-{step}"
        try:
            self._checkpoint.write(str(prefix))
        except tf.errors.OpError:
            self._remove_others(max(self._steps(), default=0))  # it takes up room
            raise
        for file in self._directory.glob(f"{prefix.name}.*"):
            sync(file)
        sync(self._directory)
        self._remove_others(step)

    def restore(self) -> int:
        """Restores the newest readable state and returns its step, 0 if there is none.

        What a run has left that was killed while it wrote is removed.

        Raises:
            InputError: There are states, and none can be read.
        """
        saved = [str(self._directory / f"ckpt-{step}") for step in self._steps()]
        for path in saved:
            try:
                with _without_patterns(path) as prefix:
                    status = self._checkpoint.read(prefix)
                    status.assert_existing_objects_matched().assert_consumed()
            # What TensorFlow raises depends on which byte is damaged.
            except (
                tf.errors.OpError,
                LookupError,
                ValueError,
                AssertionError,
            ) as error:
                logger.warning(
                    "CHECKPOINT %s CAN'T BE READ (%s). The one before it is tried.",
                    path,
                    str(error).splitlines()[0],
                )
                continue
            step = int(self._step.numpy())
            self._remove_others(step)
            return step
        if saved:
            raise InputError(
                "a readable checkpoint",
                ", ".join(saved),
                "All of them are damaged; start again in another run directory.",
            )
        self._remove_others(0)
        return 0

    def _steps(self):
        return saved_steps(self._directory)

    def _remove_others(self, step):
        """Leaves this state and those before it, as many as are kept."""
        steps = sorted(self._steps(), key=lambda other: (other > step, -other))
        kept = {str(one) for one in steps[: self._keep]}
        for file in self._directory.glob("*"):
            name = STATE.fullmatch(file.name)
            if _LEFT.fullmatch(file.name) or (name and name[1] not in kept):
                shutil.rmtree(file) if file.is_dir() else file.unlink()


@contextlib.contextmanager
def _without_patterns(path: str) -> Iterator[str]:
    """A path to the same state that TensorFlow does not take for a pattern."""
    if not PATTERN.search(path):
        yield path
        return
    directory, name = os.path.split(os.path.abspath(path))
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, "checkpoints")
        os.symlink(directory, link)
        yield os.path.join(link, name)
