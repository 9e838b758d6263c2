"""The augmentations in anybody's Keras program: alone, in models, in tf.data."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import byol_tf
import dino_tf
import selfsup_tf as selfsup
from selfsup_tf import layers
from selfsup_tf.data import random
from selfsup_tf.data.views import View, evaluation_view
from selfsup_tf.errors import InputError

EVERY = {
    "crop": lambda **options: layers.RandomResizedCrop(16, **options),
    "flip": lambda **options: layers.RandomHorizontalFlip(**options),
    "quarter turns": lambda **options: layers.RandomRotate90(**options),
    "rotation": lambda **options: layers.RandomRotation(20.0, **options),
    "jitter": lambda **options: layers.ColorJitter(**options),
    "grayscale": lambda **options: layers.RandomGrayscale(**options),
    "blur": lambda **options: layers.RandomGaussianBlur(**options),
    "solarize": lambda **options: layers.RandomSolarize(**options),
    "view": lambda **options: layers.RandomView(16, **options),
}


@pytest.fixture(scope="module")
def images():
    """Float in [0, 1], (12, 40, 40, 3)."""
    return np.random.default_rng(0).random((12, 40, 40, 3), np.float32)


@pytest.mark.parametrize("name", EVERY)
def test_a_layer_takes_images_alone(name, images):
    layer = EVERY[name](seed=3)
    first, second = layer(images), layer(images)
    assert first.dtype == "float32"
    # A view clips at its end; a layer alone may round beyond.
    assert tf.reduce_min(first) >= -1e-6 and tf.reduce_max(first) <= 1 + 1e-6
    assert not np.array_equal(first, second)  # other draws at every call
    assert np.array_equal(first, EVERY[name](seed=3)(images))
    assert not np.array_equal(first, EVERY[name](seed=4)(images))
    same = np.asarray(EVERY[name](seed=3)(images[:1].repeat(12, 0)))
    assert len({row.tobytes() for row in same}) > 1  # each image has its own draws
    one = layer(images[0])
    assert one.shape == first.shape[1:]


@pytest.mark.parametrize("name", EVERY)
def test_out_of_training_images_are_left_alone(name, images):
    layer = EVERY[name]()
    rest = np.asarray(layer(images, training=False))
    if name == "view":
        expected = evaluation_view(tf.constant(images), 16)
        np.testing.assert_allclose(rest, expected, atol=1e-6)
    elif name == "crop":
        whole = tf.image.resize(images, (16, 16), "bicubic")
        np.testing.assert_allclose(rest, np.clip(whole, 0, 1), atol=1e-6)
    else:
        np.testing.assert_array_equal(rest, images)


def test_whole_numbers_are_of_255(images):
    whole = (255 * images).astype(np.uint8)
    found = layers.RandomRotate90(seed=1)(whole)
    expected = layers.RandomRotate90(seed=1)(whole * np.float32(1 / 255))
    np.testing.assert_array_equal(found, expected)


def test_a_model_of_layers_trains_is_saved_and_rests(images, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((40, 40, 3)),
            layers.RandomResizedCrop(16),
            layers.ColorJitter(),
            layers.RandomView(12, byol_tf.recipes.imagenet().views[1]),
            keras.layers.Conv2D(2, 3),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((12, 2)), verbose=0)
    still = model.predict(images, verbose=0)
    np.testing.assert_array_equal(still, model.predict(images, verbose=0))
    assert not np.array_equal(model(images, training=True), still)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(images, verbose=0), still, rtol=1e-6)
    assert again.layers[2].view == byol_tf.recipes.imagenet().views[1]


@pytest.mark.parametrize("size", [16, 33])  # an evaluation view of 33 is a crop
@pytest.mark.parametrize("kind", [layers.RandomResizedCrop, layers.RandomView])
def test_xla_compiles_a_model_that_rests(kind, size, images):
    """As Keras has it on every accelerator."""
    layer = kind(size)
    model = keras.Sequential([keras.Input((40, 40, 3)), layer])
    model.compile(jit_compile=True)
    found = model.predict(images, verbose=0)
    expected = [layer(one, training=False) for one in images]  # by TensorFlow's resize
    np.testing.assert_allclose(found, np.stack(expected), atol=2e-6)


REPLICAS = """
import numpy as np
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
from selfsup_tf import layers

images = np.random.default_rng(0).random((4, 20, 20, 3), np.float32)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = layers.RandomView(16, seed=2)
    layer.build(images.shape)
