"""The encoder as it leaves the training machines: one device, float32."""

import pathlib

import keras

from selfsup_tf.evaluation.features import image_size, weights_hash
from selfsup_tf.exporting.format import Networks
from selfsup_tf.models.copies import copy_network, inner_layers, leaf_layers
from selfsup_tf.models.saved import load_network


def portable_encoder(encoder: keras.Model | str | pathlib.Path) -> keras.Model:
    """The encoder, or a copy of it that any runtime can do without our set-up.

    Layers that compute in half precision compute in float32, which their weights are
    in, and BatchNorms no longer synchronise replicas that a server does not have. A
    subclassed model, which Keras can't take apart, stays as it is.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D), or the path of an
            encoder.keras.

    Raises:
        InputError: The file can't be read, or its input has no fixed size.
    """
    if not isinstance(encoder, keras.Model):
        encoder = load_network(encoder)
    image_size(encoder)
    if all(_is_portable(layer) for layer in leaf_layers(encoder)):
        return encoder
    try:
        return copy_network(encoder, synchronized=False)
    except ValueError:
        return encoder


def portable_pair(
    encoder: keras.Model,
    classifier: keras.Model | None,
    class_names: tuple[str, ...] | None = None,
) -> Networks:
    """An encoder and the classifier above it, so that they share what they can.

    A classifier that holds this very encoder brings a copy of it along, which then
    stands for both: the files hold its weights once, and the network runs once.

    Args:
        encoder: A portable one.
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C), or None.
        class_names: What the logits mean; their numbers where nothing says.
    """
    if classifier is not None:
        classifier = portable_encoder(classifier)
        wanted = weights_hash(encoder)
        for layer in classifier.layers:
            if isinstance(layer, keras.Model) and weights_hash(layer) == wanted:
                encoder = layer
        class_names = class_names or tuple(map(str, range(classifier.output_shape[-1])))
    return Networks(encoder, classifier, class_names)


def _is_portable(layer: keras.layers.Layer) -> bool:
    synchronized = any(
        isinstance(one, keras.layers.BatchNormalization) and one.synchronized
        for one in (layer, *inner_layers(layer))
    )
    return layer.compute_dtype == "float32" and not synchronized
