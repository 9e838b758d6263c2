"""A step that XLA can't compile is told by the operation and the layer it is in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.errors import InputError
from selfsup_tf.training.compilation import explain


class Offender(keras.layers.Layer):
    """Does to its input what it is told to."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)

    def compute_output_shape(self, shape):
        return shape


def visit_the_host(x):
    y = tf.py_function(lambda value: 2 * value, [x], x.dtype)
    y.set_shape(x.shape)
    return y


def print_it(x):
    tf.print(x[0, 0])
    return x


def write_it_down(x):
    text = tf.strings.as_string(tf.reduce_sum(x))
    return x * tf.cast(tf.strings.length(text), x.dtype)


def count(x):
    return x * tf.cast(tf.reduce_sum(tf.histogram_fixed_width(x, [0.0, 1.0])), x.dtype)


def make_a_tensor_of_unknown_size(x):
    return x + tf.reduce_sum(tf.zeros([tf.cast(tf.reduce_sum(x), tf.int32)]))


def make_a_range_of_unknown_length(x):
    return x * tf.reduce_sum(tf.range(tf.reduce_sum(x)))


def loop_until_large(x):
    return tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: [y * 2.0], [x])[0]


OFFENCES = {
    visit_the_host: "EagerPyFunc",
    print_it: "StringFormat",
    write_it_down: "AsString",
    count: "HistogramFixedWidth",
    make_a_tensor_of_unknown_size: "Fill",
    make_a_range_of_unknown_length: "Range",
    # How often is not known to the backward pass, which has to keep every turn.
    loop_until_large: "while",
}


def make_model(layer):
    """Two calls of a network in which names of layers look like numbered ones."""
    x = inputs = keras.Input((4,))
    for name in ("dense", "dense_1", "dense_2"):
        x = keras.layers.Dense(4, name=name)(x)
        if name == "dense_1":
            x = layer(x)
    inner = keras.Model(inputs, x, name="resnet")
    image = keras.Input((4,))
    encoder = keras.Model(image, inner(image), name="encoder")
    views = [keras.Input((4,), name=f"view_{i}") for i in (1, 2)]
    return keras.Model(views, [encoder(view) for view in views], name="method")


def compiled_gradients(model):
    """As in a run: the compiled function is called by one that is not."""

    @tf.function(jit_compile=True)
    def step(*views):
        weights = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            h_1, h_2 = model(views, training=True)
            loss = tf.reduce_mean((h_1 - h_2) ** 2)
        return tape.gradient(loss, weights, unconnected_gradients="zero")

    @tf.function
    def steps(count):
        for _ in tf.range(count):
            step(tf.ones([2, 4]), tf.zeros([2, 4]))

    return steps


def explained(model):
    with pytest.raises(tf.errors.OpError) as caught:
        compiled_gradients(model)(tf.constant(2))
    return explain(caught.value, model), caught.value


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda f: f.__name__)
def test_operation_and_layer_are_named(offence):
    reason, error = explained(make_model(Offender(offence, name="my_layer")))
    assert isinstance(reason, InputError), error
    assert "expected a step that XLA can compile" in str(reason)
    words = f"the operation {OFFENCES[offence]} in the layer encoder/resnet/my_layer."
    assert words in str(reason)
    assert "Replace that layer, or use --jit_compile=False." in str(reason)


@pytest.mark.parametrize("name", ["dense_3", "dense_1_1", "my_layer_1", "Dense"])
def test_names_that_look_numbered(name):
    reason, error = explained(make_model(Offender(print_it, name=name)))
    assert f"in the layer encoder/resnet/{name}." in str(reason), error


def test_an_operation_outside_the_layers():
    model = make_model(keras.layers.ReLU())

    @tf.function(jit_compile=True)
    def step():
        with tf.name_scope("loss"):
            tf.print(model([tf.ones([2, 4]), tf.ones([2, 4])])[0][0, 0])

    with pytest.raises(tf.errors.OpError) as caught:
        step()
    reason = str(explain(caught.value, model))
    assert "the operation StringFormat (loss/StringFormat), in no layer." in reason
    assert "Do without it, or use --jit_compile=False." in reason


def test_on_a_tpu_there_is_no_way_around():
    text = (
        "Detected unsupported operations when trying to compile graph step[] on "
        "XLA_TPU_JIT: EagerPyFunc (No registered 'EagerPyFunc' OpKernel for "
        "XLA_TPU_JIT devices compatible with node {{node method_1/encoder_1/resnet_1/"
        "relu_1/EagerPyFunc}}){{node method_1/encoder_1/resnet_1/relu_1/EagerPyFunc}}"
    )
    model = make_model(keras.layers.ReLU(name="relu"))
    reason = str(explain(tf.errors.InvalidArgumentError(None, None, text), model))
    assert "the operation EagerPyFunc in the layer encoder/resnet/relu. " in reason
    assert reason.endswith("Replace that layer, a TPU runs nothing else.")


def test_other_errors_are_left_alone():
    model = make_model(keras.layers.ReLU())
    with pytest.raises(tf.errors.OpError) as caught:
        tf.reshape(tf.ones([3]), [2])
    assert explain(caught.value, model) is None
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    assert explain(error, model) is None


def choose_some(x):
    values, _ = tf.unique(tf.reshape(tf.stop_gradient(x), [-1]))
    found = tf.gather_nd(x, tf.where(x > 0.5))
    return x + tf.reduce_sum(values) + tf.reduce_sum(found[found < 1.0])


def test_sizes_with_a_bound_compile():
    """XLA pads them; what it computes is what comes out uncompiled."""
    model = make_model(Offender(choose_some, name="my_layer"))
    compiled_gradients(model)(tf.constant(1))
    views = [tf.ones([2, 4]), tf.zeros([2, 4])]
    plain = model(views)
    compiled = tf.function(lambda: model(views), jit_compile=True)()
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-5)
