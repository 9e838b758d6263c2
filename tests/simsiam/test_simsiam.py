"""SimSiam against its equations in NumPy: loss, gradient, ten whole steps."""

import functools

import keras
import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from ten_steps import PEAK, check_ten_steps, set_up, usual_rate

import simsiam_tf
from selfsup_tf.errors import InputError
from simsiam_tf.loss import negative_cosine

PREDICTOR = [
    ("dense", "dense1"),
    ("norm", "norm1"),
    ("relu", ""),
    ("affine", "dense2"),
]
"""Chen and He 2021, section 3: BatchNorm on the hidden layer, none on the output."""


def projector(layers, last):
    """Section 3: BatchNorm after each layer; of the last one is said how it ends."""
    network = []
    for i in range(1, layers):
        network += [("dense", f"dense{i}"), ("norm", f"norm{i}"), ("relu", "")]
    return [*network, ("dense", f"dense{layers}"), (last, f"norm{layers}")]


def loss_of(p, z):
    """Equation 1, image by image."""
    return np.array(
        [
            -(a @ b) / (np.sqrt(a @ a) * np.sqrt(b @ b))
            for a, b in zip(p, z, strict=True)
        ]
    )


def gradient_of(p, z):
    """Of the mean of `loss_of` by p, z standing still."""
    return reference.normalise_gradient(-reference.normalise(z) / len(p), p)


def gradients(parameters, view_1, view_2, *, head):
    """Algorithm 1: loss, gradients and tapes, each view being a batch of its own."""
    predictions, projections, tapes = [], [], []
    for view in (view_1, view_2):
        h, encoder_tape = reference.forward(
            "encoder", reference.ENCODER, parameters, view
        )
        z, projector_tape = reference.forward("projector", head, parameters, h)
        p, predictor_tape = reference.forward("predictor", PREDICTOR, parameters, z)
        projections.append(z)
        predictions.append(p)
        tapes.append([predictor_tape, projector_tape, encoder_tape])
    loss, found = 0.0, {}
    for i in (0, 1):
        loss += loss_of(predictions[i], projections[1 - i]).mean() / 2
        dy = gradient_of(predictions[i], projections[1 - i]) / 2
        for tape in tapes[i]:
            dy = reference.backward(tape, parameters, dy, found)
    # Keras walks the branches of a functional model from the last to the first.
    return loss, found, [*tapes[1], *tapes[0]]


def test_loss_and_gradient_equal_the_paper():
    p, z = np.random.default_rng(0).normal(size=(2, 7, 5))
    values = [tf.constant(p), tf.constant(z)]
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = negative_cosine(*values)
        mean = tf.reduce_mean(loss)
    by_p, by_z = tape.gradient(mean, values)
    np.testing.assert_allclose(loss, loss_of(p, z), rtol=1e-12)
    np.testing.assert_allclose(by_p, gradient_of(p, z), rtol=1e-10, atol=1e-14)
    assert by_z is None
    numeric = reference.numeric_gradient(lambda x: loss_of(x, z).mean(), p)
    np.testing.assert_allclose(by_p, numeric, atol=1e-9)
    single = negative_cosine(*(tf.cast(v, tf.float16) for v in values))
    assert single.dtype == tf.float32


def test_the_loss_of_keras_is_the_mean_of_the_images():
    p, z = np.random.default_rng(1).normal(size=(2, 6, 4)).astype(np.float32)
    loss = simsiam_tf.NegativeCosine()
    np.testing.assert_allclose(loss(z, p), loss_of(p, z).mean(), rtol=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_array_equal(again(z, p), loss(z, p))


@pytest.mark.parametrize(
    ("layers", "norm", "fixed"), [(3, "bare", True), (2, "full", False)]
)
def test_ten_steps_equal_numpy(layers, norm, fixed, tiny_config):
    run = set_up(
        tiny_config,
        "simsiam",
        form="popular",
        projector=(7, 6, 5)[-layers:],
        predictor=(4, 5),
        projector_norm=norm,
        fixed_predictor_rate=fixed,
    )
    head = projector(layers, {"bare": "bare", "full": "norm"}[norm])

    def rate(step, name):
        own = fixed and name.startswith("predictor/")
        return PEAK if own else usual_rate(step, name)

    gradients_of = functools.partial(gradients, head=head)
    check_ten_steps(run, gradients_of, rate=rate)


def test_no_gradient_reaches_a_network_through_the_projection(tiny_config, tiny_method):
    """With the predictions cut off there is nothing left to learn from."""
    method = tiny_method(tiny_config("simsiam", projector=(8, 8), predictor=(4, 8)))
    method.build()
    views = tf.random.stateless_uniform([8, 16, 16, 3], [0, 1])
    weights = [v.value for v in method.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = method.model({"view_1": views, "view_2": views[::-1]}, training=True)
        cut = {
            name: tf.stop_gradient(value) if name.startswith("prediction") else value
            for name, value in outputs.items()
        }
        loss = tf.reduce_mean(method.compute_loss(cut))
    assert all(g is None for g in tape.gradient(loss, weights))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"projector": (8, 6)}, "end in the same size"),
        ({"predictor": ()}, "sizes of one or more layers"),
    ],
)
def test_heads_that_do_not_fit_are_refused(fields, message, tiny_config):
    with pytest.raises(InputError, match=message):
        tiny_config("simsiam", **fields)
