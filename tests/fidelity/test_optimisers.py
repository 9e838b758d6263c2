"""LARS, the rate of a run, tau and the moving average, to float64's last digits."""

import functools

import keras
import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf

from selfsup_tf.config import OptimizerConfig, Plan
from selfsup_tf.models.ema import target_tau, update_target
from selfsup_tf.training.lars import LARS
from selfsup_tf.training.optimizers import build_optimizer, build_schedule
from selfsup_tf.training.schedules import WarmupCosine

STEPS, WARMUP, PEAK = 10, 3, 2.0
PLAN = Plan(
    steps_per_epoch=10,
    total_steps=STEPS,
    warmup_steps=WARMUP,
    learning_rate=PEAK,
    checkpoint_steps=10,
    knn_steps=10,
)
# Ten steps of ten roundings of 1.1e-16 each, in another order here and there.
RTOL = 1e-13


def rates():
    """The rate of each of the ten updates: up from 0, then down."""
    return [
        reference.learning_rate(k, peak=PEAK, warmup=WARMUP, total=STEPS)
        for k in range(STEPS)
    ]


@pytest.mark.parametrize("form", ["classic", "popular"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("clip", [False, True])
def test_lars_equals_numpy(form, decay, clip):
    """A matrix, a convolution's kernel, a vector and a scalar, after each update."""
    config = OptimizerConfig(
        name="lars",
        weight_decay=decay,
        # Trusts to either side of the rate, so that the clip is seen both ways.
        trust_coefficient=0.5,
        lars_form=form,
        trust_clip=clip,
    )
    generator = np.random.default_rng(0)
    shapes = [(3, 4), (2, 3, 2, 5), (5,), ()]
    weights = [generator.normal(size=shape) for shape in shapes]
    variables = [keras.Variable(w, dtype="float64") for w in weights]
    optimizer = build_optimizer(config, PLAN, variables)
    velocities = [np.zeros_like(w) for w in weights]
    for rate in rates():
        gradients = [generator.normal(size=s) * generator.uniform() for s in shapes]
        optimizer.apply([tf.constant(g) for g in gradients], variables)
        for i, gradient in enumerate(gradients):
            weights[i], velocities[i] = reference.lars(
                weights[i],
                velocities[i],
                gradient,
                rate,
                form=form,
                decay=decay,
                eta=0.5,
                clip=clip,
            )
            np.testing.assert_allclose(variables[i], weights[i], rtol=RTOL, atol=1e-14)
            np.testing.assert_allclose(
                optimizer.velocities[i], velocities[i], rtol=RTOL, atol=1e-14
            )


@pytest.mark.parametrize(("form", "golden"), [("classic", 0.4905), ("popular", 0.324)])
def test_lars_worked_by_hand(form, golden):
    """With w = s (3, 4), g along it, eta .1 and rates 1, .5, 2, trust g = .1 s (3, 4).

    classic: v = .1, .09 + .5 * .09 = .135, .1215 + 2 * .0765 = .2745; s falls by v:
        .9, .765, .4905.
    popular: v = .1, .09 + .09 = .18, .162 + .081 = .243; s falls by 1, .5 and 2 times
        v: .9, .81, .324.
    """
    given = iter([1.0, 0.5, 2.0])
    optimizer = LARS(lambda: next(given), trust_coefficient=0.1, form=form)
    variable = keras.Variable([[3.0, 4.0]], dtype="float64")
    optimizer.build([variable])
    for length in (1.0, 7.0, 0.01):
        optimizer.apply([tf.constant([[0.6, 0.8]], tf.float64) * length], [variable])
    np.testing.assert_allclose(variable, [[3 * golden, 4 * golden]], rtol=1e-14)


@pytest.mark.parametrize("form", ["classic", "popular"])
def test_a_decay_of_zero_leaves_the_trust_in_force(form):
    """With it, the length of a gradient says nothing."""
    ends = []
    for length in (1.0, 1000.0):
        optimizer = LARS(0.1, weight_decay=0.0, form=form)
        variable = keras.Variable(np.eye(3), dtype="float64")
        optimizer.build([variable])
        for k in range(1, 4):
            optimizer.apply([length * k * tf.ones([3, 3], tf.float64)], [variable])
        ends.append(variable.numpy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=RTOL)
    assert (ends[0] != np.eye(3)).all()


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("form", ["classic", "popular"])
def test_zero_weights_and_zero_gradients_have_a_trust_of_one(form, clip):
    """Clipped or not: solo-learn leaves such a gradient as it is."""
    optimizer = LARS(3.0, momentum=0.5, form=form, trust_clip=clip)
    variable = keras.Variable(np.zeros((2, 2)), dtype="float64")
    optimizer.build([variable])
    optimizer.apply([tf.ones([2, 2], tf.float64)], [variable])
    np.testing.assert_array_equal(variable, np.full((2, 2), -3.0))
    # Without a gradient, and without decay, the velocity alone moves it.
    optimizer.apply([tf.zeros([2, 2], tf.float64)], [variable])
    np.testing.assert_array_equal(variable, np.full((2, 2), -4.5))


def test_a_rate_of_zero_moves_nothing_but_the_popular_velocity():
    """The first update of a warm-up; a quotient by the rate must not spoil it."""
    for form in ("classic", "popular"):
        for clip in (False, True):
            optimizer = LARS(lambda: 0.0, form=form, trust_clip=clip)
            variable = keras.Variable(np.eye(2), dtype="float64")
            optimizer.build([variable])
            optimizer.apply([tf.ones([2, 2], tf.float64)], [variable])
            np.testing.assert_array_equal(variable, np.eye(2))
            velocity = optimizer.velocities[0].numpy()
            assert np.isfinite(velocity).all()
            assert velocity.any() == (form == "popular")


def test_unadapted_variables_are_decayed_with_a_trust_of_one():
    """In a compiled update too, where Keras passes other objects on."""
    optimizer = LARS(0.5, momentum=0.0, weight_decay=0.1)
    start = np.arange(1.0, 5.0).reshape(2, 2)
    variables = [keras.Variable(start, dtype="float64") for _ in range(2)]
    optimizer.leave_unadapted(variables[:1])
    optimizer.build(variables)
    gradient = np.array([[1.0, 0], [0, 2]])

    @tf.function
    def update():
        optimizer.apply([tf.constant(gradient)] * 2, variables)

    update()
    np.testing.assert_allclose(
        variables[0], start - 0.5 * (gradient + 0.1 * start), rtol=RTOL
    )
    assert np.abs(variables[1].numpy() - start).max() < 0.01


@pytest.mark.parametrize(("warmup", "total"), [(0, 40), (10, 100), (99, 100), (0, 1)])
def test_the_rate_of_a_whole_run(warmup, total):
    config = OptimizerConfig(name="lars")
    plan = Plan(10, total, warmup, 1.7, 10, 10)
    expected = [
        reference.learning_rate(k, peak=1.7, warmup=warmup, total=total)
        for k in range(total + 3)
    ]
    exact = build_schedule(config, plan, dtype="float64")
    got = [exact(k) for k in range(total + 3)]
    assert all(rate.dtype == tf.float64 for rate in got)
    # Near the end 1 + cos(pi k / K) is a difference of numbers near 1.
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-15)
    single = build_schedule(config, plan)
    got = [single(k) for k in range(total + 3)]
    assert all(rate.dtype == tf.float32 for rate in got)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=5e-7)


