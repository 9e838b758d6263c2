"""Ten steps of the real training step equal ten steps in NumPy, to the last variable.

The step that a run takes (`make_train_steps`: compiled, with the method's own model,
loss, heads, optimizer, rate and moving average) is driven in float64 on given views and
held, after each step, against `numpy_reference.train`.
"""

import functools
import types

import keras
import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf

from selfsup_tf.config import OptimizerConfig, make_plan
from selfsup_tf.distribution.strategy import connect
from selfsup_tf.methods import find_method
from selfsup_tf.models.encoders import leaf_layers
from selfsup_tf.training.optimizers import build_optimizer
from selfsup_tf.training.step import make_train_steps

pytestmark = pytest.mark.slow

STEPS, WARMUP, IMAGES, SIZE = 10, 3, 8, 4
PEAK, DECAY, ETA = 0.3, 0.02, 0.1

# Both sides add the same numbers in float64 in another order. A step makes some 1e3
# roundings of 1e-16; Keras's synchronized BatchNorm has E[x^2] - E[x]^2 for a variance,
# which multiplies them by E[x]^2 / variance, up to 1e2 here; ten steps carry them on:
# 1e-11 at most. The smallest of mistakes, a number rounded to float32, makes 1e-8.
RTOL = 1e-9
# A bias before a BatchNorm has no gradient but rounding, and may be 0.
ATOL = 1e-12

CASES = {
    # SimCLR v2: three layers, the last BatchNorm without centre; the paper's loss.
    "simclr_v2": {
        "name": "simclr",
        "temperature": 0.1,
        "projector": (7, 6, 5),
        "projector_norm": "all",
        "directions": "mean",
    },
    # SimCLR v1: two layers; the loss as the authors' code adds it.
    "simclr_v1": {
        "name": "simclr",
        "temperature": 0.5,
        "projector": (7, 5),
        "projector_norm": "all",
        "directions": "sum",
        "as_built": True,
    },
    # As in solo-learn: no BatchNorm in the head, and a clipped LARS.
    "simclr_solo": {
        "name": "simclr",
        "temperature": 0.2,
        "projector": (7, 5),
        "projector_norm": "none",
        "directions": "mean",
        "form": "popular",
        "clip": True,
    },
    "simclr_hidden": {
        "name": "simclr",
        "temperature": 0.2,
        "projector": (7, 6, 5),
        "projector_norm": "hidden",
        "directions": "mean",
        "decay": 0.0,
    },
    # The paper's loss; 0.97 is its base tau for 40 epochs.
    "byol": {"name": "byol", "base_tau": 0.97, "directions": "sum"},
    "byol_as_built": {
        "name": "byol",
        "base_tau": 0.5,
        "directions": "mean",
        "as_built": True,
    },
}


def given_views():
    """Pairs of views for each step, float32 in [0, 1], (STEPS, 2, N, H, W, 3).

    Every image has a colour of its own, or all averages over pixels were alike.
    """
    generator = np.random.default_rng(5)
    colours = generator.uniform(size=(STEPS, 1, IMAGES, 1, 1, 3))
    noise = generator.uniform(size=(STEPS, 2, IMAGES, SIZE, SIZE, 3))
    return (0.5 * colours + 0.5 * noise).astype(np.float32)


def small_encoder():
    """The network that `numpy_reference.ENCODER` describes."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Dense(5, use_bias=False, name="pixel"),
            keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm"),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(6, name="features"),
            keras.layers.ReLU(),
        ]
    )


def named_variables(model):
    """The variables of a model as "network/layer/variable", such as
    "projector/dense1/kernel".
    """
    return {
        f"{network.name}/{layer.name}/{variable.name}": variable
        for network in model.layers
        if isinstance(network, keras.Model)
        for layer in leaf_layers(network)
        for variable in layer.variables
    }


def scramble(variables):
    """Gives every variable other values, so that no term is hidden by a 0 or a 1."""
    generator = np.random.default_rng(9)
    for name in sorted(variables):
        variable = variables[name]
        value = generator.normal(scale=0.5, size=variable.shape)
        if name.endswith(("gamma", "moving_variance")):
            value = generator.uniform(0.5, 1.5, size=variable.shape)
        variable.assign(value)


def record_loss(method):
    """Keeps the loss of the last step in float64; the log's is float32."""
    kept = tf.Variable(0.0, dtype=tf.float64)
    compute_loss = method.compute_loss

    def compute(outputs):
        loss = compute_loss(outputs)
        kept.assign(tf.reduce_mean(loss))
        return loss

    method.compute_loss = compute
    return kept


