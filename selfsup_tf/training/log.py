"""The log of a run: scalars to log.jsonl, TensorBoard and Weights & Biases."""

import contextlib
import json
import os
import shutil
from typing import Any

import tensorflow as tf

from selfsup_tf.config import Config
from selfsup_tf.files import write_atomically
from selfsup_tf.run import RunDirectory
from selfsup_tf.training.wandb_log import WandbLog


class RunLog:
    """Writes scalars to log.jsonl, TensorBoard and, where asked to, Weights & Biases.

    The first two are cut back to `step` first, so that a resumed run leaves neither a
    gap nor a repetition; the last remembers what it was sent.

    Args:
        directory: The run's directory.
        config: The run's config.
        step: The step that the run goes on from.

    Raises:
        InputError: Weights & Biases does not take the log.
    """

    def __init__(self, directory: RunDirectory, config: Config, step: int):
        self._wandb = None
        if config.wandb is not None:
            self._wandb = WandbLog(directory.path, config)
        self.records = [r for r in directory.read_log() if r["step"] <= step]
        write_atomically(
            directory.log, "".join(json.dumps(r) + "\n" for r in self.records)
        )
        shutil.rmtree(directory.tensorboard, ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(directory.tensorboard))
        for record in self.records:
            self._summarise(record)
        self._file = directory.log.open("a")

    def write(self, record: dict[str, Any]) -> None:
        """Appends a record; its numbers go to all that follow the run."""
        self.records.append(record)
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError:
            # What could not be written is not tried again at the end of the process.
            with contextlib.suppress(OSError):
                self._file.close()
            raise
        self._summarise(record)

    def _summarise(self, record):
        with self._writer.as_default(step=record["step"]):
            for name, value in record.items():
                if "/" in name and isinstance(value, int | float):
                    tf.summary.scalar(name, value)
        if self._wandb:
            self._wandb.write(record)

    def sync(self) -> None:
        """Waits until what was written to log.jsonl would outlive a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends them all."""
        self._file.close()
        self._writer.close()
        if self._wandb:
            self._wandb.close()