def test_the_rate_at_its_boundaries():
    schedule = WarmupCosine(2.0, warmup_steps=10, total_steps=110, dtype="float64")
    got = {k: float(schedule(k)) for k in (0, 1, 9, 10, 60, 110, 200)}
    expected = {0: 0, 1: 0.2, 9: 1.8, 10: 2.0, 60: 1.0, 110: 0.0, 200: 0.0}
    assert got == pytest.approx(expected, abs=1e-15)
    constant = WarmupCosine(
        2.0, warmup_steps=4, total_steps=12, decay=False, dtype="float64"
    )
    rise = [float(constant(k)) for k in range(14)]
    assert rise == [0.0, 0.5, 1.0, 1.5] + [2.0] * 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_keras_keeps_the_precision_of_the_rate(dtype):
    """Each update of a compiled step takes the rate in its variable's precision."""
    variable = keras.Variable(np.zeros(1), dtype=dtype)
    config = OptimizerConfig(name="lars", momentum=0.0)
    optimizer = build_optimizer(config, PLAN, [variable])

    @tf.function
    def update():
        optimizer.apply([tf.ones([1], dtype)], [variable])
        return optimizer.learning_rate

    for rate in rates():
        assert update().dtype == dtype
        # A vector without momentum moves by the rate.
        moved = -variable.numpy()[0]
        assert moved == pytest.approx(rate, abs=1e-15 if dtype == "float64" else 5e-7)
        variable.assign([0.0])


@pytest.mark.parametrize("base", [0.0, 0.97, 0.996, 1.0])
def test_tau_of_a_whole_run(base):
    total = 50
    expected = [reference.tau(k, base=base, total=total) for k in range(total + 1)]
    steps = tf.range(total + 1, dtype=tf.int64)
    exact = target_tau(steps, total, base, dtype="float64")
    assert exact.dtype == tf.float64
    np.testing.assert_allclose(exact, expected, rtol=0, atol=4e-16)
    single = target_tau(steps, total, base)
    assert single.dtype == tf.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=2e-7)
    assert exact[0] == base and exact[-1] == 1


def test_the_average_over_several_updates():
    """It is tau t + (1 - tau) o, written as t + (1 - tau) (o - t)."""
    generator = np.random.default_rng(1)
    shapes = [(3, 4), (5,), ()]
    target = [generator.normal(size=shape) for shape in shapes]
    theirs = [keras.Variable(value, dtype="float64") for value in target]
    ours = [keras.Variable(value, dtype="float64") for value in target]
    tau_of = functools.partial(reference.tau, base=0.9, total=8)

    @tf.function
    def update(step):
        update_target(theirs, ours, target_tau(step, 8, 0.9, dtype="float64"))

    for k in range(9):
        online = [generator.normal(size=shape) for shape in shapes]
        for variable, value in zip(ours, online, strict=True):
            variable.assign(value)
        update(tf.constant(k, tf.int64))
        target = [
            tau_of(k) * t + (1 - tau_of(k)) * o
            for t, o in zip(target, online, strict=True)
        ]
        for variable, value in zip(theirs, target, strict=True):
            np.testing.assert_allclose(variable, value, rtol=0, atol=1e-15)
        for variable, value in zip(ours, online, strict=True):
            np.testing.assert_array_equal(variable, value)


def test_biases_of_attention_are_neither_decayed_nor_adapted():
    """They are matrices, and an update sees them under another name."""
    attention = keras.layers.MultiHeadAttention(2, 4)
    attention.build((None, 3, 8), (None, 3, 8))
    optimizer = LARS(1.0, momentum=0.0, weight_decay=0.5, trust_coefficient=0.001)
    variables = attention.trainable_variables
    optimizer.build(variables)
    biases = [v for v in variables if v.name == "bias"]
    assert {len(v.shape) for v in biases} == {1, 2}
    for variable in biases:
        variable.assign(tf.ones(variable.shape))
    optimizer.apply([tf.ones(v.shape) for v in variables])
    for variable in biases:
        np.testing.assert_array_equal(variable, np.zeros(variable.shape))
