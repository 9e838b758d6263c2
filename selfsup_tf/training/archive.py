"""What a run leaves on disk. Of several workers the chief alone writes it."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config
from selfsup_tf.data.sources import Source
from selfsup_tf.errors import check
from selfsup_tf.files import enough_room
from selfsup_tf.methods import Method
from selfsup_tf.models.copies import copy_network, leaf_layers
from selfsup_tf.run import RunDirectory
from selfsup_tf.training.beginning import begin, check_begins
from selfsup_tf.training.checkpoints import Checkpoints
from selfsup_tf.training.log import RunLog
from selfsup_tf.training.reporting import describe_run, identify

CRITERIA = ("eval/knn_top_1", "health/rank_me")
"""What the best encoder is chosen by: the first of these that a run logs. The second
needs no labels."""


class Archive:
    """A run's directory, with its log, its states and its networks.

    Args:
        directory: The directory.
        config: The run's config, as it is recorded.
        method: Built, under the run's strategy.
        optimizer: Built.

    Attributes:
        best: The best score so far; minus infinity before the first.
        best_by: Which of `CRITERIA` it is a score of, or None.
    """

    def __init__(
        self,
        directory: RunDirectory,
        config: Config,
        method: Method,
        optimizer: keras.optimizers.Optimizer,
    ):
        self._directory, self._config = directory, config
        self._method, self._optimizer = method, optimizer
        self._kept = KeptNetworks(method)
        self.best, self.best_by = -math.inf, None
        self._begun = False

    @property
    def encoder(self) -> keras.Model:
        """The encoder, as `update` found it last."""
        return self._kept.encoder

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """All that are kept, by name, as `update` found them last."""
        return self._kept.networks

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of the log."""
        return self._log.records

    def open(self, source: Source) -> int:
        """Writes config.json, or finds the run; returns the step it goes on from.

        Raises:
            InputError: The run had other images or another encoder, or none of its
                states is there or can be read.
        """
        with self._room():
            return self._open(source)

    def _open(self, source):
        identity = identify(self._method, source)
        listed = {"files": source.files, "identity": identity}
        records = begin(self._directory, self._config, source.size, **listed)
        self._checkpoints = Checkpoints(
            self._directory.checkpoints,
            self._method.model,
            self._optimizer,
            state=self._method.state,
        )
        step = self._checkpoints.restore()
        if step == 0:
            epochs = self._config.checkpoint_epochs
            check_begins(self._directory, records, epochs)
        size = self._method.config.batch_size
        began = next(iter(records), {}).get("batch_size", size)
        check(
            began == size,
            f"the batch of {began} images that {self._directory.path} began with",
            f"one of {size}, the largest for its images that these devices can part",
            "Go on with as many devices as it began on.",
        )
        self._log = RunLog(self._directory, self._config, step)
        if not self.records:
            self.write(describe_run(self._method, source))
        for record in self.records:
            self._take_if_best(record)
        return step

    def write(self, record: dict[str, Any]) -> None:
        """Appends a record to the log.

        Raises:
            InputError: The disk is full, or the directory is gone; what was written
                before is safe. So it is with all that write.
        """
        with self._room():
            self._log.write(record)

    def update(self) -> None:
        """Takes over the weights of this moment."""
        self._kept.update()

    def keep_if_best(self, scores: Mapping[str, float], step: int) -> None:
        """Keeps the encoder as the best if none has been better."""
        if not self._take_if_best(scores):
            return
        with self._room():
            self._directory.write_best(
                self.encoder, {"step": step, "by": self.best_by, "score": self.best}
            )

    def _take_if_best(self, scores: Mapping[str, Any]) -> bool:
        """Whether a record's score is the best so far; if so, it is from here on."""
        by = next((name for name in CRITERIA if name in scores), None)
        if by is None or (by == self.best_by and not scores[by] > self.best):
            return False
        if self.best_by == CRITERIA[0] != by:
            return False  # this time without the score that the run is judged by
        self.best, self.best_by = scores[by], by
        return True

    def save(self, step: int) -> None:
        """Writes the networks and the state, whole or not at all.

        Raises:
            FloatingPointError: A weight is not finite; nothing is written.
        """
        self.update()
        if not all(np.isfinite(weight).all() for weight in self._weights()):
            raise FloatingPointError(str(self._directory.checkpoints))
        # In this order a run that is killed in between resumes and writes it again.
        with self._room():
            self._log.sync()
            self._kept.save(self._directory)
            self._checkpoints.save(step)

    def _weights(self) -> Iterator[np.ndarray]:
        """Every number of a state: one that isn't finite would spoil the next step."""
        variables = [*self._method.model.variables, *self._optimizer.variables]
        variables += self._method.state.values()
        yield from (v.numpy() for v in variables if "float" in v.dtype)

    def close(self) -> None:
        """Ends the log; networks of the last state that are gone are written again."""
        self.update()
        with self._room():
            self._log.close()
            self._kept.save(self._directory, missing=True)

    @contextlib.contextmanager
    def _room(self):
        """Around all that is written: the directory may be gone, or the disk full."""
        if self._begun:
            self._directory.check_there()
        variables = [*self._method.model.variables, *self._optimizer.variables]
        size = sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)
        with enough_room(
            self._directory.path,
            # A network that is kept has not more than the model; the new state is
            # written before the oldest goes.
            f"{3 * size / 1e6:,.1f} MB for another state and the networks of the run",
            "Its states, networks and log of before are safe. Make room, and the same "
            "command goes on from the last state.",
        ):
            yield
        self._begun = True


class KeptNetworks:
    """Copies of the networks that outlast a run, fit for one device."""

    def __init__(self, method: Method):
        self._originals = {"encoder": method.encoder, **method.networks}
        self._copies = {
            name: copy_network(network, synchronized=False)
            for name, network in self._originals.items()
        }
        if method.start is not None:
            for copy in self._copies.values():
                for layer in leaf_layers(copy):
                    layer.trainable = True  # what stays here may learn in the next run
        self._class_names = method.class_names

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """The copies by name."""
        return self._copies

    @property
    def encoder(self) -> keras.Model:
        """The copy of the encoder."""
        return self._copies["encoder"]

    def update(self) -> None:
        """Takes over the weights of this moment."""
        for name, copy in self._copies.items():
            copy.set_weights(self._originals[name].get_weights())

    def save(self, directory: RunDirectory, *, missing: bool = False) -> None:
        """Writes each as NAME.keras, and what a classifier's answers mean.

        Args:
            directory: Where to.
            missing: Whether those that are there stay as they are.
        """
        for name, copy in self._copies.items():
            if not (missing and directory.kept(name).is_file()):
                directory.write_network(copy, name)
        if self._class_names is not None:
            directory.write_class_names(self._class_names)
