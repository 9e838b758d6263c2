"""A run's .keras files where TensorFlow alone is installed, without this package."""

import keras
import numpy as np
import pytest
from environments import OURS

import selfsup_tf as selfsup
from selfsup_tf.config import EncoderConfig
from selfsup_tf.methods import find_method
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.models.encoders import build_encoder
from selfsup_tf.models.resnet import BLOCKS
from selfsup_tf.models.saved import load_network

PLAIN_KERAS = """
import sys
import keras
import numpy as np
images = np.load(sys.argv[1])
networks = [keras.models.load_model(path) for path in sys.argv[3:]]
np.savez(sys.argv[2], *[network.predict(images, verbose=0) for network in networks])
"""


@pytest.fixture
def train(tiny_config, few_images, tmp_path):
    """Trains for two steps and gives the run's directory."""

    def train(method, **values):
        config = tiny_config(method, steps=2, **values)
        run_dir = tmp_path / method
        method = find_method(method).load()(config)
        selfsup.train(method, few_images, run_dir=run_dir, progress=False)
        return run_dir

    return train


def assert_plain_keras_agrees(environment, paths, size, work):
    """The networks that lie there give what they give here."""
    assert environment.lacks(*OURS, "tensorflow_datasets")
    images = np.random.default_rng(1).random((4, size, size, 3), np.float32)
    np.save(work / "images.npy", images)
    environment.run("-c", PLAIN_KERAS, work / "images.npy", work / "h.npz", *paths)
    with np.load(work / "h.npz") as arrays:
        for path, received in zip(paths, arrays.values(), strict=True):
            expected = load_network(path).predict(images, verbose=0)
            # The same program of the same TensorFlow; threads may add otherwise.
            bound = 1e-6 * np.abs(expected).max()
            np.testing.assert_allclose(received, expected, rtol=0, atol=bound)
            # The measure can tell: images differ by far more.
            assert np.ptp(expected, axis=0).max() > 100 * bound, path


def test_runs_of_a_resnet_in_plain_keras(build, train, tmp_path, monkeypatch):
    """Normalised, with squeeze-and-excitation; fine-tuned from its head's middle."""
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 1, 1))  # time is tracing
    config = EncoderConfig(
        name="resnet18", width=1 / 16, stem="small_stride2", se_ratio=0.25,
        mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26),
    )  # fmt: skip
    first = train("simclr", encoder=config)
    second = train(
        "finetune", pretrained=str(first), encoder=EncoderConfig("pretrained"),
        head_layer=1,
    )  # fmt: skip
    paths = [first / "encoder.keras", second / "encoder.keras"]
    paths.append(second / "classifier.keras")
    assert_plain_keras_agrees(build("tensorflow"), paths, 16, tmp_path)


def ready_made(name, work):
    """A network of keras.applications with weights of a file, as from ImageNet.

    The statistics of its BatchNorms are those of images, without which all images look
    alike to it.
    """
    options = {"include_top": False, "pooling": "avg", "weights": None}
    network = getattr(keras.applications, name)(input_shape=(32, 32, 3), **options)
    for layer in leaf_layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    images = 255 * np.random.default_rng(2).random((16, 32, 32, 3), np.float32)
    network(images, training=True)
    network.save_weights(work / "a.weights.h5")
    return EncoderConfig(name, weights=str(work / "a.weights.h5"))


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0"])
def test_runs_of_a_ready_made_network_in_plain_keras(build, train, name, tmp_path):
    """Its logits learn alone, since tracing the gradient of the rest takes a minute."""
    config = ready_made(name, tmp_path)
    run_dir = train("finetune", encoder=config, image_size=32, frozen=True)
    paths = [run_dir / "encoder.keras", run_dir / "classifier.keras"]
    assert_plain_keras_agrees(build("tensorflow"), paths, 32, tmp_path)


def test_networks_of_other_layers_in_plain_keras(build, tmp_path):
    """A ResNet of bottlenecks; one of keras.applications that wants red last."""
    paths = []
    bottlenecks = EncoderConfig("resnet50", width=1 / 16)
    for config in (bottlenecks, ready_made("ResNet50", tmp_path)):
        paths.append(tmp_path / f"{len(paths)}.keras")
        build_encoder(config, 32).save(paths[-1])
    assert_plain_keras_agrees(build("tensorflow"), paths, 32, tmp_path)


def test_selective_kernels_want_this_package(build, tmp_path):
    """docs/keras.md says so, and so does Keras."""
    config = EncoderConfig("resnet50", width=1 / 16, sk_ratio=1 / 16)
    build_encoder(config, 32).save(tmp_path / "encoder.keras")
    program = (
        "import sys, keras\n"
        "try: keras.models.load_model(sys.argv[1])\n"
        "except TypeError as error: print(error)"
    )
    said = build("tensorflow").run("-c", program, tmp_path / "encoder.keras")
    assert "Could not locate class 'SumStreams'" in said
