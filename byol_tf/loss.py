"""BYOL's regression of the target's projection."""

import keras
import tensorflow as tf

from selfsup_tf.models.similarity import cosine_to_fixed


def regression_loss(prediction: tf.Tensor, target_projection: tf.Tensor) -> tf.Tensor:
    """2 - 2 cos(prediction, stop_gradient(target_projection)) of each image.

    Args:
        prediction: q of one view, (N, P), float; normalised here.
        target_projection: z' of the other view, (N, P); no gradient flows into it.

    Returns:
        (N,) float32 in [0, 4] (float64 for float64 predictions).

    Raises:
        InputError: The shapes differ.

    Reference: Grill et al. 2020, equation 2.
    """
    return 2.0 - 2.0 * cosine_to_fixed(prediction, target_projection)


@keras.saving.register_keras_serializable(package="byol_tf")
class RegressionLoss(keras.losses.Loss):
    """BYOL's loss as a loss of Keras: `RegressionLoss()(projection, prediction)`.

    Its arguments are the target network's projection of one view and the online
    network's prediction from the other, (N, P) each. The paper adds both ways round.

    Raises:
        InputError: The shapes differ.
    """

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of each image, (N,); no gradient flows into `y_true`."""
        return regression_loss(y_pred, y_true)
