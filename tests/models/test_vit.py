"""Vision transformers: published sizes, precisions, saving, export, refusals."""

import dataclasses
import itertools
import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import InputError
from selfsup_tf.exporting.exporter import export
from selfsup_tf.exporting.format import Networks
from selfsup_tf.exporting.served import export_saved_model
from selfsup_tf.models.copies import at_size, copy_network, leaf_layers
from selfsup_tf.models.encoders import adopt_encoder, build_encoder
from selfsup_tf.models.rematerialisation import rematerialised
from selfsup_tf.models.vit import (
    SIZES,
    VisionTransformer,
    build_vit,
    position_weights,
    sine_positions,
)

TINY = EncoderConfig(name="vit_tiny", mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(autouse=True, scope="module")
def keras_hub():
    return pytest.importorskip("keras_hub", reason="pip install '.[hub]'")


@pytest.fixture
def images():
    values = np.random.default_rng(0).uniform(size=(3, 32, 32, 3))
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def small_encoder(keras_hub):
    """Two blocks of two heads; the named ones are too deep to be exported in a test."""
    inputs = keras.Input((32, 32, 3))
    transformer = VisionTransformer(8, 2, 2, 16, name="transformer")
    return adopt_encoder(keras.Model(inputs, transformer(inputs)), 32)


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        # DeiT's tiny and small, ViT's base and large, each with a classifier.
        ("vit_tiny", 192, 5_717_416),
        ("vit_small", 384, 22_050_664),
        ("vit_base", 768, 86_567_656),
        ("vit_large", 1024, 304_326_632),
    ],
)
def test_size_is_the_published_one(owners, name, size, count):
    network = build_vit(EncoderConfig(name=name), 224)
    assert network.output_shape == (None, size)
    classifier = size * 1000 + 1000
    assert sum(math.prod(v.shape) for v in network.variables) + classifier == count


def test_the_config_knows_all_names():
    assert tuple(SIZES) == EncoderConfig.VITS


def test_the_representation_is_the_normed_class_token(images):
    encoder = build_encoder(TINY, 32)
    h = np.asarray(encoder(images))
    np.testing.assert_allclose(h.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(h.var(axis=-1), 1, rtol=1e-3)
    backbone = encoder.get_layer("vit_tiny").get_layer("transformer").backbone
    tokens = backbone((images - 0.5) / 0.25)
    assert tokens.shape == (3, 1 + 2 * 2, 192)
    np.testing.assert_allclose(h, tokens[:, 0], rtol=1e-4, atol=1e-5)


def test_patches_have_the_size_asked_for():
    network = build_vit(EncoderConfig(name="vit_tiny", patch_size=8), 32)
    assert network.get_layer("transformer").backbone.output.shape[1] == 1 + 4 * 4


@pytest.mark.parametrize("size", [8, 33])
def test_images_are_whole_patches(size):
    fitting = {8: "--image_size=16,", 33: "--image_size=32 or 48,"}[size]
    with pytest.raises(InputError, match=f"multiple of .*=16; .* Use {fitting}"):
        build_encoder(TINY, size)


def test_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"pip install '\.\[hub\]'"):
        build_encoder(TINY, 32)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [
        ("float32", 0),
        ("mixed_bfloat16", 0.1),
        ("float64", 1e-4),
    ],
)
def test_every_precision(small_encoder, images, precision, tolerance):
    encoder = copy_network(small_encoder, precision=precision)
    full = "float64" if precision == "float64" else "float32"
    assert {v.dtype for v in encoder.variables} == {full}
    h = encoder(images)
    assert h.dtype == full
    (network,) = [m for m in encoder.layers if isinstance(m, keras.Model)]
    backbone = network.get_layer("transformer").backbone
    (blocks,) = [v for v in backbone.layers if v.name == "vit_encoder"]
    assert blocks.compute_dtype == precision.removeprefix("mixed_")
    back = copy_network(encoder)
    np.testing.assert_array_equal(back(images), small_encoder(images))
    np.testing.assert_allclose(h, small_encoder(images), atol=tolerance)


