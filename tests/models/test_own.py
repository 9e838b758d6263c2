"""Own encoders: what could not be kept or learned is refused before the first step."""

import functools

import keras
import numpy as np
import pytest

import selfsup_tf as selfsup
from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method
from selfsup_tf.models.copies import copy_network
from selfsup_tf.models.own import architecture
from selfsup_tf.models.saved import load_network
from selfsup_tf.models.started import find_stages, open_start
from selfsup_tf.models.teachers import open_teacher
from selfsup_tf.models.untrained import untrained_copy

layers = keras.layers


def around(first, *last):
    """An encoder for 16 px that begins with this layer."""
    pooled = (layers.Conv2D(4, 3), layers.GlobalAveragePooling2D())
    return keras.Sequential([keras.Input((16, 16, 3)), first, *pooled, *last])


@pytest.fixture
def adopt(tiny_config):
    """A method's copy of an encoder."""

    def build(encoder):
        method = find_method("simclr").load()(tiny_config("simclr"), encoder=encoder)
        return method.new_encoder()

    return build


class Unregistered(layers.Layer):
    def call(self, images):
        return images


@keras.saving.register_keras_serializable(package="test_own")
class Power(layers.Layer):
    """Registered; its config tells `keeps` of its argument."""

    keeps = True

    def __init__(self, exponent=1.0, **kwargs):
        super().__init__(**kwargs)
        self.exponent = exponent

    def call(self, images):
        return images**self.exponent

    def get_config(self):
        own = {"exponent": self.exponent} if self.keeps else {}
        return {**super().get_config(), **own}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Unregistered, "class 'Unregistered'.*package='my_layers'.*--import=my_layers"),
        (lambda: layers.Lambda(lambda x: x * 2), "a Python lambda.*such a layer"),
    ],
)
def test_what_could_not_be_loaded_is_refused(adopt, layer, message):
    with pytest.raises(InputError, match=message):
        adopt(around(layer()))


def test_what_would_be_loaded_as_another_network_is_refused(adopt, monkeypatch):
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    kept = around(Power(3.0))
    np.testing.assert_allclose(adopt(kept)(images), kept(images), rtol=1e-5)
    monkeypatch.setattr(Power, "keeps", False)
    with pytest.raises(InputError, match="get_config of its own layers"):
        adopt(around(Power(3.0)))


@pytest.mark.parametrize(
    "first",
    [
        lambda: layers.Rescaling(1 / 255),
        lambda: layers.Rescaling(1 / 127.5, -1),
        lambda: layers.Normalization(mean=[124.0] * 3, variance=[3400.0] * 3),
        lambda: layers.Rescaling(1.0, [-104.0, -117.0, -124.0]),
    ],
)
def test_another_range_is_refused(adopt, first):
    """Within a network of keras.applications, too, which is a model in the model."""
    images, inside = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    within = keras.Model(inside, around(layers.Identity())(first()(inside)))
    within(images)  # as in a notebook cell that is run again
    for encoder in (around(first()), within, keras.Model(images, within(images))):
        with pytest.raises(InputError, match=r"takes images in \[0, 1\]"):
            adopt(encoder)


@pytest.mark.parametrize(
    "first",
    [
        lambda: layers.Rescaling(2.0, -1.0),
        lambda: keras.Sequential([layers.Rescaling(255), layers.Rescaling(1 / 255)]),
        lambda: layers.Rescaling(255.0, [-104.0, -117.0, -124.0]),
        lambda: layers.AveragePooling2D(8, strides=1),
    ],
)
def test_the_ranges_of_images_in_0_to_1_are_taken(adopt, first):
    assert adopt(around(first())).output_shape == (None, 4)


def test_probabilities_are_no_representation(adopt, tiny_config, tmp_path):
    classifier = around(layers.Identity(), layers.Dense(10), layers.Softmax())
    ended = keras.Model(classifier.inputs[0], classifier.layers[-3].output)
    assert adopt(ended).output_shape == (None, 4)
    with pytest.raises(InputError, match="End it before its classifier"):
        adopt(classifier)
    classifier.save(tmp_path / "classifier.keras")
    config = tiny_config("distill", teacher=str(tmp_path / "classifier.keras"))
    method = find_method("distill").load()(config, encoder=ended)
    method.prepare(None)
    with pytest.raises(InputError, match="a teacher that gives logits"):
        method.build()


def two_branches(units=4, *, name=None, crossed=False):
    """A network with a model in it, an operation, and a layer that is called twice."""
    images = keras.Input((16, 16, 3))
    inside = around(layers.RandomCrop(16, 16))
    shared, other = layers.Dense(4), layers.Dense(4)
    h = inside(images + 1.0)
    g = shared(other(h) if crossed else shared(h))
    return keras.Model(images, layers.Dense(units)(g + other(h)), name=name)


def test_an_architecture_is_the_same_whatever_its_names_are():
    known = architecture(two_branches())
    network = two_branches(name="mine")
    network.compile("sgd", "mse")
    network(np.zeros((2, 16, 16, 3)))
    assert architecture(network) == known
    others = [two_branches(5), two_branches(crossed=True), around(layers.ReLU())]
    assert len({known, *map(architecture, others)}) == 4


