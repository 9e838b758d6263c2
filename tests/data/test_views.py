"""Views: composition, replay, and the view an encoder is judged by."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import ViewConfig
from selfsup_tf.data import augment, random, views
from selfsup_tf.errors import InputError

KEYS = random.image_keys(0, 0, tf.range(16), 0)
EVERYTHING = ViewConfig(blur_size=0.3, solarize=0.3, rotate90=0.3, rotation=10.0)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return tf.constant(rng.integers(0, 256, size=(16, 24, 30, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def drawn(images):
    return views.make_view(EVERYTHING, 20)(images, KEYS).numpy()


def test_a_view_has_its_size_dtype_and_range(drawn):
    assert drawn.shape == (16, 20, 20, 3) and drawn.dtype == np.float32
    assert drawn.min() >= 0 and drawn.max() <= 1


def test_a_view_is_replayed_from_its_key(images, drawn):
    again = views.make_view(EVERYTHING, 20)(images[3:4], KEYS[3:4])
    np.testing.assert_allclose(again[0], drawn[3], atol=1e-5)


def test_another_key_draws_another_view(images, drawn):
    keys = random.image_keys(0, 0, tf.range(16), 1)
    other = views.make_view(EVERYTHING, 20)(images, keys).numpy()
    assert (np.abs(other - drawn).max(axis=(1, 2, 3)) > 0.05).all()


def test_compiled_and_in_halves_it_is_the_same_view(images, drawn):
    view = views.make_view(EVERYTHING, 20)
    compiled = tf.function(view, jit_compile=True)(images, KEYS)
    np.testing.assert_allclose(compiled, drawn, atol=1e-4)
    for number in range(4):
        crop = view.crop_one(images[number], KEYS[number])
        halves = view.finish(crop[None], KEYS[number : number + 1])
        np.testing.assert_allclose(halves[0], drawn[number], atol=1e-4)


def test_operations_follow_the_fields_and_those_never_applied_are_left_out():
    full = views.make_view(EVERYTHING, 20)
    assert [type(layer) for layer in full.layers] == [
        augment.RandomHorizontalFlip,
        augment.ColorJitter,
        augment.RandomGrayscale,
        augment.RandomGaussianBlur,
        augment.RandomSolarize,
        augment.RandomRotate90,
        augment.RandomRotation,
    ]
    bare = ViewConfig(flip=0, jitter=0, grayscale=0, blur=0)
    assert views.make_view(bare, 20).layers == []


def test_every_field_reaches_its_layer():
    """Each field, changed alone, changes what the layers say of themselves."""
    changes = {
        "crop_area": (0.2, 0.5),
        "crop_aspect": (0.9, 1.1),
        "crop_law": "distorted_box",
        "interpolation": "bilinear",
        "antialias": True,
        "brightness_mode": "add",
        "blur_sigma": (0.5, 0.6),
    }

    def configs(config):
        view = views.make_view(config, 20)
        own = [layer.get_config() for layer in (view.crop, *view.layers)]
        return [{k: v for k, v in c.items() if k != "name"} for c in own]

    before = configs(EVERYTHING)
    for field in dataclasses.fields(ViewConfig):
        value = changes.get(field.name, 0.123)
        changed = dataclasses.replace(EVERYTHING, **{field.name: value})
        assert configs(changed) != before, field.name


def test_a_distorted_box_of_less_than_a_tenth_is_refused():
    """None would fit, and every crop be the whole image."""
    ViewConfig(crop_law="log_uniform", crop_area=(0.02, 0.1))
    with pytest.raises(InputError, match=r"up to more than \.1"):
        ViewConfig(crop_law="distorted_box", crop_area=(0.02, 0.1))
    with pytest.raises(InputError, match="one of log_uniform, log_uniform_clipped"):
        ViewConfig(crop_law="uniform")


def test_asymmetric_views_differ_in_their_operations(images):
    """BYOL: the second view alone is solarized, here always."""
    plain = ViewConfig(flip=0, jitter=0, grayscale=0, blur=0)
    solarized = dataclasses.replace(plain, solarize=1.0)
    first = views.make_view(plain, 20)(images, KEYS).numpy()
    second = views.make_view(solarized, 20)(images, KEYS).numpy()
    np.testing.assert_allclose(second, np.where(first >= 0.5, 1 - first, first))


def test_evaluation_view_of_small_images_is_the_image():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
    actual = views.evaluation_view(tf.constant(image), 32)
    np.testing.assert_allclose(actual, image / np.float32(255), atol=1e-6)


def test_evaluation_view_crops_the_centre_and_resizes(images):
    """Of 80 x 100 pixels the square of 70 in the middle."""
    image = tf.image.resize(tf.cast(images[0], tf.float32) / 255, (80, 100))
    actual = views.evaluation_view(image, 40)
    centre = image[5:75, 15:85]
    expected = tf.image.resize(centre, (40, 40), "bicubic", antialias=True)
    np.testing.assert_allclose(actual, tf.clip_by_value(expected, 0, 1), atol=1e-6)


@pytest.mark.parametrize("size", [24, 48])
def test_evaluation_view_takes_shapes_unknown_until_run(images, size):
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def serve(batch):
        return views.evaluation_view(batch, size)

    assert serve.get_concrete_function().output_shapes == (None, size, size, 3)
    batch = serve(images[:2])
    for image, result in zip(images[:2], batch, strict=True):
        alone = views.evaluation_view(image, size)
        np.testing.assert_allclose(result, alone, atol=1e-6)
