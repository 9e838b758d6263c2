"""What a network of the user's own has to be, found before the first step."""

import hashlib
import json
import logging
import pathlib
import random
import re
import tempfile
from typing import Any

import keras
import numpy as np

from selfsup_tf.errors import InputError, check
from selfsup_tf.models.copies import uncompiled

logger = logging.getLogger("selfsup_tf")

_LEAST_SPREAD = 0.01
"""Of what the first weights get, beside the size of its mean or 1. Of images in [0, 1]
0.3 is left by a range of [0, 1], 0.001 by a division by 255 and 0.005 where a mean and
a deviation for 0 to 255 are taken off."""

END_EARLIER = (
    "End it before its classifier: keras.Model(model.inputs[0], "
    "model.layers[-2].output)."
)


def channels_of(network: keras.Model) -> int:
    """Of the images that a network takes; three where it does not say."""
    shapes = [tensor.shape for tensor in getattr(network, "inputs", None) or ()]
    return (shapes[0][-1] or 3) if shapes and len(shapes[0]) == 4 else 3


def check_fits(network: keras.Model, image_size: int, channels: int = 0) -> None:
    """Raises InputError unless it maps (N, image_size, image_size, C) to (N, D).

    C is `channels`, or any number where that is 0.
    """
    check(
        not isinstance(network, keras.Sequential) or network.built,
        "an encoder that knows what it takes",
        "a Sequential without an Input",
        f"Begin it with keras.layers.Input(({image_size}, {image_size}, "
        f"{channels or 3})).",
    )
    check(
        isinstance(network, keras.Model) and hasattr(network, "inputs"),
        "encoder to be a functional or sequential keras.Model",
        type(network).__name__,
        "Build it with keras.Model(inputs, outputs).",
    )
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    shape = f"(N, {image_size}, {image_size}, {channels or 'channels'})"
    expected = f"an encoder with one input of shape {shape}"
    advice = "Build it for images (N, H, W, 3)."
    check(len(shapes) == 1 and len(shapes[0]) == 4, expected, shapes, advice)
    _, *sides, own = shapes[0]
    check(
        not channels or own in (None, channels),
        expected,
        shapes,
        f"Use --channels={own}, or an encoder for images of {channels}.",
    )
    check(
        all(side in (None, image_size) for side in sides),
        expected,
        shapes,
        f"Use --image_size={sides[0]}, which is that network's.",
    )
    shapes = [tuple(tensor.shape) for tensor in network.outputs]
    expected = "an encoder with one output of shape (N, D)"
    advice = (
        "Choose one of its outputs: keras.Model(model.inputs[0], model.outputs[0])."
    )
    check(len(shapes) == 1, expected, shapes, advice)
    advice = "End it with a pooling layer, such as keras.layers.GlobalAveragePooling2D."
    check(len(shapes[0]) == 2, expected, shapes, advice)


def check_loads(encoder: keras.Model, image_size: int) -> None:
    """Raises InputError unless a saved encoder is loaded as what it was.

    What a run leaves would else be of use to nobody, which its end is too late to tell.
    """
    images = _images(encoder, image_size)
    # Keras draws the seeds of new layers from this generator. Those of the run, made
    # after this, stay as they were.
    state = random.getstate()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "encoder.keras")
        try:
            with uncompiled(encoder):
                encoder.save(path)
            loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # whatever a layer of somebody's raises
            raise InputError(
                "an encoder that can be saved and loaded again",
                f"one of which Keras says: {reason(error)[0]}",
                "Register its own layers and functions, "
                "@keras.saving.register_keras_serializable(package='my_layers'), in a "
                "module my_layers that commands import by --import=my_layers. Make a "
                "Lambda such a layer.",
            ) from error
        finally:
            random.setstate(state)
    first, again, after = (
        np.asarray(network(images, training=False), np.float32)
        for network in (encoder, encoder, loaded)
    )
    check(
        np.allclose(first, after, rtol=1e-3, atol=1e-5)
        or not np.allclose(first, again, rtol=1e-3, atol=1e-5),
        "an encoder that gives the same after it is saved and loaded",
        f"representations up to {np.abs(first - after).max():.3g} apart",
        "Let get_config of its own layers hold every argument of their constructors.",
    )


def tell_losses(network: keras.Model) -> None:
    """Says that losses of a network's own, such as its regularizers', are left out."""
    if count := len(network.losses):
        logger.warning(
            "Losses of the encoder's own layers, such as regularizers, have no part in "
            "this training (%d); --optimizer.weight_decay decays its weights.",
            count,
        )