def test_a_class_that_is_missing_is_named_with_its_module(tmp_path):
    around(Power()).save(tmp_path / "encoder.keras")
    registered = keras.saving.get_custom_objects()
    name = keras.saving.get_registered_name(Power)
    del registered[name]
    try:
        with pytest.raises(InputError, match=f"'Power'.*--import={Power.__module__}"):
            load_network(tmp_path)
    finally:
        registered[name] = Power


@keras.saving.register_keras_serializable(package="test_own")
class Block(layers.Layer):
    """Layers within a layer, as of a residual block."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.parts = [layers.Conv2D(width, 3, padding="same")]
        self.parts += [layers.BatchNormalization()]

    def call(self, images, training=False):
        x = images
        for part in self.parts:
            x = part(x, training=training) if part is self.parts[1] else part(x)
        return x + images

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "float64"])
def test_layers_within_a_layer_are_synchronised_and_of_the_precision(precision):
    encoder = around(Block(3))
    copy = copy_network(encoder, precision=precision)
    conv, norm = next(x for x in copy.layers if isinstance(x, Block)).parts
    assert norm.synchronized and norm.dtype_policy.name == precision
    assert conv.dtype_policy.name == precision
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    rtol = 0.05 if precision == "mixed_bfloat16" else 1e-5
    np.testing.assert_allclose(copy(images), encoder(images), rtol=rtol, atol=rtol)
    assert (
        not next(
            x
            for x in copy_network(copy, synchronized=False).layers
            if isinstance(x, Block)
        )
        .parts[1]
        .synchronized
    )
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("ends", ["list", "dict", "inputs", "sequential"])
def test_one_output_may_be_given_in_a_list_or_a_dict(adopt, ends, tmp_path):
    given = around(layers.ReLU())
    listed = keras.Model(given.inputs[0], [given.outputs[0]])
    wrapped = {
        "sequential": lambda: keras.Sequential([keras.Input((16, 16, 3)), listed]),
        "list": lambda: keras.Model(given.inputs[0], [given.outputs[0]]),
        "dict": lambda: keras.Model(given.inputs[0], {"h": given.outputs[0]}),
        "inputs": lambda: keras.Model(given.inputs, given.outputs[0]),
    }[ends]()
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_allclose(adopt(wrapped)(images), given(images), rtol=1e-5)
    wrapped.save(tmp_path / "a.keras")
    for size in (16, 20):
        start = open_start(str(tmp_path / "a.keras"), size)
        assert start.network.output_shape == (None, 4)
    np.testing.assert_allclose(
        open_teacher(str(tmp_path / "a.keras")).network(images),
        given(images),
        rtol=1e-5,
    )


def test_a_compiled_encoder_is_copied_without_its_loss(adopt):
    """Nor is the loss kept from being saved by what it is made of."""
    encoder = around(layers.ReLU())
    encoder.compile("adam", loss=functools.partial(keras.losses.mean_squared_error))
    copy = adopt(encoder)
    assert not copy.compiled and encoder.compiled
    outer = keras.Sequential([keras.Input((16, 16, 3)), encoder, layers.Dense(3)])
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_allclose(adopt(outer)(images), outer(images), rtol=1e-5)
    assert not untrained_copy(encoder).compiled and encoder.compiled


def test_losses_of_its_own_are_told(adopt, caplog):
    adopt(around(layers.Conv2D(3, 3, kernel_regularizer="l2")))
    assert "Losses of the encoder's own layers" in caplog.text
    caplog.clear()
    adopt(around(layers.ReLU()))
    assert "Losses" not in caplog.text


def test_what_is_no_network_is_refused_at_once(tiny_config, few_images, tmp_path):
    method = find_method("simclr").load()(tiny_config("simclr"), encoder=lambda x: x)
    with pytest.raises(InputError, match=r"functional or sequential keras\.Model"):
        selfsup.train(method, few_images[0], run_dir=tmp_path / "run")


def test_a_part_of_a_nested_network_is_found_where_it_was_advised(tmp_path):
    base = keras.Sequential(around(layers.ReLU()).layers, name="base")
    last = layers.Dense(3, activation="softmax")
    images = keras.Input((16, 16, 3))
    keras.Model(images, last(base(images))).save(tmp_path / "a.keras")
    with pytest.raises(InputError, match=r"a\.keras#base"):
        open_teacher(str(tmp_path / "a.keras"))
    found = open_teacher(f"{tmp_path / 'a.keras'}#base")
    views = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_allclose(found.network(views), base(views), rtol=1e-5)


def test_layers_of_several_outputs_and_inputs(tmp_path):
    """Attention with its scores is fine; two images are not."""
    images = keras.Input((16, 16, 3))
    tokens = layers.Reshape((64, 12))(images)
    attention = layers.MultiHeadAttention(2, 4)
    mixed, _ = attention(tokens, tokens, return_attention_scores=True)
    encoder = keras.Model(images, layers.GlobalAveragePooling1D()(mixed))
    encoder.save(tmp_path / "a.keras")
    assert open_start(str(tmp_path / "a.keras"), 16).network.output_shape == (None, 12)
    assert len(find_stages(encoder)) == 1
    other = keras.Input((16, 16, 3))
    both = layers.GlobalAveragePooling2D()(layers.Add()([images, other]))
    keras.Model([images, other], both).save(tmp_path / "b.keras")
    with pytest.raises(InputError, match="an encoder with one input, of images"):
        open_start(str(tmp_path / "b.keras"), 16)
