"""Views: composition, replay, and the view an encoder is judged by."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import Config, ViewConfig, layer
from selfsup_tf.data import layers, random, views
from selfsup_tf.errors import InputError

KEYS = random.image_keys(0, 0, tf.range(16), 0)
EVERYTHING = ViewConfig(blur_size=0.3, solarize=0.3, rotate90=0.3, rotation=10.0)


def registered(layer_class):
    return keras.saving.register_keras_serializable(package="tests")(layer_class)


@registered
class Dim(keras.layers.Layer):
    def __init__(self, factor=0.5, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, images):
        return images * self.factor


@registered
class Offset(keras.layers.Layer):
    """Adds a number to each image."""

    def call(self, images, keys):
        return images + random.uniform(keys, 1)[:, :, None, None]


@registered
class Stateful(keras.layers.Layer):
    def call(self, images):
        return images * tf.random.uniform([])


@registered
class KerasFlip(keras.layers.RandomFlip):
    pass


@registered
class Learned(keras.layers.Dense):
    pass


@registered
class Halve(keras.layers.Layer):
    def call(self, images):
        return images[:, ::2]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return tf.constant(rng.integers(0, 256, size=(16, 24, 30, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def drawn(images):
    return views.View(EVERYTHING, 20)(images, KEYS).numpy()


def test_a_view_has_its_size_dtype_and_range(drawn):
    assert drawn.shape == (16, 20, 20, 3) and drawn.dtype == np.float32
    assert drawn.min() >= 0 and drawn.max() <= 1


def test_compiled_and_in_halves_it_is_the_same_view(images, drawn):
    view = views.View(EVERYTHING, 20)
    compiled = tf.function(view, jit_compile=True)(images, KEYS)
    np.testing.assert_allclose(compiled, drawn, atol=1e-4)
    for number in range(4):
        crop = view.crop_one(images[number], KEYS[number])
        halves = view.finish(crop[None], KEYS[number : number + 1])
        np.testing.assert_allclose(halves[0], drawn[number], atol=1e-4)


def test_operations_follow_the_fields_and_those_never_applied_are_left_out():
    full = views.View(EVERYTHING, 20)
    assert [type(layer) for layer in full.layers] == [
        layers.RandomHorizontalFlip,
        layers.ColorJitter,
        layers.RandomGrayscale,
        layers.RandomGaussianBlur,
        layers.RandomSolarize,
        layers.RandomRotate90,
        layers.RandomRotation,
    ]
    bare = ViewConfig(flip=0, jitter=0, grayscale=0, blur=0)
    assert views.View(bare, 20).layers == []


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
        "size": 14,
        "layers": (layer("tests>Dim"),),
    }

    def configs(config):
        view = views.View(dataclasses.replace(config, size=config.size or 20))
        own = [
            each.get_config() if isinstance(each, keras.layers.Layer) else {}
            for each in (view.crop, *view.layers)
        ]
        return [{k: v for k, v in c.items() if k != "name"} for c in own]

    before = configs(EVERYTHING)
    for field in dataclasses.fields(ViewConfig):
        if field.name == "count":
            continue
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
    first = views.View(plain, 20)(images, KEYS).numpy()
    second = views.View(solarized, 20)(images, KEYS).numpy()
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


def test_own_layers_stand_where_they_are_told_to(images):
    still = ViewConfig(flip=0, jitter=0, grayscale=0, blur=0, solarize=1.0)
    crops = views.View(dataclasses.replace(still, solarize=0.0), 20)(images, KEYS)
    own = (layer("tests>Dim", factor=0.5, before="solarize"), layer("tests>Dim"))
    view = views.View(dataclasses.replace(still, layers=own), 20)
    expected = np.where(crops / 2 >= 0.5, 1 - crops / 2, crops / 2) / 2
    np.testing.assert_allclose(view(images, KEYS), expected, atol=1e-6)


def test_random_layers_draw_from_keys_of_their_own(images):
    still = ViewConfig(flip=0, jitter=0, grayscale=0, blur=0)
    own = (layer("tests>Dim", factor=0.0), *[layer("tests>Offset")] * 2)
    config = dataclasses.replace(still, size=20, layers=own)
    view = views.View(config)
    sums = view(images, KEYS).numpy()[:, 0, 0, 0]
    offsets = [random.uniform(random.fold_in(KEYS, i), 1)[:, 0] for i in (1, 2)]
    np.testing.assert_allclose(sums, np.minimum(1, offsets[0] + offsets[1]), atol=1e-6)
    compiled = tf.function(view, jit_compile=True)
    dataset = tf.data.Dataset.from_tensors((images, KEYS)).map(compiled)
    np.testing.assert_allclose(next(iter(dataset))[:, 0, 0, 0], sums, atol=1e-6)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (layer("tests>Nothing"), "registered as 'tests>Nothing'; received none"),
        (layer("nowhere>Layer"), "in a module nowhere that can be imported"),
        (layer("tests>Dim", faktor=1), "options that the layer tests>Dim takes"),
        (layer("tests>Halve"), "keep the shape of the images"),
        (layer("tests>Stateful"), "follows from images and keys alone.*RandomUniform"),
        (layer("tests>KerasFlip"), "follows from images and keys alone"),
        (layer("tests>Learned", units=3), "follows from images and keys alone"),
    ],
)
def test_layers_that_can_not_stand_in_a_view_are_refused(own, message):
    with pytest.raises(InputError, match=message):
        views.check_views({"view_1": ViewConfig(size=20, layers=(own,))}, 3)


def test_what_a_layer_of_a_config_may_say():
    with pytest.raises(InputError, match="Perhaps you meant: blur"):
        ViewConfig(layers=(layer("tests>Dim", before="blurr"),))
    with pytest.raises(InputError, match="numbers, words, None or tuples"):
        layer("tests>Dim", factor={"a": 1})


def test_views_are_numbered_over_all_that_are_counted():
    small = ViewConfig(size=16, count=2)
    drawn = Config(image_size=32, views=(ViewConfig(), small)).drawn_views
    assert {name: view.size for name, view in drawn.items()} == {
        "view_1": 32,
        "view_2": 16,
        "view_3": 16,
    }
