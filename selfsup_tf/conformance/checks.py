"""What is asked of a method, each with what was found and what is allowed."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config, make_plan
from selfsup_tf.conformance import trial
from selfsup_tf.data.pipeline import training_dataset
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import check, check_one_of
from selfsup_tf.methods import Method

Outputs = dict[str, np.ndarray]
Reference = Callable[[Outputs, Config], np.ndarray]

_STEP = 1e-6
"""Of a difference: its own error is some 1e-12 / 1e-6 in float64."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    passed: bool
    found: str


def compare_runs(
    name: str, found: Outputs, expected: Outputs, *, allowed: float = 1e-9
) -> Check:
    """Losses and weights of two runs in float64, which only rounding may set apart.

    The largest difference counts, as a share of the largest number of its variable: a
    bias before a norm, which only noise moves, is as good as zero.
    """
    if set(found) != set(expected) or len(found["losses"]) != len(expected["losses"]):
        return Check(name, False, "other variables or another number of steps")
    worst, where = 0.0, "losses"
    for key, values in expected.items():
        values, others = values.astype(float), found[key].astype(float)
        scale = max(np.abs(values).max(initial=0.0), 1e-3)
        apart = _number(np.abs(others - values).max(initial=0.0) / scale)
        if apart > worst:
            worst, where = apart, key
    passed = bool(worst <= allowed)
    place = "" if passed else f", in {where}"
    return Check(name, passed, f"{worst:.1e} of {allowed:.0e}{place}")


def _number(value: float) -> float:
    """NaN is further away than anything."""
    return float("inf") if np.isnan(value) else float(value)


def check_method(
    config: Config,
    *,
    reference: Reference | None,
    still: Sequence[str],
    partly: Sequence[str],
) -> list[Check]:
    """What can be seen of a method without training it.

    Args:
        config: From `trial.small_config`.
        reference: A function of the model's outputs, NumPy float64 by name, and the
            config that gives the loss of each image, (N,), written by whoever wrote
            the method; None if there is none.
        still: Outputs that no gradient may flow into.
        partly: Outputs with a part in the loss that is stopped, and one that is not:
            differences see both.

    Raises:
        InputError: `still` or `partly` names no output.
    """
    method = trial.small_method(config)
    source = method.prepare(open_source(trial.images()))
    method.build()
    total = make_plan(config, source.size).total_steps
    wanted = {"total_steps": total, "inputs": method.model.input}
    batch = next(iter(training_dataset(source, config, **wanted)))
    batch = {name: batch[name] for name in method.model.input}
    outputs, variables = _forward(method, batch)
    floats = {k: v for k, v in outputs.items() if v.dtype.is_floating}
    for name in (*still, *partly):
        check_one_of(name, floats, "an output of the model")
    loss, gradients = _differentiate(method, outputs, floats)
    size = config.batch_size
    right = loss.shape == (size,) and loss.dtype == tf.float64
    found = f"{tuple(loss.shape)} {loss.dtype.name}"
    checks = [Check("the loss is one float64 for each image", right, found)]
    less = [name for name, value in floats.items() if value.dtype != tf.float64]
    if less:
        found = f"less: {', '.join(less)}"
        return [*checks, Check("outputs are float64 in a float64 run", False, found)]
    if reference is not None:
        checks.append(_against_reference(reference, config, outputs, loss))
    checks += _against_differences(method, outputs, gradients, still, partly)
    checks.append(_half_precision(config, batch))
    checks.append(variables)
    return checks


def _forward(method: Method, batch: dict[str, tf.Tensor]):
    """The outputs of the model, and the check of the weights' gradients."""
    weights = [variable.value for variable in method.trainable_variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        outputs = method.model(batch, training=True)
        loss = tf.reduce_mean(method.compute_loss(outputs))
    gradients = tape.gradient(loss, weights)
    pairs = zip(method.trainable_variables, gradients, strict=True)
    without = [variable.path for variable, gradient in pairs if gradient is None]
    found = f"none reaches {', '.join(without)}" if without else f"{len(weights)} do"
    name = "all trainable variables get a gradient"
    return outputs, Check(name, not without, found)


def _differentiate(method, outputs, floats):
    with tf.GradientTape() as tape:
        tape.watch(floats)
        loss = method.compute_loss(outputs)
        mean = tf.reduce_mean(loss)
    return loss, tape.gradient(mean, floats)


def _against_reference(reference, config, outputs, loss):
    arrays = {name: value.numpy() for name, value in outputs.items()}
    expected = np.asarray(reference(arrays, config))
    check(
        expected.shape == loss.shape,
        f"losses {tuple(loss.shape)} from the reference",
        f"shape {expected.shape}",
        "Give one for each image, not their mean.",
    )
    apart = np.abs(loss.numpy() - expected).max() / max(np.abs(expected).max(), 1.0)
    found = f"{apart:.1e} of 1e-10"
    return Check("the loss is that of its reference", bool(apart <= 1e-10), found)


def _against_differences(method, outputs, gradients, still, partly):
    """Along a random direction of each output; nothing moves along a still one."""
    rng = np.random.default_rng(0)
    apart, moved, stopped = {}, [], []
    for name, gradient in gradients.items():
        if name.startswith("representation_") and gradient is None:
            continue  # it is watched, not learned from
        size = 0.0 if gradient is None else float(tf.reduce_max(tf.abs(gradient)))
        if size == 0.0:
            stopped.append(name)
            continue
        if name in still:
            moved.append(name)
        if name in partly:
            continue
        direction = tf.constant(rng.normal(size=gradient.shape))

        def shifted(by, name=name, direction=direction):
            there = outputs | {name: outputs[name] + by * direction}
            return float(tf.reduce_mean(method.compute_loss(there)))

        numeric = (shifted(_STEP) - shifted(-_STEP)) / (2 * _STEP)
        analytic = float(tf.reduce_sum(gradient * direction))
        apart[name] = _number(abs(numeric - analytic) / max(abs(analytic), 1e-3))
    worst = max(apart, key=apart.get) if apart else None
    allowed = 1e-5
    passed = worst is not None and apart[worst] <= allowed
    found = f"{apart[worst]:.1e} of {allowed:.0e}" if worst else "no output moves it"
    if worst and not passed:
        found += f", in {worst}; --partly if one of its parts in the loss is stopped"
    checks = [Check("its gradient is that of differences", passed, found)]
    if still:
        found = f"some into {', '.join(moved)}" if moved else f"none into {len(still)}"
        name = "no gradient flows into " + ", ".join(still)
        checks.append(Check(name, not moved, found))
        others = sorted(set(stopped) - set(still))
        found = f"none into {', '.join(others)}" if others else f"into {len(apart)}"
        checks.append(Check("a gradient flows into all others", not others, found))
    elif stopped:
        found = f"none into {', '.join(stopped)}; name them with --still to be held"
        checks.append(Check("outputs without a gradient", True, found))
    return checks


def _half_precision(config, batch):
    """Layers that compute in bfloat16 give a finite loss in float32."""
    method = trial.small_method(dataclasses.replace(config, precision="mixed_bfloat16"))
    method.prepare(open_source(trial.images()))
    method.build()
    loss = method.compute_loss(method.model(batch, training=True))
    finite = bool(tf.reduce_all(tf.math.is_finite(loss)))
    found = f"{loss.dtype.name}, {'finite' if finite else 'not finite'}"
    right = finite and loss.dtype == tf.float32
    return Check("in mixed bfloat16 the loss is float32", right, found)