def set_up(tiny_config, case):
    """A method, an optimizer and a compiled step, as the training loop makes them."""
    case = dict(case)
    name, form = case.pop("name"), case.pop("form", None)
    form = form or {"simclr": "classic", "byol": "popular"}[name]
    as_built = case.pop("as_built", False)
    optimizer = OptimizerConfig(
        name="lars",
        learning_rate=PEAK,
        scaling="none",
        warmup_epochs=float(WARMUP),
        weight_decay=case.pop("decay", DECAY),
        trust_coefficient=ETA,
        lars_form=form,
        trust_clip=case.pop("clip", False),
    )
    if name == "byol":
        case |= {"projector": (7, 5), "predictor": (7, 5)}
    config = tiny_config(
        name,
        precision="float64",
        image_size=SIZE,
        batch_size=IMAGES,
        steps=STEPS,
        optimizer=optimizer,
        **case,
    )
    # As many images as the batch holds: an epoch of the warm-up is a step.
    plan = make_plan(config, IMAGES)
    strategy = connect(config)
    keras.utils.set_random_seed(3)
    with strategy.scope():
        method = find_method(name).load()(config, encoder=small_encoder())
        method.build()
        loss = record_loss(method)
        optimizer = build_optimizer(config.optimizer, plan, method.trainable_variables)
        train_steps = make_train_steps(method, optimizer, plan)
    variables = named_variables(method.model)
    if not as_built:
        scramble(variables)
    return types.SimpleNamespace(
        config=config,
        method=method,
        optimizer=optimizer,
        strategy=strategy,
        train_steps=train_steps,
        variables=variables,
        loss=loss,
    )


def re_enact(config, start):
    """`reference.train` with the numbers of a config."""
    options = config.optimizer
    shared = {"directions": config.directions}
    tau_of = None
    if config.method == "simclr":
        gradients_of = functools.partial(
            reference.simclr_gradients,
            head=reference.simclr_head(len(config.projector), config.projector_norm),
            temperature=config.temperature,
            **shared,
        )
    else:
        gradients_of = functools.partial(
            reference.byol_gradients,
            # Keras walks the branches of a functional model from the last to the first:
            # view 1 enters the running averages last, with .1 in place of .09.
            first=2,
            **shared,
        )
        tau_of = functools.partial(reference.tau, base=config.base_tau, total=STEPS)
    return reference.train(
        start,
        given_views().astype(np.float64),
        gradients_of,
        rate=functools.partial(
            reference.learning_rate, peak=PEAK, warmup=WARMUP, total=STEPS
        ),
        optimizer={
            "form": options.lars_form,
            "decay": options.weight_decay,
            "eta": options.trust_coefficient,
            "clip": options.trust_clip,
        },
        tau_of=tau_of,
    )


def batches_of(views, strategy):
    """An iterator like the pipeline's over the given views."""
    dataset = tf.data.Dataset.from_tensor_slices(
        {
            "view_1": views[:, 0],
            "view_2": views[:, 1],
            "index": np.tile(np.arange(IMAGES), (STEPS, 1)),
        }
    )
    return iter(strategy.experimental_distribute_dataset(dataset))


def check(received, expected, at):
    """Holds each named variable against its array, relative to its largest entry."""
    assert set(received) == set(expected), at
    for name, variable in received.items():
        want = expected[name]
        np.testing.assert_allclose(
            variable.numpy(),
            want,
            rtol=0,
            atol=RTOL * np.abs(want).max() + ATOL,
            err_msg=f"{at}, {name}",
        )


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_equal_numpy(case, tiny_config):
    run = set_up(tiny_config, CASES[case])
    batches = batches_of(given_views(), run.strategy)
    start = {name: v.numpy() for name, v in run.variables.items()}
    assert all(value.dtype == np.float64 for value in start.values())
    # Copied layers share their paths with their originals.
    names = {id(variable): name for name, variable in run.variables.items()}
    trained = [names[id(v)] for v in run.method.trainable_variables]
    run_velocities = dict(zip(trained, run.optimizer.velocities, strict=True))
    for step, (loss, expected, velocities) in enumerate(re_enact(run.config, start)):
        with run.strategy.scope():
            logged = run.train_steps(
                batches, tf.constant(step, tf.int64), tf.constant(1)
            )
        at = f"step {step}"
        np.testing.assert_allclose(run.loss.numpy(), loss, rtol=RTOL, err_msg=at)
        # The log's are float32: half a unit of the last place.
        np.testing.assert_allclose(logged["train/loss"][0], loss, rtol=2**-24)
        if run.config.method == "byol":
            tau = reference.tau(step, base=run.config.base_tau, total=STEPS)
            np.testing.assert_allclose(logged["train/tau"][0], tau, rtol=2**-24)
        check(run.variables, expected, at)
        check(run_velocities, velocities, f"{at}, velocity")
    end = {name: v.numpy() for name, v in run.variables.items()}
    # Nothing would be proven of what did not move: every matrix has, by far.
    for name, value in start.items():
        if name.endswith("kernel"):
            change = np.linalg.norm(end[name] - value)
            assert change > 0.02 * np.linalg.norm(value), name
    # All ten in one call of the host are the same ten.
    for name, variable in run.variables.items():
        variable.assign(start[name])
    for variable in run.optimizer.variables:
        variable.assign(np.zeros(variable.shape))
    batches = batches_of(given_views(), run.strategy)
    with run.strategy.scope():
        run.train_steps(batches, tf.constant(0, tf.int64), tf.constant(STEPS))
    check(run.variables, end, "all in one call")