def test_all_of_it_learns(small_encoder, images):
    @tf.function(jit_compile=True)
    def gradients():
        with tf.GradientTape() as tape:
            h = small_encoder(images, training=True)
            loss = tf.reduce_sum(h[:, :8] ** 3)
        return tape.gradient(loss, small_encoder.trainable_variables)

    pairs = zip(small_encoder.trainable_variables, gradients(), strict=True)
    for variable, gradient in pairs:
        # A bias of the keys shifts all logits of a softmax alike.
        largest = tf.reduce_max(tf.abs(tf.convert_to_tensor(gradient)))
        assert variable.path.endswith("key/bias") or largest > 0, variable.path


def test_views_of_another_size_share_all_its_variables(small_encoder, images):
    """Tokens by hand, their positions interpolated; and all of it learns."""
    large = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    other = at_size(small_encoder, 64)
    assert [id(v) for v in other.variables] == [id(v) for v in small_encoder.variables]
    (network,) = [m for m in small_encoder.layers if isinstance(m, keras.Model)]
    backbone = network.get_layer("transformer").backbone
    embedding, blocks = backbone.layers[1:]
    table = embedding.position_embedding.embeddings.numpy()
    weights = position_weights(4, 8)
    grid = np.einsum("ai,bj,ijd->abd", weights, weights, table[1:].reshape(4, 4, 16))
    cells = embedding.patch_embedding(large) + grid
    first = np.tile(embedding.class_token + table[0], (3, 1, 1))
    tokens = np.concatenate([first, tf.reshape(cells, (3, 64, 16))], axis=1)
    expected = blocks(tokens)[:, 0]
    np.testing.assert_allclose(other(large), expected, rtol=1e-5, atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(other(large, training=True)[:, :8] ** 3)
    for gradient in tape.gradient(
        loss, [embedding.class_token.value, table_of(embedding)]
    ):
        assert tf.reduce_max(tf.abs(tf.convert_to_tensor(gradient))) > 0
    with pytest.raises(InputError, match=r"multiple of encoder.patch_size=8"):
        at_size(small_encoder, 20)
    inputs = {n: keras.Input((n, n, 3), name=f"of_{n}") for n in (32, 64)}
    outputs = {"small": small_encoder(inputs[32]), "large": other(inputs[64])}
    both = keras.Model(list(inputs.values()), outputs)
    with pytest.raises(InputError, match="views of one size, with remat"):
        rematerialised(both)


def test_positions_are_interpolated_as_by_the_authors():
    """PyTorch 2.14: torch.nn.functional.interpolate(sines, mode="bicubic",
    scale_factor=(target + .1) / source), of sin(0), sin(1) and so on.
    """
    golden = (
        (4, [0.37000117, 0.65505413]),
        (
            5,
            [
                *(-0.06776812, 0.46700755, 0.97641465, 0.92708247, 0.48449498),
                *(-0.26517906, -0.80120121),
            ],
        ),
        (
            14,
            [0.55153658, 0.21049204, -0.86473859, 0.97452145, -0.3720514, -0.40551986],
        ),
    )
    for source, expected in golden:
        target = len(expected)
        found = position_weights(source, target) @ np.sin(np.arange(source))
        np.testing.assert_allclose(found, expected, atol=1e-8)
    for weights in (position_weights(14, 6), position_weights(2, 5)):
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_every_position_learns_from_views_of_another_size(small_encoder, precision):
    """Compiled by XLA, too, as on a TPU."""
    encoder = copy_network(small_encoder, precision=precision)
    other = at_size(encoder, 16)
    views = np.random.default_rng(0).uniform(size=(3, 16, 16, 3)).astype(np.float32)
    table = table_of(embedding_of(encoder))

    @tf.function(jit_compile=True)
    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(other(views, training=True)[:, :8] ** 3)
        return tf.convert_to_tensor(tape.gradient(loss, table))

    assert (tf.reduce_max(tf.abs(gradient()), axis=1).numpy() > 0).all()


def test_a_fixed_embedding_is_the_published_one():
    """By hand, as build_2d_sincos_position_embedding and MoCoV3ViT of mmpretrain."""
    table = sine_positions(3, 2, 12)
    assert table.shape == (6, 12)
    for row, column in itertools.product(range(3), range(2)):
        for n in range(3):
            angles = [place / 10_000 ** (n / 3) for place in (row, column)]
            waves = [f(a) for a in angles for f in (math.sin, math.cos)]
            np.testing.assert_allclose(table[2 * row + column, n::3], waves, atol=1e-15)
    encoder = build_encoder(dataclasses.replace(TINY, fixed_embedding=True), 32)
    embedding = embedding_of(encoder)
    found = table_of(embedding).numpy()
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1:], sine_positions(2, 2, 192), atol=1e-7)
    kernel = embedding.patch_embedding.kernel.numpy()  # 147,456 numbers
    limit = math.sqrt(6 / (16 * 16 * 3 + 192))
    assert 0.999 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / math.sqrt(3), rtol=0.01)
    assert not embedding.patch_embedding.bias.numpy().any()