def check_represents(
    encoder: keras.Model, image_size: int, *, advice: str = END_EARLIER
) -> None:
    """Raises InputError where it takes another range, or ends in probabilities.

    Args:
        encoder: A copy, whose layers have been called for this network alone.
        image_size: Height and width of its images, in pixels.
        advice: How to end it before its classifier.
    """
    found = _before_weights(encoder, _images(encoder, image_size))
    if found is not None:
        name, seen = found
        axes = tuple(range(seen.ndim - 1))
        spread, mean = seen.std(axes), seen.mean(axes)
        check(
            (spread >= _LEAST_SPREAD * np.maximum(1, np.abs(mean))).any(),
            "an encoder that takes images in [0, 1]",
            f"one whose first layer with weights, {name}, gets of them numbers that "
            f"spread by {spread.max():.2g} around {mean.mean():.3g}",
            "What it does to its input, such as Rescaling(1/255), is meant for 0 to "
            "255: take it out, or begin with keras.layers.Rescaling(255).",
        )
    check(
        not gives_probabilities(encoder, image_size),
        "an encoder that gives representations",
        "one that gives probabilities, as a softmax does",
        advice,
    )


def gives_probabilities(network: keras.Model, image_size: int) -> bool:
    """Whether its answers to any images are shares of 1."""
    images = _images(network, image_size)
    answers = np.asarray(network(images, training=False), np.float32)
    sums = answers.sum(axis=1)
    return bool((answers >= 0).all() and np.allclose(sums, 1, rtol=0, atol=0.01))


def architecture(network: keras.Model) -> str:
    """The SHA-256 of what a network consists of; names and weights have no part in it.

    Keras numbers the names of layers anew in each process, and in each notebook cell.
    """
    text = json.dumps(_structure(json.loads(network.to_json()), {}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


_OF_A_PROCESS = ("name", "seed", "shared_object_id", "compile_config")
_OF_A_CALL = ("build_config", "build_input_shape")  # of the last one, where it is free


def _structure(value: Any, numbers: dict[str, int]) -> Any:
    """Keras's JSON without what differs from process to process.

    Args:
        value: A part of it.
        numbers: Where in the model around it a layer of some name stands.
    """
    if isinstance(value, dict):
        if "DTypePolicy" in str(value.get("class_name")):
            return value["config"]  # whose name is what counts
        if isinstance(value.get("layers"), list):
            names = [layer["config"].get("name") for layer in value["layers"]]
            numbers = {name: number for number, name in enumerate(names)}
        left_out = (*_OF_A_PROCESS, *_OF_A_CALL)
        if "sha256" in value:  # of a file, wherever it lies
            left_out = (*left_out, "place")
        kept = {key: part for key, part in value.items() if key not in left_out}
        return {key: _structure(part, numbers) for key, part in kept.items()}
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str) and value[0] in numbers:
            return [numbers[value[0]], *value[1:]]  # (layer, call, output)
        return [_structure(part, numbers) for part in value]
    return value


def reason(error: Exception) -> tuple[str, str]:
    """What Keras's error says at heart, and the module of the class that is missing."""
    said = str(error).rpartition("Exception encountered: ")[2]
    module = re.search(r"Full object config: \{'module': '([\w.]+)'", said)
    sentence = said.strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return sentence, module[1] if module else ""


def _images(network: keras.Model, size: int) -> np.ndarray:
    """Images of noise that the network takes, each of another brightness."""
    shape = (4, size, size, channels_of(network))
    noise = np.random.default_rng(0).uniform(size=shape)
    return ((noise + np.linspace(0, 1, 4)[:, None, None, None]) / 2).astype(np.float32)


def _before_weights(network: keras.Model, images) -> tuple[str, np.ndarray] | None:
    """The first layer with weights that learn, and what it gets; None if unclear."""
    for layer in network.layers:
        if layer.weights and not isinstance(layer, keras.layers.Normalization):
            break
    else:
        return None
    try:
        # A model's own `input` is the one inside; an operation's is what it is given.
        given = keras.Operation.input.fget(layer)
        seen = keras.Model(network.inputs[0], given)(images, training=False)
    except (AttributeError, ValueError):  # a layer of another kind, or several inputs
        return None
    if isinstance(layer, keras.Model) and hasattr(layer, "inputs"):
        return _before_weights(layer, seen)
    return layer.name, np.asarray(seen, np.float32)
