"""Classifiers: an encoder, layers of its projection head if wanted, and logits."""

import keras
import tensorflow as tf

from selfsup_tf.models.heads import head_until


class Frozen(keras.layers.Layer):
    """A network in inference mode that no gradient enters.

    Its weights stay trainable as Keras means it, so that a copy of the network is an
    ordinary one; whoever trains must leave them out.

    Args:
        network: A model of images.
    """

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def call(self, images):
        """The network's outputs for float32 images in [0, 1], (N, S, S, 3)."""
        outputs = self.network(images, training=False)
        return tf.nest.map_structure(tf.stop_gradient, outputs)


def build_trunk(
    encoder: keras.Model, head: keras.Model | None, head_layer: int
) -> keras.Model:
    """Builds a trunk: the encoder and the first layers of its projection head.

    Args:
        encoder: From (N, S, S, 3) to h, (N, D).
        head: The projection head from (N, D); may be None for layer 0.
        head_layer: How many of its layers are kept; 0 gives h itself.

    Returns:
        A model with the outputs "representation", h, and "features", (N, F) float32.

    Reference: Chen et al. 2020, "Big self-supervised models are strong semi-supervised
        learners", section 2, fine-tuning.
    """
    images = keras.Input(encoder.input_shape[1:], name="image")
    h = features = encoder(images)
    if head_layer:
        features = head_until(head, head_layer)(h)
    return keras.Model(
        images, {"representation": h, "features": features}, name="trunk"
    )


def build_logits(
    features: int, num_classes: int, *, precision: str = "float32"
) -> keras.Model:
    """Builds the last layer of a classifier; its weights are 0, so classes start equal.

    Args:
        features: Size F of what comes in.
        num_classes: C.
        precision: The trunk's dtype policy; the logits are float32, or float64 under
            float64.

    Returns:
        A model from (N, F) to logits (N, C).
    """
    full = "float64" if precision == "float64" else "float32"
    inputs = keras.Input((features,), name="features", dtype=full)
    logits = keras.layers.Dense(
        num_classes, kernel_initializer="zeros", dtype=full, name="dense"
    )(inputs)
    logits = keras.layers.Identity(dtype=full, name="output")(logits)
    return keras.Model(inputs, logits, name="logits")


def build_classifier(trunk: keras.Model, logits: keras.Model) -> keras.Model:
    """Joins a trunk and logits, which share their weights: (N, S, S, 3) to (N, C)."""
    return keras.Model(trunk.input, logits(trunk.output["features"]), name="classifier")
