"""What tests of ten real steps share: networks, views, a built step, the comparison.

The step that a run takes (`make_train_steps`: compiled, with the method's own model,
loss, heads, optimizer, rates and what it does after an update) is driven in float64 on
given views and held, after each step, against `numpy_reference.train`.
"""

import types

import keras
import numpy as np
import numpy_reference as reference
import tensorflow as tf

from selfsup_tf.config import OptimizerConfig, make_plan
from selfsup_tf.distribution.strategy import connect
from selfsup_tf.methods import find_method
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.training.step import build, make_train_steps

STEPS, WARMUP, IMAGES, SIZE = 10, 3, 8, 4
PEAK, DECAY, ETA = 0.3, 0.02, 0.1

# Both sides add the same numbers in float64 in another order. A step makes some 1e3
# roundings of 1e-16; Keras's synchronized BatchNorm has E[x^2] - E[x]^2 for a variance,
# which multiplies them by E[x]^2 / variance, up to 1e2 here; ten steps carry them on:
# 1e-11 at most. The smallest of mistakes, a number rounded to float32, makes 1e-8.
RTOL = 1e-9
# A bias before a BatchNorm has no gradient but rounding, and may be 0.
ATOL = 1e-12


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


PROJECTOR = [
    ("dense", "dense1"),
    ("norm", "norm1"),
    ("relu", ""),
    ("dense", "dense2"),
    ("norm", "norm2"),
    ("relu", ""),
    ("dense", "dense3"),
]
"""BatchNorm and ReLU after the first two layers: Zbontar et al. 2021, section 2.2;
Bardes et al. 2022, section 4.2."""


def projected_gradients(parameters, view_1, view_2, *, loss_of, gradient_of):
    """Loss, gradients and tapes of a step, each view being a batch of its own.

    Args:
        parameters: As `numpy_reference.train` hands them on, and so the views.
        view_1: (N, H, W, 3).
        view_2: (N, H, W, 3).
        loss_of: From both projections to the loss.
        gradient_of: From both projections to the loss's gradient by each.
    """
    projections, tapes = [], []
    for view in (view_1, view_2):
        h, encoder = reference.forward("encoder", reference.ENCODER, parameters, view)
        z, projector = reference.forward("projector", PROJECTOR, parameters, h)
        projections.append(z)
        tapes.append([projector, encoder])
    found = {}
    for dy, branch in zip(gradient_of(*projections), tapes, strict=True):
        for tape in branch:
            dy = reference.backward(tape, parameters, dy, found)
    # Keras walks the branches of a functional model from the last to the first.
    return loss_of(*projections), found, [*tapes[1], *tapes[0]]


def set_up(tiny_config, name, *, form, decay=DECAY, clip=False, as_built=False, **case):
    """A method, an optimizer and a compiled step, as the training loop makes them.

    Args:
        tiny_config: The fixture.
        name: Of the method.
        form: Of LARS.
        decay: Of the weights.
        clip: Whether LARS clips its trust.
        as_built: Whether the variables start as they are, or scrambled.
        **case: Fields of the method's config.
    """
    optimizer = OptimizerConfig(
        name="lars",
        learning_rate=PEAK,
        scaling="none",
        warmup_epochs=float(WARMUP),
        weight_decay=decay,
        trust_coefficient=ETA,
        lars_form=form,
        trust_clip=clip,
    )
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
        optimizer = build(method, plan)
        loss = record_loss(method)
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


def usual_rate(step, name):
    """The rate of every variable that has none of its own."""
    return reference.learning_rate(step, peak=PEAK, warmup=WARMUP, total=STEPS)


def check_ten_steps(run, gradients_of, *, rate=usual_rate, after=None, logged=None):
    """Takes ten steps on both sides and compares all there is after each of them.

    Args:
        run: From `set_up`.
        gradients_of: As `numpy_reference.train` takes it, and so the next two.
        rate: From a step and a variable's name to its rate.
        after: What follows an update.
        logged: From a step to what the log is to tell, by name.
    """
    options = run.config.optimizer
    batches = batches_of(given_views(), run.strategy)
    start = {name: v.numpy() for name, v in run.variables.items()}
    state = {name: v.numpy() for name, v in run.method.state.items()}
    assert all(value.dtype == np.float64 for value in start.values())
    # Copied layers share their paths with their originals.
    names = {id(variable): name for name, variable in run.variables.items()}
    trained = [names[id(v)] for v in run.method.trainable_variables]
    run_velocities = dict(zip(trained, run.optimizer.velocities, strict=True))
    re_enacted = reference.train(
        start,
        given_views().astype(np.float64),
        gradients_of,
        rate=rate,
        optimizer={
            "form": options.lars_form,
            "decay": options.weight_decay,
            "eta": options.trust_coefficient,
            "clip": options.trust_clip,
        },
        after=after,
    )
    for step, (loss, expected, velocities) in enumerate(re_enacted):
        with run.strategy.scope():
            found = run.train_steps(
                batches, tf.constant(step, tf.int64), tf.constant(1)
            )
        at = f"step {step}"
        np.testing.assert_allclose(run.loss.numpy(), loss, rtol=RTOL, err_msg=at)
        # The log's are float32: half a unit of the last place.
        for name, value in {
            "train/loss": loss,
            **(logged(step) if logged else {}),
        }.items():
            np.testing.assert_allclose(found[name][0], value, rtol=2**-24, err_msg=name)
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
    for name, variable in run.method.state.items():
        variable.assign(state[name])
    for variable in run.optimizer.variables:
        variable.assign(np.zeros(variable.shape))
    batches = batches_of(given_views(), run.strategy)
    with run.strategy.scope():
        run.train_steps(batches, tf.constant(0, tf.int64), tf.constant(STEPS))
    check(run.variables, end, "all in one call")