found = strategy.run(tf.function(lambda: layer(tf.constant(images))))
one, other = (part.numpy() for part in strategy.experimental_local_results(found))
assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
np.testing.assert_allclose(one, layers.RandomView(16, seed=2)(images), atol=1e-5)
"""


def test_every_replica_draws_for_itself():
    """The same images on two devices get other views."""
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_salt_sets_views_apart(images):
    one, other, same = (
        layers.RandomView(16, seed=7, salt=n)(images) for n in (1, 2, 1)
    )
    assert not np.array_equal(one, other) and np.array_equal(one, same)
    keys = random.image_keys(1, 2, tf.range(12), 1)
    view = layers.RandomView(16, salt=1)
    of_one = view(images[3], keys[3])
    np.testing.assert_allclose(of_one, view(images, keys)[3], atol=2e-6)
    again = layers.RandomView.from_config(layers.RandomView(16, seed=7).get_config())
    np.testing.assert_array_equal(again(images), layers.RandomView(16, seed=7)(images))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("flip", (12, 28, 28), "of a known number of channels.*12, 28, 28"),
        ("jitter", (28, 28), "of a known number of channels"),
        ("quarter turns", (2, 16, 20, 3), "square images"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(name, shape, said):
    with pytest.raises(InputError, match=said):
        EVERY[name]()(np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", ["grayscale", "jitter", "view"])
def test_images_of_unknown_channels_are_refused(name, images):
    """`decode_jpeg` without channels=3: they would pass as those without colours."""
    encoded = tf.data.Dataset.from_tensors(
        tf.io.encode_png((255 * images[0]).astype("u1"))
    )
    with pytest.raises(Exception, match="Decode with channels=3"):
        encoded.map(tf.io.decode_jpeg).map(EVERY[name]())


@pytest.mark.parametrize("name", ["rotation", "blur", "quarter turns"])
def test_layers_that_need_a_size_say_so(name):
    of_any = tf.data.Dataset.from_generator(
        lambda: iter([]), output_signature=tf.TensorSpec((None, None, 3), tf.float32)
    )
    with pytest.raises(Exception, match="a known height and width for Random"):
        of_any.map(EVERY[name]())
    view = EVERY["view"]()
    rested = of_any.batch(1).map(lambda x: view(x, training=False))
    assert rested.element_spec.shape[1:] == (16, 16, 3)
    with pytest.raises(Exception, match="a known height and width for RandomView"):
        of_any.batch(1).map(EVERY["view"]())


def test_floats_of_255_are_refused(images):
    """As `keras.utils.image_dataset_from_directory` gives them."""
    for layer in (layers.RandomView(16), layers.RandomGrayscale()):
        with pytest.raises(tf.errors.InvalidArgumentError, match="divide by 255"):
            layer(255 * images)
    batches = tf.data.Dataset.from_tensors(255 * images).map(layers.RandomView(16))
    with pytest.raises(tf.errors.InvalidArgumentError, match="divide by 255"):
        next(iter(batches))


def test_labels_are_not_taken_for_keys(images):
    for labels in ([1, 2], {"label": 1}, True):
        with pytest.raises(InputError, match="Are they labels"):
            layers.RandomView(16)(images, labels)
    labelled = tf.data.Dataset.from_tensors((images, np.arange(12)))
    with pytest.raises(Exception, match="Are they labels"):  # AutoGraph's own
        labelled.map(layers.RandomView(16))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: layers.RandomResizedCrop((16, 16)), "one whole number of pixels"),
        (
            lambda: layers.RandomResizedCrop(16, interpolation="nearest"),
            "interpolation",
        ),
        (lambda: layers.RandomResizedCrop(16, area=(0.5, 0.1)), "area"),
        (lambda: layers.RandomResizedCrop(16, probability=0.5), "probability=1"),
        (
            lambda: layers.RandomResizedCrop(16, area=(0.01, 0.1), law="distorted_box"),
            "area up to more than",
        ),
        (lambda: layers.RandomView(16, probability=0.5), "probability=1"),
        (lambda: layers.ColorJitter(brightness_mode="Multiply"), "brightness_mode"),
        (lambda: layers.ColorJitter(hue=90), "hue"),
        (lambda: layers.RandomSolarize(threshold=128), "threshold"),
        (lambda: layers.RandomHorizontalFlip(probability=50), "probability"),
        (lambda: layers.RandomGaussianBlur(sigma=(0, 0)), "sigma"),
        (lambda: layers.RandomRotation(-20), "degrees"),
    ],
)
def test_arguments_that_would_do_something_else_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_a_dataset_maps_a_layer_over_batches_and_images_of_any_size(images):
    batches = tf.data.Dataset.from_tensor_slices(images).batch(4)
    drawn = list(batches.map(layers.ColorJitter()).map(layers.RandomView(16)))
    assert [tuple(one.shape) for one in drawn] == [(4, 16, 16, 3)] * 3
    sizes = tf.data.Dataset.from_generator(
        lambda: iter([images[0], images[1][:30], images[2][:, :20]]),
        output_signature=tf.TensorSpec((None, None, 3), tf.float32),
    )
    for layer in (layers.RandomResizedCrop(16), layers.RandomView(16)):
        drawn = [one.numpy() for one in sizes.map(layer)]
        assert [one.shape for one in drawn] == [(16, 16, 3)] * 3
    jittered = [one.shape for one in sizes.map(layers.ColorJitter())]
    assert jittered == [one.shape for one in sizes]


def test_with_a_run_s_keys_a_view_is_that_of_the_run(images):
    config = byol_tf.recipes.imagenet().views[0]
    keys = random.image_keys(1, 2, tf.range(12), 1)
    found = layers.RandomView(16, config)(images, keys)
    np.testing.assert_array_equal(found, View(config, 16)(tf.constant(images), keys))


def test_the_size_that_is_asked_for_wins_over_that_of_the_view(images):
    view = layers.RandomView(20, dino_tf.recipes.imagenet().views[-1])
    assert view.view.size not in (None, 20)
    for training in (True, False):
        assert view(images, training=training).shape[1:3] == (20, 20)


def test_the_layers_are_found_where_a_person_looks():
    assert selfsup.layers is layers and "ColorJitter" in dir(selfsup.layers)
