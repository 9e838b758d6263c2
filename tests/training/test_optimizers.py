"""Exclusions, decay, round trips; the updates themselves are in tests/fidelity."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import OptimizerConfig, Plan
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.training import loop
from selfsup_tf.training.lars import LARS, index_of, is_excluded
from selfsup_tf.training.optimizers import build_optimizer, decay_penalty
from selfsup_tf.training.schedules import WarmupCosine

PLAN = Plan(10, 100, 10, 0.5, 10, 10)


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


def test_keras_still_tells_which_variable_an_update_is_of():
    """LARS asks by a private name; where this fails, it needs another way."""
    variables = [keras.Variable(np.ones((2, 2))) for _ in range(3)]
    optimizer = LARS(0.5)
    optimizer.build(variables)
    for index, variable in enumerate(variables):
        assert index_of(optimizer, variable) == index
        assert index_of(optimizer, variable.value) == index


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_schedule_round_trips(dtype):
    schedule = WarmupCosine(2.0, warmup_steps=4, total_steps=12, dtype=dtype)
    again = WarmupCosine.from_config(schedule.get_config())
    assert again.get_config() == schedule.get_config()
    assert [float(again(k)) for k in range(13)] == [
        float(schedule(k)) for k in range(13)
    ]


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


def test_lars_spares_what_it_is_told_to():
    """As Keras's optimizers, which have the method, too."""
    moved = {}
    for spared in ("none", "given", "named"):
        variables = [keras.Variable(np.eye(3), name=name) for name in ("head", "other")]
        optimizer = LARS(0.1, weight_decay=0.5, trust_coefficient=1.0, momentum=0.0)
        if spared == "given":
            optimizer.exclude_from_weight_decay(var_list=variables[:1])
        if spared == "named":
            optimizer.exclude_from_weight_decay(var_names=["head"])
        optimizer.build(variables)
        gradient = np.ones((3, 3), np.float32)
        optimizer.apply([tf.constant(gradient)] * 2, variables)
        moved[spared] = [np.eye(3) - variable.numpy() for variable in variables]

    def literal(decay):
        update = 1 + decay * np.eye(3)
        trust = np.linalg.norm(np.eye(3)) / np.linalg.norm(update)
        return 0.1 * trust * update

    for spared, decays in (
        ("none", (0.5, 0.5)),
        ("given", (0, 0.5)),
        ("named", (0, 0.5)),
    ):
        for found, decay in zip(moved[spared], decays, strict=True):
            np.testing.assert_allclose(found, literal(decay), rtol=1e-5)


def test_exclusion_is_by_rank_in_a_real_network(tiny_config):
    from selfsup_tf.models.encoders import build_encoder

    encoder = build_encoder(tiny_config("simclr").encoder, 16)
    for variable in encoder.trainable_variables:
        assert is_excluded(variable) == (variable.name in ("gamma", "beta", "bias"))


def test_a_decay_that_changes_is_that_of_its_step():
    """Decoupled, along half a cosine: facebookresearch/dino, main_dino.py."""
    config = OptimizerConfig(
        name="adamw", weight_decay=0.1, final_weight_decay=0.7, warmup_epochs=0.0
    )
    plan = Plan(10, 8, 0, 0.5, 10, 10)
    w = keras.Variable(np.arange(1.0, 7.0).reshape(2, 3), dtype="float64")
    optimizer = build_optimizer(config, plan, [w])
    step = tf.function(lambda: optimizer.apply([tf.zeros((2, 3), tf.float64)], [w]))
    expected = w.numpy()
    for k in range(8):
        decay = 0.7 + (0.1 - 0.7) * (1 + np.cos(np.pi * k / 8)) / 2
        rate = 0.5 * (1 + np.cos(np.pi * k / 8)) / 2
        expected = expected - rate * decay * expected  # the gradient is 0
        step()
        np.testing.assert_allclose(w, expected, rtol=1e-12)
    for wrong in ({"name": "sgd"}, {"final_weight_decay": -1.0}):
        with pytest.raises(InputError, match="final_weight_decay"):
            dataclasses.replace(config, **wrong)


def test_each_gradient_is_clipped_by_itself(
    plain_sgd, tiny_config, tiny_method, few_images, tmp_path
):
    """With plain SGD and rate 1 each variable moves by its clipped gradient."""
    limit = 1e-2

    def moved(**options):
        config = tiny_config(
            "simclr",
            precision="float64",
            steps=1,
            optimizer=dataclasses.replace(plain_sgd, **options),
        )
        method = tiny_method(config)
        keras.utils.set_random_seed(config.seed)
        method.build()
        before = [v.numpy() for v in method.trainable_variables]
        folder = tmp_path / f"{len(options)}"
        loop.train(method, open_source(few_images), run_dir=folder, progress=False)
        after = [v.numpy() for v in method.trainable_variables]
        return [a - b for a, b in zip(after, before, strict=True)]

    gradients = moved()
    lengths = [np.linalg.norm(g) for g in gradients]
    assert min(lengths) < limit < max(lengths)
    for g, length, clipped in zip(
        gradients, lengths, moved(clip_norm=limit, clip_each=True), strict=True
    ):
        np.testing.assert_allclose(clipped, g * min(1, limit / length), atol=1e-12)
    with pytest.raises(InputError, match="clip_norm where clip_each"):
        dataclasses.replace(plain_sgd, clip_each=True)
