"""Layers of the user's own in a view, found by the name they are registered with."""

import importlib
import inspect
from collections.abc import Callable

import keras
import tensorflow as tf

from selfsup_tf.config import LayerConfig
from selfsup_tf.data import random
from selfsup_tf.doors import find_own
from selfsup_tf.errors import InputError, check

# What is stateful by TensorFlow's account and still follows from its input.
_HARMLESS = ("Placeholder", "Assert")


def make_own_layer(
    config: LayerConfig, shape: tuple[int, int, int], place: int
) -> Callable:
    """The layer that `config` names, as a function of images and keys.

    Its `call` takes images, (N, size, size, C) float32, and, where it is random, keys,
    (N, 2) uint32, which no other layer gets; `data.random` makes draws of them.

    Args:
        config: Name and options of the layer.
        shape: Height, width and channels of the view, which the layer has to keep.
        place: Which of the view's own layers it is, from 0 on.

    Raises:
        InputError: There is no such layer, it doesn't take the options, it changes the
            shape, or what it gives does not follow from images and keys alone.
    """
    kind = find_own_layer(config.name)
    try:
        layer = kind(**dict(config.options))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"options that the layer {config.name} takes",
            dict(config.options),
            f"It says: {error}",
        ) from error
    takes_keys = "keys" in inspect.signature(layer.call).parameters

    def call(images, keys):
        if takes_keys:
            images = layer(images, random.fold_in(keys, place))
        else:
            images = layer(images)
        return tf.cast(images, tf.float32)

    _check_pure(call, config.name, shape)
    return call


def find_own_layer(name: str) -> type[keras.layers.Layer]:
    """The class that is registered with Keras under a name such as "my_layers>Blot".

    Raises:
        InputError: There is none, nor one in the module of the name's first part.
    """
    found = keras.saving.get_registered_object(name)
    module, _, _ = name.partition(">")
    if found is None and find_own(module):
        importlib.import_module(module)
        found = keras.saving.get_registered_object(name)
    check(
        inspect.isclass(found) and issubclass(found, keras.layers.Layer),
        f"a Keras layer that is registered as {name!r}",
        "none" if found is None else found,
        f"Decorate its class with @keras.saving.register_keras_serializable("
        f"package={module!r}), in a module {module} that can be imported.",
    )
    return found


def _check_pure(call: Callable, name: str, shape: tuple[int, int, int]) -> None:
    """Traces the layer: a graph tells what it keeps, draws or calls."""
    images = tf.TensorSpec((2, *shape), tf.float32)
    keys = tf.TensorSpec((2, 2), tf.uint32)
    traced = tf.function(call, autograph=False)  # as a view calls it
    traced = traced.get_concrete_function(images, keys)
    check(
        traced.output_shapes == images.shape,
        f"the layer {name} to keep the shape of the images, {images.shape}",
        traced.output_shapes,
        "Crop and resize by the fields of the view.",
    )
    stateful = {
        operation.type
        for operation in traced.graph.get_operations()
        if operation.op_def.is_stateful and operation.type not in _HARMLESS
    }
    check(
        not stateful,
        f"a layer {name} whose result follows from images and keys alone, so that a "
        "run can be resumed",
        f"one that uses {', '.join(sorted(stateful))}",
        "Let its call take (images, keys), and draw by selfsup_tf.data.random.uniform.",
    )
