"""Activations that the backward pass of a network needs, as bytes for each image."""

import dataclasses
import math

import keras

from selfsup_tf.models.rematerialisation import Rematerialised

FLOAT32 = 4

INPUT = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.BatchNormalization)
OUTPUT = (keras.layers.ReLU,)
BOTH = (keras.layers.MaxPooling2D,)
NEITHER = (
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Identity,
    keras.layers.InputLayer,
    keras.layers.Normalization,
    keras.layers.Rescaling,
    keras.layers.ZeroPadding2D,
)
OTHER_NEITHER = ("Concatenate", "Split")


@dataclasses.dataclass
class Kept:
    total: int = 0
    """Bytes kept to the end of the forward pass."""
    peak: int = 0
    """The most that is held, a block's inside with it."""


def kept_activations(network):
    """What the backward pass needs of one image, of a functional model, in bytes."""
    kept, seen, alive = Kept(), set(), []
    given = {id(tensor) for tensor in keras.tree.flatten(network.input)}
    # What comes in is kept outside, if anywhere, but for the images themselves.

    def keep(tensor, dtype=None):
        dtype = dtype or tensor.dtype
        alive.append(tensor)  # or its id may be another's
        if (id(tensor), dtype) in seen or id(tensor) in given:
            return
        seen.add((id(tensor), dtype))
        size = {"float32": 4, "float64": 8}.get(dtype, 2)
        kept.total += size * math.prod(tensor.shape[1:])
        kept.peak = max(kept.peak, kept.total)

    def note(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        tensors = [
            t
            for t in keras.tree.flatten((args, kwargs))
            if isinstance(t, keras.KerasTensor)
        ]
        if isinstance(layer, Rematerialised):
            keep(tensors[0])
            inside = kept_activations(layer.block).total
            kept.peak = max(kept.peak, kept.total + 2 * inside)
        elif isinstance(layer, keras.Model):
            part = kept_activations(layer)
            kept.peak = max(kept.peak, kept.total + part.peak)
            kept.total += part.total
        elif isinstance(layer, keras.layers.BatchNormalization):
            keep(tensors[0], "float32")
        else:
            _check_known(layer)
            for tensor in tensors if isinstance(layer, INPUT + BOTH) else ():
                keep(tensor)
            if isinstance(layer, OUTPUT + BOTH):
                keep(outputs)
        return outputs

    trace = keras.models.clone_model(
        network, clone_function=lambda layer: layer, call_function=note
    )
    given |= {id(tensor) for tensor in keras.tree.flatten(trace.input)}
    return kept


def _check_known(layer):
    known = isinstance(layer, INPUT + OUTPUT + BOTH + NEITHER)
    if not known and type(layer).__name__ not in OTHER_NEITHER:
        raise TypeError(f"no rule says what {type(layer).__name__} keeps")


def leaves(network):
    for layer in network.layers:
        yield from leaves(layer) if isinstance(layer, keras.Model) else [layer]
