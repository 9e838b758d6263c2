"""SimSiam's negative cosine of a prediction and a projection that stands still."""

import keras
import tensorflow as tf

from selfsup_tf.models.similarity import cosine_to_fixed


def negative_cosine(prediction: tf.Tensor, projection: tf.Tensor) -> tf.Tensor:
    """-cos(prediction, stop_gradient(projection)) of each image.

    Args:
        prediction: p of one view, (N, P), float; normalised here.
        projection: z of the other view, (N, P); no gradient flows into it.

    Returns:
        (N,) float32 in [-1, 1] (float64 for float64 predictions).

    Raises:
        InputError: The shapes differ.

    Reference: Chen and He 2021, equations 1 and 3.
    """
    return -cosine_to_fixed(prediction, projection)


@keras.saving.register_keras_serializable(package="simsiam_tf")
class NegativeCosine(keras.losses.Loss):
    """SimSiam's loss as a loss of Keras: `NegativeCosine()(projection, prediction)`.

    Its arguments are a projection and the prediction of it from the other view, (N, P).
    """

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of each image, (N,); no gradient flows into `y_true`."""
        return negative_cosine(y_pred, y_true)
