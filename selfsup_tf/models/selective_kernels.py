"""What a selective-kernel convolution does with its two streams; no weights in here.

The convolutions and norms around these layers are plain layers of the model, so that a
precision and a synchronised BatchNorm reach them.

Reference: Li et al. 2019, "Selective kernel networks"; Chen et al. 2020, "Big
self-supervised models are strong semi-supervised learners"; google-research/simclr,
tf2/resnet.py.
"""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="selfsup_tf")
class SumStreams(keras.layers.Layer):
    """Adds the two streams that lie one after the other in the channels."""

    def call(self, streams):
        """Streams (N, H, W, 2C) to their sum, (N, H, W, C)."""
        first, second = tf.split(streams, 2, axis=-1)
        return first + second

    def compute_output_shape(self, shape):
        """The same with half the channels."""
        return (*shape[:-1], shape[-1] // 2)


@keras.saving.register_keras_serializable(package="selfsup_tf")
class MixStreams(keras.layers.Layer):
    """Averages the two streams, each channel of each image with weights of its own."""

    def call(self, inputs):
        """Mixes.

        Args:
            inputs: The streams (N, H, W, 2C), and the logits of their weights,
                (N, 1, 1, 2C).

        Returns:
            (N, H, W, C).
        """
        streams, logits = inputs
        first, second = tf.split(streams, 2, axis=-1)
        first_logit, second_logit = tf.split(logits, 2, axis=-1)
        # The softmax of two numbers is the sigmoid of their difference.
        share = tf.sigmoid(first_logit - second_logit)
        return first * share + second * (1 - share)

    def compute_output_shape(self, shapes):
        """The streams' with half the channels."""
        return (*shapes[0][:-1], shapes[0][-1] // 2)
