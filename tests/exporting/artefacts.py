"""What tests of exports share: networks, artefacts, modules of the examples."""

import contextlib
import importlib.util
import pathlib
import re
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from selfsup_tf.data.decode import decode_image
from selfsup_tf.data.views import evaluation_view
from selfsup_tf.exporting.format import Artefact, Networks, Options
from selfsup_tf.exporting.formats import find_formats
from selfsup_tf.exporting.served import export_saved_model as write_saved_model
from selfsup_tf.models.preprocessing import normalize

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


def python(*words, timeout=300, **options):
    """Runs Python on these words to its end, with what it says as text."""
    words = [sys.executable, *map(str, words)]
    options |= {"capture_output": True, "text": True, "timeout": timeout}
    return subprocess.run(words, **options)


@contextlib.contextmanager
def running_server(models, log, *flags):
    """The example server: its process, its REST and gRPC addresses, its warm-ups."""
    command = [sys.executable, EXAMPLES / "serving" / "server.py", models, *flags]
    command += ["--rest_port=0", "--grpc_port=0"]
    with open(log, "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=log.parent)
    try:
        for _ in range(600):
            found = re.search(
                r"by (\d+) .*REST on (\S+), gRPC on (\S+)", log.read_text()
            )
            if found or process.poll() is not None:
                break
            time.sleep(0.2)
        assert found, log.read_text()
        yield process, f"http://{found[2]}", found[3], int(found[1])
        assert process.poll() is None, "the server ended by itself: " + log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=30)


def runner(path):
    """The one signature of a TFLite file, to be called."""
    return Interpreter(model_path=str(path)).get_signature_runner()


def represent(model, views):
    """What a network makes of float views, or of uint8 pixels of its size."""
    if views.dtype == np.uint8:
        views = views / np.float32(255)
    return model(tf.constant(views), training=False).numpy()


def views_of(files, size):
    """The evaluation views of image files (their bytes): (N, S, S, 3) float32."""
    images = [decode_image(tf.constant(contents)) for contents in files]
    return np.stack([evaluation_view(image, size) for image in images])


class Spectrum(keras.layers.Layer):
    """Uses an operation that TFLite and ONNX lack."""

    def call(self, inputs):
        return tf.math.abs(tf.signal.fft3d(tf.cast(inputs, tf.complex64)))


class Joined(keras.layers.Layer):
    """Gives one vector whatever the number of images."""

    def call(self, inputs):
        return tf.reshape(inputs, (1, -1))

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((None, 192))


def flat_encoder(*layers):
    """An encoder of these layers for 8 px."""
    flat = [keras.Input((8, 8, 3)), *layers, keras.layers.Flatten()]
    return keras.Sequential(flat)


def photograph(seed, height=60, width=83, grain=0):
    """A smooth picture, which JPEG hardly changes: uint8 (H, W, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 60
    a, b, c = random.uniform(1, 4, 3)
    waves = np.stack([np.sin(a * x), np.cos(b * y), np.sin(c * (x - y))], -1)
    pixels = 127 + 110 * waves + random.normal(0, 1, waves.shape) * grain
    return pixels.clip(0, 255).astype(np.uint8)


def normed_network(size=16):
    """Convolutions and BatchNorms whose statistics and scales are all moved."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images = keras.Input((size, size, 3), name="image")
    h = normalize(images, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    for width in (8, 16, 64):
        h = keras.layers.Conv2D(width, 3, 2, "same", use_bias=False)(h)
        norm = keras.layers.BatchNormalization()
        h = keras.layers.ReLU()(norm(h))
        ends = ((0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.5, 2))
        norm.set_weights([random.uniform(*limits, width) for limits in ends])
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))


def planted_network(planted=32):
    """Four convolutions. With `planted`, a scale, the second gives channels of that
    and of its reciprocal, which the third undoes: the encoder computes the same, and
    int8 can't.
    """
    keras.utils.set_random_seed(5)
    stem = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(16, 3, 2, "same", activation="relu", name="conv2d"),
            # Of one name but for a number, as Keras gives them.
            keras.layers.Conv2D(16, 3, padding="same", name="conv2d_1"),
        ],
        name="stem",
    )
    images = keras.Input((16, 16, 3), name="image")
    h = keras.layers.ZeroPadding2D(1, name="pad")(stem(images))
    h = keras.layers.Conv2D(32, 3, 2, activation="relu", name="conv2d_2")(h)
    h = keras.layers.Conv2D(32, 3, activation="relu", name="conv2d_3")(h)
    h = keras.layers.GlobalAveragePooling2D(name="pool")(h)
    encoder = keras.Model(images, keras.layers.Dropout(0.5, name="dropout")(h))
    if planted:
        scale = np.where(np.arange(16) % 2, planted, 1 / planted).astype(np.float32)
        first, second = stem.get_layer("conv2d_1"), encoder.get_layer("conv2d_2")
        first.kernel.assign(first.kernel * scale)
        second.kernel.assign(second.kernel / scale[:, None])
    return encoder


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
