"""What tests of exports share: networks, artefacts, modules of the examples."""

import importlib.util
import pathlib

import keras
import numpy as np

from selfsup_tf.exporting.format import Artefact, Networks, Options
from selfsup_tf.exporting.formats import find_formats
from selfsup_tf.exporting.served import export_saved_model as write_saved_model

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
FORMATS = find_formats()
PRECISIONS = [f.precision for word, f in FORMATS.items() if word.startswith("tflite")]


def artefact(path, word, options=Options(), class_names=None):
    """A file of the format of that word."""
    return Artefact(path, FORMATS[word], FORMATS[word].heeded(options), class_names)


def write(word, encoder, path, *, calibration_images=None, classifier=None,
          class_names=None, **options):  # fmt: skip
    """Writes a file of the format of that word; gives its path."""
    FORMATS[word].write(
        Networks(encoder, classifier, class_names),
        pathlib.Path(path),
        options=FORMATS[word].heeded(Options(**options)),
        calibration=calibration_images,
    )
    return pathlib.Path(path)


def export_tflite(encoder, path, *, precision="float32", **more):
    """Writes a TFLite file; gives its path."""
    return write(f"tflite_{precision}", encoder, path, **more)


def export_saved_model(encoder, path, *, classifier=None, class_names=None, **more):
    """Writes a SavedModel alone; gives its path."""
    write_saved_model(Networks(encoder, classifier, class_names), path, **more)
    return pathlib.Path(path)


def load(path):
    """A module that lies on no path of this program."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
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


def make_network(size=16, *, classes=None, seed=0):
    """An encoder of colours and edges; with classes, a classifier upon it."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((size, size, 3), name="image")
    h = keras.layers.Conv2D(16, 3, strides=2, use_bias=False)(images)
    h = keras.layers.ReLU()(keras.layers.BatchNormalization()(h))
    h = keras.layers.Conv2D(24, 3, strides=2)(h)
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(h))
    encoder = keras.Model(images, h, name="colours")
    if classes is None:
        return encoder
    kernel = keras.initializers.RandomNormal(0, 20.0, seed=1)
    logits = keras.layers.Dense(classes, kernel_initializer=kernel)(h)
    return encoder, keras.Model(images, logits)


def coloured(count, *, seed):
    """Noise of ten colours that overlap: (N, 20, 24, 3) uint8, and the colours."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    colours = np.random.default_rng(0).uniform(60, 190, (10, 3))
    tint = colours[labels] + random.normal(0, 25, (count, 3))
    pixels = tint[:, None, None] + random.normal(0, 30, (count, 20, 24, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels
