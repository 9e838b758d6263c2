"""Untrained copies of a network, to compare training with."""

import random

import keras

from selfsup_tf.errors import check
from selfsup_tf.models.copies import leaf_layers, uncompiled


def untrained_copy(encoder: keras.Model, seed: int = 0) -> keras.Model:
    """Copies a network as it is before any training: fresh weights, fresh BatchNorm.

    Input normalisation is no training and keeps its constants. Equal seeds give equal
    weights; initialisers that carry a seed of their own in their config keep it.

    Args:
        encoder: A functional or sequential model, or one that serialises.
        seed: Chooses the weights.
    """
    # An unseeded Keras initialiser draws its seed from Python's generator and nothing
    # else, so lending it a seeded state decides all weights and leaves no trace.
    state = random.getstate()
    random.seed(seed)
    try:
        with uncompiled(encoder):
            copy = keras.models.clone_model(encoder, recursive=True)
    finally:
        random.setstate(state)
    pairs = zip(leaf_layers(encoder), leaf_layers(copy), strict=True)
    for layer, fresh in pairs:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            fresh.set_weights(layer.get_weights())
            fresh.finalize_state()
    shapes = [tuple(w.shape) for w in encoder.weights]
    fresh_shapes = [tuple(w.shape) for w in copy.weights]
    check(
        shapes == fresh_shapes,
        "an encoder that its own config describes",
        f"{len(shapes)} weights, {len(fresh_shapes)} in a copy made from its config",
        "Give its custom layers a get_config, or leave it out: untrained=False.",
    )
    return copy
