"""The target network: how it starts, what moves it, what does not."""

import math

import numpy as np
import tensorflow as tf

from byol_tf import BYOL
from selfsup_tf.models.ema import target_tau, update_target


def build(tiny_config):
    method = BYOL(tiny_config("byol", projector=(8, 4), predictor=(8, 4)))
    method.build()
    return method


def test_tau_follows_the_paper():
    for k in (0, 1, 37, 99, 100):
        expected = 1 - (1 - 0.97) * (math.cos(math.pi * k / 100) + 1) / 2
        assert abs(float(target_tau(tf.constant(k), 100, 0.97)) - expected) < 1e-7


def test_the_average_equals_a_numpy_loop(tiny_config):
    method = build(tiny_config)
    target = [v.numpy().astype(np.float64) for v in method.target]
    generator = np.random.default_rng(0)
    for k in range(5):
        for variable in method.online:
            variable.assign_add(generator.normal(size=variable.shape))
        method.after_update(tf.constant(k, tf.int64), 10)
        tau = 1 - (1 - method.config.base_tau) * (math.cos(math.pi * k / 10) + 1) / 2
        target = [
            tau * t + (1 - tau) * o.numpy()
            for t, o in zip(target, method.online, strict=True)
        ]
    for variable, expected in zip(method.target, target, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)


def test_it_starts_as_a_copy_and_shares_nothing(tiny_config):
    method = build(tiny_config)
    for ours, theirs in zip(method.online, method.target, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    method.online[0].assign_add(np.ones(method.online[0].shape))
    assert not np.array_equal(method.online[0], method.target[0])


def test_its_batchnorm_uses_and_keeps_its_own_statistics(tiny_config):
    method = build(tiny_config)
    means = [
        v
        for v in method.model.get_layer("target_encoder").non_trainable_variables
        if v.name == "moving_mean"
    ]
    before = [v.numpy() for v in means]
    views = tf.random.uniform([8, 16, 16, 3])
    method.model({"view_1": views, "view_2": views}, training=True)
    assert all((v.numpy() != b).any() for v, b in zip(means, before, strict=True))
    update_target(method.target, method.online, tf.constant(0.0))
    online_means = [
        v for v in method.encoder.non_trainable_variables if v.name == "moving_mean"
    ]
    # Nothing but parameters is averaged.
    averaged = {id(v) for v in method.target + method.online}
    assert not averaged & {id(v) for v in means + online_means}


def test_the_target_is_not_differentiated(tiny_config):
    method = build(tiny_config)
    trained = {id(v) for v in method.trainable_variables}
    assert not trained & {id(v) for v in method.target}
