"""What the tests of the edge and of the browser example have in common."""

import importlib.util
import pathlib

import keras

EDGE = pathlib.Path(__file__).parents[2] / "examples" / "edge"


def load_edge_encoder():
    """examples/edge/encoder.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("edge_encoder", EDGE / "encoder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_encoder(size: int) -> keras.Model:
    """Numbers of both signs that tell images, and the places within them, apart."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Conv2D(8, 5, strides=4, activation="relu"),
            layers.Flatten(),
            layers.Dense(12),
        ]
    )


def build_classifier(encoder: keras.Model, size: int, num_classes: int) -> keras.Model:
    """Logits of classes, read from an encoder's representation."""
    # Seeded so that more than one of them wins.
    kernel = keras.initializers.RandomNormal(stddev=3.0, seed=0)
    views = keras.Input((size, size, 3))
    logits = keras.layers.Dense(num_classes, kernel_initializer=kernel)(encoder(views))
    return keras.Model(views, logits)
