"""NT-Xent: the normalised, temperature-scaled cross entropy over the global batch."""

from typing import Any

import keras
import tensorflow as tf

from selfsup_tf.distribution import replicas
from selfsup_tf.errors import check, check_one_of, check_pair
from selfsup_tf.models.similarity import check_temperature, loss_dtype
from simclr_tf.log_sum_exp import log_sum_exp

DIRECTIONS = ("mean", "sum")


def nt_xent_loss(
    projection_1: tf.Tensor,
    projection_2: tf.Tensor,
    temperature: float,
    *,
    directions: str = "mean",
    tile: int | None = None,
) -> tf.Tensor:
    """The loss of each image, of its two views as anchors.

    An anchor's positive is the other view of its image; its negatives are both views of
    all other images, those on other replicas included.

    Args:
        projection_1: z of the first views, (N, P), float; normalised here.
        projection_2: z of the second views, (N, P).
        temperature: Divides the cosines, above 0.
        directions: "mean" averages the losses of the two anchors, "sum" adds them.
        tile: Candidates that the anchors are compared with at once, of the 2 G in the
            global batch, 1 or more: memory goes with 2 N times this. None takes all of
            them while they are few, and tiles above that; see `log_sum_exp`.

    Returns:
        (N,) float32 (float64 for float64 projections). Its mean over the global batch
        is the loss of Chen et al. 2020, algorithm 1, for "mean"; that of
        google-research/simclr, tf2/objective.py, for "sum".

    Raises:
        InputError: The shapes differ, temperature or tile is out of range, or the
            directions are unknown.
    """
    check_pair(projection_1, projection_2)
    check_temperature(temperature)
    check_one_of(directions, DIRECTIONS, "directions of NT-Xent")
    check(
        tile is None or tile >= 1,
        "tile >= 1",
        tile,
        "Leave it out, and it is chosen by the size of the batch.",
    )
    dtype = loss_dtype(projection_1)
    z_1 = tf.math.l2_normalize(tf.cast(projection_1, dtype), axis=1)
    z_2 = tf.math.l2_normalize(tf.cast(projection_2, dtype), axis=1)
    all_1, all_2 = replicas.gather(z_1), replicas.gather(z_2)
    images = z_1.shape[0] or tf.shape(z_1)[0]
    first = 0
    if replicas.num_replicas() > 1:
        first = replicas.replica_index() * images
    itself = first + tf.range(images)
    denominators = log_sum_exp(
        tf.concat([z_1, z_2], axis=0) / temperature,
        tf.concat([all_1, all_2], axis=0),
        tf.concat([itself, itself + tf.shape(all_1)[0]], axis=0),
        tile=tile,
        # A little more, since of normalised vectors a cosine may exceed 1 by rounding.
        bound=1.001 / temperature if isinstance(temperature, int | float) else None,
    )
    positive = tf.reduce_sum(z_1 * z_2, axis=1) / temperature
    loss = tf.add_n(tf.split(denominators, 2)) - 2 * positive
    return loss / 2 if directions == "mean" else loss


@keras.saving.register_keras_serializable(package="simclr_tf")
class NTXent(keras.losses.Loss):
    """NT-Xent as a loss of Keras: `NTXent(temperature=0.1)(z_1, z_2)`.

    Its two arguments are the projections of the first and of the second views of the
    same N images, (N, P). Under a strategy it is called in a replica, with the same N
    in each, and its negatives are those of all replicas, see `nt_xent_loss`.

    Args:
        temperature: Divides the cosines, above 0.
        directions: "mean" averages the losses of the two anchors, "sum" adds them.
        name: Of the loss.
        **options: Of `keras.losses.Loss`: reduction, dtype.

    Raises:
        InputError: The temperature is not above 0 and finite, the directions are
            unknown, or the shapes differ.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        directions: str = "mean",
        name: str = "nt_xent",
        **options: Any,
    ):
        super().__init__(name=name, **options)
        check_temperature(temperature)
        check_one_of(directions, DIRECTIONS, "directions of NT-Xent")
        self.temperature, self.directions = temperature, directions

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of each image, (N,), of its two projections."""
        return nt_xent_loss(
            y_true, y_pred, self.temperature, directions=self.directions
        )

    def get_config(self) -> dict[str, Any]:
        own = {"temperature": self.temperature, "directions": self.directions}
        return super().get_config() | own
