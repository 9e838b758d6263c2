"""The state of a run on disk: everything that a resumption needs."""

import functools
import logging
import pathlib
from collections.abc import Mapping

import keras
import tensorflow as tf

from selfsup_tf.errors import InputError

logger = logging.getLogger("selfsup_tf")


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
        self._directory = pathlib.Path(directory)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        parts = {"model": model, "optimizer": optimizer}
        if state:  # runs of before there was any are restored, too
            parts["state"] = {name: v.value for name, v in state.items()}
        self._checkpoint = tf.train.Checkpoint(step=self._step, **parts)
        manage = functools.partial(
            tf.train.CheckpointManager,
            self._checkpoint,
            str(directory),
            max_to_keep=keep,
        )
        try:
            self._manager = manage()
        except ValueError:
            # TensorFlow's list of the states is damaged; `restore` does without it.
            (self._directory / "checkpoint").unlink()
            self._manager = manage()

    def save(self, step: int) -> None:
        """Writes the state after `step` updates, whole or not at all."""
        self._step.assign(step)
        self._manager.save(checkpoint_number=step)

    def restore(self) -> int:
        """Restores the newest readable state and returns its step, 0 if there is none.

        Raises:
            InputError: There are states, and none can be read.
        """
        # The files themselves tell what there is, even if TensorFlow's list is lost.
        names = [p.stem for p in self._directory.glob("ckpt-*.index")]
        names.sort(key=lambda name: int(name.rpartition("-")[2]), reverse=True)
        saved = [str(self._directory / name) for name in names]
        for path in saved:
            try:
                status = self._checkpoint.restore(path)
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
            return int(self._step.numpy())
        if saved:
            raise InputError(
                "a readable checkpoint",
                ", ".join(saved),
                "All of them are damaged; start again in another run directory.",
            )
        return 0
