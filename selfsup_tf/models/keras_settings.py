"""Keras's global settings, on which a network's layers and numbers depend."""

import contextlib
import os
from collections.abc import Iterator

from selfsup_tf.errors import InputError, check


def check_keras() -> None:
    """Checks that Keras makes the layers that this package computes with.

    Settings come from KERAS_BACKEND, from ~/.keras/keras.json and from calls such as
    `keras.config.set_floatx`. A run's precision is its config's, not Keras's.

    Raises:
        InputError: Keras stands on another backend than TensorFlow, has the channels
            first, or is to compute in anything but float32 by itself.
    """
    whence = "KERAS_BACKEND" if "KERAS_BACKEND" in os.environ else "~/.keras/keras.json"
    try:
        import keras

        backend = keras.config.backend()
    except (ImportError, ValueError) as error:
        raise InputError(
            "Keras over TensorFlow",
            f"a backend that can't be imported ({error})",
            f"Set {whence} to tensorflow.",
        ) from error
    check(
        backend == "tensorflow",
        "Keras over TensorFlow",
        f"the backend {backend}",
        f"Set {whence} to tensorflow, before Keras is imported.",
    )
    found = {
        "image_data_format": (keras.config.image_data_format(), "channels_last"),
        "floatx": (keras.config.floatx(), "float32"),
        "dtype_policy": (keras.config.dtype_policy().name, "float32"),
    }
    for name, (value, wanted) in found.items():
        check(
            value == wanted,
            f"Keras's {name} to be {wanted}",
            value,
            f'Set it in ~/.keras/keras.json or by keras.config.set_{name}("{wanted}")'
            + ("; a run takes --precision." if wanted == "float32" else "."),
        )


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """The precision, meanwhile, of layers that are made and told none.

    Args:
        precision: A Keras dtype policy.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
