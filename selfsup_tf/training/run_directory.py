"""A run's directory: the only thing that training, evaluation and export share."""

import json
import logging
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from selfsup_tf import config as configs
from selfsup_tf.config import Config
from selfsup_tf.errors import InputError, check
from selfsup_tf.json_files import read_json, read_log, write_atomically, write_json
from selfsup_tf.training.wandb_log import WandbLog, check_wandb

logger = logging.getLogger("selfsup_tf")


class RunDirectory:
    """Paths and files of a run.

        config.json  log.jsonl  tensorboard/  checkpoints/  encoder.keras

    Nothing is written before `begin`. What `lr_find` has left here stays.

    Args:
        path: The directory; may be absent.
        config: The run's config.

    Raises:
        InputError: The directory holds a run of another config, or something else, or
            the config asks for a log that can't be kept.
    """

    def __init__(self, path: str | pathlib.Path, config: Config):
        self.path = pathlib.Path(path).expanduser()
        self.config = config
        check_wandb(config)
        stored = self.path / "config.json"
        if stored.exists():
            _check_same(self.path, config, read_json(stored))
            return
        empty = not self.path.exists() or (
            self.path.is_dir()
            and all(file.stem == "lr_find" for file in self.path.iterdir())
        )
        check(
            empty,
            "run_dir to be empty, new, or a run's directory",
            str(self.path),
            "It is a file, or holds files but no config.json; choose another place.",
        )

    def begin(self, images: int) -> None:
        """Writes config.json where there is none.

        Args:
            images: How many the run learns from. The order of the data follows from
                it, so a run that is resumed must have as many.

        Raises:
            InputError: The run began with another number of images, or the directory
                can't be written.
        """
        records = read_log(self.log)
        if records:
            before = records[0]["images"]
            check(
                before == images,
                f"the {before} images that the run in {self.path} began with",
                f"{images} images",
                "Use another --run_dir for other images, or bring back that run's.",
            )
        for partial in self.path.glob(".*.keras"):
            partial.unlink()  # left by a run that was killed while it wrote
        if not (self.path / "config.json").exists():
            try:
                write_json(self.path / "config.json", configs.to_dict(self.config))
            except OSError as error:
                raise InputError(
                    "a run_dir that can be written", str(error), "Choose another."
                ) from error

    @property
    def log(self) -> pathlib.Path:
        """A JSON object a line, rising in "step"."""
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> pathlib.Path:
        """The states a run can be resumed from."""
        return self.path / "checkpoints"

    def save_network(self, network: keras.Model, name: str) -> None:
        """Writes NAME.keras whole or not at all."""
        beside = self.path / f".{name}.{os.getpid()}.keras"
        network.save(beside)
        os.replace(beside, self.path / f"{name}.keras")

    def save_class_names(self, names: Sequence[str]) -> None:
        """Writes class_names.json, what the logits of classifier.keras mean."""
        write_json(self.path / "class_names.json", list(names))


def _check_same(path, config, stored):
    different = configs.differences(config, stored)
    check(
        not different,
        f"the config of the run in {path}",
        "; ".join(different),
        "Use another --run_dir for this config, or repeat the flags of that run.",
    )


class RunLog:
    """Writes scalars to log.jsonl, TensorBoard and, where asked to, Weights & Biases.

    The first two are cut back to `step` first, so that a resumed run leaves neither a
    gap nor a repetition; the last remembers what it was sent.

    Args:
        directory: The run's directory.
        step: The step that the run goes on from.

    Raises:
        InputError: Weights & Biases does not take the log.
    """

    def __init__(self, directory: RunDirectory, step: int):
        self._wandb = None
        if directory.config.wandb is not None:
            self._wandb = WandbLog(directory.path, directory.config)
        self.records = [r for r in read_log(directory.log) if r["step"] <= step]
        write_atomically(
            directory.log, "".join(json.dumps(r) + "\n" for r in self.records)
        )
        shutil.rmtree(directory.path / "tensorboard", ignore_errors=True)
        self._writer = tf.summary.create_file_writer(
            str(directory.path / "tensorboard")
        )
        for record in self.records:
            self._summarise(record)
        self._file = directory.log.open("a")

    def write(self, record: dict[str, Any]) -> None:
        """Appends a record; its numbers go to all that follow the run."""
        self.records.append(record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._summarise(record)

    def _summarise(self, record):
        with self._writer.as_default(step=record["step"]):
            for name, value in record.items():
                if "/" in name and isinstance(value, int | float):
                    tf.summary.scalar(name, value)
        if self._wandb:
            self._wandb.write(record)

    def close(self) -> None:
        """Ends them all."""
        self._file.close()
        self._writer.close()
        if self._wandb:
            self._wandb.close()
