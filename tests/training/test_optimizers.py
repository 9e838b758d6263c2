"""LARS against a NumPy loop in float64; rates, exclusions, decay."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import OptimizerConfig, Plan
from selfsup_tf.errors import InputError
from selfsup_tf.training.optimizers import (
    LARS,
    build_optimizer,
    decay_penalty,
    is_excluded,
)
from selfsup_tf.training.schedules import WarmupCosine

PLAN = Plan(10, 100, 10, 0.5, 10, 10)


def lars_reference(w, gradients, rates, *, form, decay, eta, clip, momentum=0.9):
    """The update written out, one variable, float64."""
    v = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        trust = 1.0
        if w.ndim > 1:
            g = g + decay * w
            w_norm, g_norm = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
            if w_norm > 0 and g_norm > 0:
                trust = eta * w_norm / g_norm
            if clip:
                trust = min(trust / rate, 1.0) if rate > 0 else 1.0
        if form == "classic":
            v = momentum * v + rate * trust * g
            w = w - v
        else:
            v = momentum * v + trust * g
            w = w - rate * v
    return w


@pytest.mark.parametrize("form", ["classic", "popular"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (5,), ()])
def test_lars_follows_the_formula(form, decay, clip, shape):
    generator = np.random.default_rng(0)
    start = generator.normal(size=shape)
    gradients = [generator.normal(size=shape) * 10**-k for k in range(6)]
    schedule = WarmupCosine(2.0, warmup_steps=2, total_steps=6)
    rates = [float(schedule(k)) for k in range(6)]
    eta = 0.02
    optimizer = LARS(
        schedule, weight_decay=decay, trust_coefficient=eta, form=form, trust_clip=clip
    )
    variable = keras.Variable(start, dtype="float64")
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    expected = lars_reference(
        start, gradients, rates, form=form, decay=decay, eta=eta, clip=clip
    )
    np.testing.assert_allclose(variable, expected, rtol=1e-12)


def test_zero_weights_and_zero_gradients_have_a_trust_of_one():
    optimizer = LARS(1.0, momentum=0.0)
    variable = keras.Variable(np.zeros((2, 2)), dtype="float64")
    optimizer.build([variable])
    optimizer.apply([tf.ones([2, 2], tf.float64)], [variable])
    np.testing.assert_array_equal(variable, -np.ones((2, 2)))
    optimizer.apply([tf.zeros([2, 2], tf.float64)], [variable])
    np.testing.assert_array_equal(variable, -np.ones((2, 2)))


def test_lars_round_trips_and_refuses():
    optimizer = LARS(0.5, weight_decay=0.1, form="popular", trust_clip=True)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    for wrong in (
        {"form": "third"},
        {"momentum": 1.5},
        {"weight_decay": -1.0},
        {"trust_coefficient": 0.0},
    ):
        with pytest.raises(InputError):
            LARS(0.1, **wrong)


def test_schedule():
    schedule = WarmupCosine(2.0, warmup_steps=4, total_steps=12)
    expected = [0, 0.5, 1, 1.5] + [
        2 * 0.5 * (1 + np.cos(np.pi * k / 8)) for k in range(9)
    ]
    got = [float(schedule(k)) for k in range(13)]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    constant = WarmupCosine(2.0, warmup_steps=0, total_steps=12, decay=False)
    assert {float(constant(k)) for k in range(13)} == {2.0}
    assert WarmupCosine.from_config(schedule.get_config())(5) == schedule(5)


@pytest.mark.parametrize("name", ["lars", "sgd", "adam", "adamw", "rmsprop", "lamb"])
def test_decay_moves_matrices_and_spares_vectors(name):
    """Two runs that differ in their decay alone differ in the matrix alone."""

    def train(decay):
        config = OptimizerConfig(name=name, weight_decay=decay, warmup_epochs=0.0)
        variables = [
            keras.Variable(np.array([[1.0, 2.0], [3.0, -4.0]]), dtype="float32"),
            keras.Variable(np.full(2, 3.0), dtype="float32"),
        ]
        plan = dataclasses.replace(PLAN, warmup_steps=0)
        optimizer = build_optimizer(config, plan, variables)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.add_n([tf.reduce_sum(v.value**3) for v in variables])
                loss += decay_penalty(config, variables)
            weights = [v.value for v in variables]
            optimizer.apply(tape.gradient(loss, weights), variables)
        return [v.numpy() for v in variables]

    (matrix, vector), (decayed, spared) = train(0.0), train(0.3)
    np.testing.assert_array_equal(vector, spared)
    assert (decayed != matrix).all()


def test_coupled_decay_is_the_papers():
    """The penalty's gradient is weight_decay * w."""
    config = OptimizerConfig(name="sgd", weight_decay=0.2)
    w = keras.Variable(np.arange(6.0).reshape(2, 3), dtype="float32")
    with tf.GradientTape() as tape:
        penalty = decay_penalty(config, [w])
    np.testing.assert_allclose(
        tape.gradient(penalty, w.value), 0.2 * w.numpy(), rtol=1e-6
    )


def test_exclusion_is_by_rank_in_a_real_network(tiny_config):
    from selfsup_tf.models.encoders import build_encoder

    encoder = build_encoder(tiny_config("simclr").encoder, 16)
    for variable in encoder.trainable_variables:
        assert is_excluded(variable) == (variable.name in ("gamma", "beta", "bias"))
