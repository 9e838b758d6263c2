"""Encoders: shapes, sizes, precision, synchronised BatchNorm, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import InputError
from selfsup_tf.models.copies import copy_network, leaf_layers
from selfsup_tf.models.encoders import adopt_encoder, application_modules, build_encoder

pytestmark = pytest.mark.usefixtures("one_block_a_stage")


def batchnorms(model):
    norm = keras.layers.BatchNormalization
    return [layer for layer in leaf_layers(model) if isinstance(layer, norm)]


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [("resnet50", 0.5, 1024), ("resnet18", 0.25, 128)],
)
def test_representations_have_the_width_of_the_last_stage(name, width, size):
    encoder = build_encoder(EncoderConfig(name=name, width=width), 64)
    assert encoder.output_shape == (None, size)


@pytest.mark.parametrize(
    ("stem", "reduction"), [("imagenet", 32), ("small", 8), ("small_stride2", 16)]
)
def test_stems_reduce_as_they_say(stem, reduction):
    config = EncoderConfig(name="resnet18", width=1 / 16, stem=stem)
    encoder = build_encoder(config, 2 * reduction)
    pooled = encoder.get_layer("resnet18").get_layer("pool").input
    assert pooled.shape[1:3] == (2, 2)
    with pytest.raises(InputError, match=f"image_size of {reduction} or more"):
        build_encoder(config, reduction - 1)


def test_normalisation_is_inside():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    plain = EncoderConfig(name="resnet18", width=1 / 16, stem="small")
    inside = EncoderConfig(
        name="resnet18", width=1 / 16, stem="small", mean=mean, std=std
    )
    outside = build_encoder(plain, 16)
    encoder = build_encoder(inside, 16)
    encoder.set_weights(outside.get_weights())
    images = tf.random.stateless_uniform([2, 16, 16, 3], [0, 1])
    np.testing.assert_allclose(
        encoder(images),
        outside((images - np.float32(mean)) / np.float32(std)),
        rtol=1e-4,
        atol=1e-5,
    )


# One of each range: [-1, 1], BGR without its mean, and what is inside already.
@pytest.mark.parametrize("name", ["MobileNet", "VGG16", "MobileNetV3Small"])
def test_applications_take_unit_range_and_synchronise(name):
    encoder = build_encoder(EncoderConfig(name=name.lower()), 32)
    network = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    network.set_weights(encoder.get_weights())
    module = getattr(keras.applications, application_modules()[name])
    images = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(
        encoder(images),
        network(module.preprocess_input(images * 255)),
        rtol=1e-4,
        atol=1e-5,
    )
    norms = batchnorms(encoder)
    assert all(layer.synchronized for layer in norms)
    assert norms or name == "VGG16"


def test_norms_of_nested_networks_synchronise():
    network = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    for _ in range(2):
        network = keras.Sequential([keras.Input((4,)), network])
    for synchronized in (True, False):
        (norm,) = batchnorms(copy_network(network, synchronized=synchronized))
        assert norm.synchronized is synchronized


def test_weights_from_a_file(tmp_path):
    config = EncoderConfig(name="resnet18", width=1 / 16, stem="small")
    source = build_encoder(config, 16)
    source.get_layer("resnet18").save_weights(tmp_path / "trunk.weights.h5")
    named = EncoderConfig(
        name="resnet18",
        width=1 / 16,
        stem="small",
        weights=str(tmp_path / "trunk.weights.h5"),
    )
    loaded = build_encoder(named, 16)
    for a, b in zip(loaded.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    wider = EncoderConfig(name="resnet18", width=1 / 8, weights=named.weights)
    with pytest.raises(InputError, match="weights that fit"):
        build_encoder(wider, 32)
    missing = EncoderConfig(name="resnet18", weights=str(tmp_path / "none.h5"))
    with pytest.raises(InputError, match="a file"):
        build_encoder(missing, 32)


def test_mixed_precision_keeps_variables_and_output_in_float32():
    precision = "mixed_bfloat16"
    config = EncoderConfig(name="resnet18", width=1 / 16, stem="small")
    encoder = build_encoder(config, 16, precision=precision)
    inner = encoder.get_layer("resnet18").get_layer("stem_conv")
    assert inner.compute_dtype == precision.removeprefix("mixed_")
    assert {v.dtype for v in encoder.variables} == {"float32"}
    assert encoder(tf.zeros([1, 16, 16, 3])).dtype == tf.float32
    plain = copy_network(encoder)
    assert plain.get_layer("resnet18").get_layer("stem_conv").compute_dtype == "float32"
    for a, b in zip(plain.get_weights(), encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("ResNet51", 64, "Perhaps you meant: ResNet"),
        ("Xception", 32, "image_size that Xception takes"),
    ],
)
def test_refusals(name, size, message):
    with pytest.raises(InputError, match=message):
        build_encoder(EncoderConfig(name=name), size)


@pytest.mark.parametrize(
    ("name", "option", "value", "default"),
    [
        ("EfficientNetB0", "width", 2.0, 1.0),
        ("ResNet50", "stem", "small", "imagenet"),
        ("vit_tiny", "sk_ratio", 0.0625, 0.0),
        ("EfficientNetB0", "se_ratio", 0.25, 0.0),
        ("ResNet50", "zero_init", False, True),
    ],
)
def test_options_of_a_resnet_are_refused_elsewhere(name, option, value, default):
    advice = f"resnet50.* take other values: .* give --encoder.{option}={default}"
    with pytest.raises(InputError, match=advice):
        EncoderConfig(name=name, **{option: value})
    EncoderConfig(name="resnet50", **{option: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "ResNet50V2", "patch_size": 8}, "give --encoder.patch_size=16"),
        ({"name": "resnet50", "patch_size": 8}, "Only vit_tiny.*take other values"),
        (
            {"name": "NASNetMobile", "width": 0.5, "stem": "small"},
            "received 0.5, small.*--encoder.width=1.0 --encoder.stem=imagenet",
        ),
        ({"name": "resnet34", "sk_ratio": 0.0625}, "--encoder.name=resnet50 or a deep"),
        ({"name": "resnet18", "weights": "imagenet"}, "--encoder.name=ResNet50"),
        ({"name": "vit_tiny", "weights": "imagenet"}, "vit_tiny to be a file"),
        ({"sk_ratio": -0.1}, "encoder.sk_ratio of 0 or more"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_the_config(values, message):
    with pytest.raises(InputError, match=message):
        EncoderConfig(**values)


def test_an_application_may_stand_beside_the_scaling_of_a_recipe():
    EncoderConfig(name="EfficientNetB0", mean=(0.5,) * 3, std=(0.2,) * 3)


def test_selective_kernels_in_every_precision_and_saved(tmp_path):
    config = EncoderConfig(
        name="resnet50",
        width=1 / 16,
        stem="small",
        sk_ratio=0.0625,
        se_ratio=0.25,
        mean=(0.5,) * 3,
    )
    plain = build_encoder(config, 9)
    images = np.random.default_rng(0).uniform(size=(2, 9, 9, 3)).astype(np.float32)
    expected = np.asarray(plain(images))
    # Half precision has 8 bits at worst, and the trunk a dozen layers.
    for precision, tolerance in (("mixed_bfloat16", 0.1), ("float64", 1e-4)):
        encoder = copy_network(plain, precision=precision)
        resnet = encoder.get_layer("resnet50")
        mixed = resnet.get_layer("stage4_block1_sk_streams")
        assert mixed.compute_dtype == precision.removeprefix("mixed_")
        assert resnet.get_layer("stage4_block1_sk_squeeze_norm").synchronized
        h = np.asarray(encoder(images), np.float32)
        assert np.abs(h - expected).max() < tolerance * np.abs(expected).max()
    plain.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(again(images), expected, rtol=1e-6)


def test_own_encoders_are_checked():
    good = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()]
    )
    assert adopt_encoder(good, 16).output_shape == (None, 3)
    maps = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(InputError, match=r"one output of shape \(N, D\)"):
        adopt_encoder(maps, 16)
    with pytest.raises(InputError, match=r"shape \(N, 32, 32, 3\)"):
        adopt_encoder(maps, 32, channels=3)
    with pytest.raises(InputError, match=r"keras\.Model"):
        adopt_encoder(lambda x: x, 32)


def test_statistics_of_a_ready_made_network_follow_a_short_run(tmp_path):
    """In as few as 60 steps they are those of the images: as used as in training.

    Of a saved one too, which gives what it gave.
    """
    built = build_encoder(EncoderConfig(name="MobileNetV3Small"), 32)
    built.save(tmp_path / "encoder.keras")
    encoder = keras.saving.load_model(tmp_path / "encoder.keras")
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_allclose(encoder(images), built(images), rtol=1e-6)
    layer = batchnorms(encoder)[0]
    before = layer.moving_variance.numpy()
    maps = np.random.default_rng(0).random((16, 4, 4, len(before)), np.float32)
    seen = []
    for _ in range(60):
        layer(maps, training=True)
        seen.append(layer.moving_variance.numpy())
    # What is left of the first value: .9 ** 60 is below .002; .99 ** 60 is .55.
    left = np.abs(seen[-1] - seen[-2]).sum() / np.abs(seen[0] - before).sum()
    assert left < 0.01


def test_a_ready_made_network_sees_an_image_as_it_sees_it_again():
    """In training too: what differs between two views is the augmentation's alone."""
    encoder = build_encoder(EncoderConfig(name="EfficientNetB0"), 32)
    images = np.random.default_rng(0).random((16, 32, 32, 3), np.float32)
    once, again = encoder(images, training=True), encoder(images, training=True)
    np.testing.assert_allclose(once, again, atol=1e-4)


@keras.saving.register_keras_serializable(package="tests_encoders")
class Plain(keras.layers.Layer):
    """A layer whose constructor takes its own option alone."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {"factor": self.factor}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_layer_that_takes_no_dtype_is_copied_as_it_is(precision):
    images = keras.Input((8, 8, 3))
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    network = keras.Model(images, Plain(2.0)(h))
    copy = copy_network(network, precision=precision)
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    found, expected = np.asarray(copy(x), np.float32), np.asarray(network(x))
    # bfloat16 has 8 bits; a sum of 27 products and a mean of 36 numbers.
    tolerance = 0.02 if precision != "float32" else 1e-6
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