def test_a_fixed_embedding_stays(keras_hub, images, tmp_path):
    inputs = keras.Input((32, 32, 3))
    transformer = VisionTransformer(8, 2, 2, 16, fixed_embedding=True)
    encoder = adopt_encoder(keras.Model(inputs, transformer(inputs)), 32)
    encoder.save(tmp_path / "encoder.keras")
    copies = (
        encoder,
        copy_network(encoder),
        at_size(encoder, 64),
        keras.models.load_model(tmp_path / "encoder.keras"),
    )
    for layer in leaf_layers(copies[1]):  # as what a run began with and kept frozen
        layer.trainable = False
        layer.trainable = True
    for copy in copies:
        assert len(copy.variables) - len(copy.trainable_variables) == 3
        embedding = embedding_of(copy)
        assert [v.path.rpartition("/")[2] for v in embedding.trainable_variables] == [
            "class_token"
        ]
        for ours, theirs in zip(copy.weights, encoder.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def embedding_of(encoder):
    (network,) = [m for m in encoder.layers if isinstance(m, keras.Model)]
    (transformer,) = [v for v in network.layers if isinstance(v, VisionTransformer)]
    return transformer.backbone.layers[1]


def table_of(embedding):
    return embedding.position_embedding.embeddings.value


def test_saved_and_loaded_by_a_new_process(
    small_encoder, tmp_path, images, run_program
):
    small_encoder.save(tmp_path / "encoder.keras")
    np.save(tmp_path / "images.npy", images)
    run_program(
        "-c",
        "import numpy as np; from selfsup_tf import load_encoder;"
        "h = load_encoder('.')(np.load('images.npy')); np.save('h.npy', h)",
        cwd=tmp_path,
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "h.npy"), small_encoder(images), rtol=1e-4, atol=1e-5
    )


def test_exports_are_proved(small_encoder, tmp_path, images):
    pixels = (images * 255).astype(np.uint8)
    formats = ("tflite_float32",)
    result = export(small_encoder, tmp_path / "to", formats=formats, images=pixels)
    assert all(a.cosine_min > a.threshold for a in result.parities)
    # The proof of the other would take two starts of TensorFlow.
    path = tmp_path / "saved_model"
    export_saved_model(Networks(small_encoder, None, None), path)
    raw = tf.saved_model.load(str(path)).signatures["raw"]
    h = raw(images=tf.constant(images))["representation"]
    np.testing.assert_allclose(h, small_encoder(images), rtol=1e-4, atol=1e-5)
