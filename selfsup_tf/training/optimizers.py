"""The optimizer of a run: LARS, which is ours, or one of Keras's.

Biases, and the gamma and beta of norms, are never decayed, nor adapted by LARS; Keras's
LAMB adapts all: `is_excluded` says how they are known.
"""

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from selfsup_tf.config import OptimizerConfig, Plan
from selfsup_tf.training.lars import LARS, index_of, is_excluded
from selfsup_tf.training.schedules import WarmupCosine

Rate = Callable[[tf.Tensor], tf.Tensor]
"""From the number of updates done so far, a scalar, to the learning rate of the next,
a float or a scalar."""


def build_schedule(
    config: OptimizerConfig, plan: Plan, *, dtype: str = "float32"
) -> WarmupCosine:
    """The rate of each update of a run, computed in the dtype of what it updates."""
    return WarmupCosine(
        plan.learning_rate,
        warmup_steps=plan.warmup_steps,
        total_steps=plan.total_steps,
        decay=config.schedule == "cosine",
        dtype=dtype,
    )


def build_optimizer(
    config: OptimizerConfig,
    plan: Plan,
    variables: Sequence[keras.Variable],
    unadapted: Sequence[keras.Variable] = (),
    *,
    scaled: bool = False,
    rate: Rate | None = None,
    own_rates: Mapping[int, Rate] | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer of a run, its variables made in the strategy in force.

    LARS adapts all `variables` but the `unadapted` and those of rank 0 and 1. A scaled
    one scales the loss up, for float16, and skips a step whose gradient overflows. A
    rate takes the place of the plan's own schedule, and `own_rates` that of both for
    some variables, by their id; a decay that is decoupled keeps the run's.
    """
    rate = rate or build_schedule(config, plan, dtype=variables[0].dtype)
    momentum = {"momentum": config.momentum}
    decay = {"weight_decay": config.weight_decay}
    if config.name == "lars":
        optimizer = _with_rates(LARS, own_rates)(
            rate,
            trust_coefficient=config.trust_coefficient,
            form=config.lars_form,
            trust_clip=config.trust_clip,
            **momentum,
            **decay,
        )
        optimizer.leave_unadapted(unadapted)
    else:
        kind, options = {
            "sgd": (keras.optimizers.SGD, momentum | {"nesterov": config.nesterov}),
            "adam": (keras.optimizers.Adam, {}),
            "rmsprop": (keras.optimizers.RMSprop, momentum),
            "adamw": (keras.optimizers.AdamW, decay),
            "lamb": (keras.optimizers.Lamb, decay),
        }[config.name]
        if config.final_weight_decay is not None:
            change = WarmupCosine(
                config.weight_decay - config.final_weight_decay,
                warmup_steps=0,
                total_steps=plan.total_steps,
                dtype=variables[0].dtype,
            )
            kind = _with_changing_decay(kind, change, config.final_weight_decay)
        optimizer = _with_rates(kind, own_rates)(rate, **options)
    if config.name in DECOUPLED:
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in variables if is_excluded(v)]
        )
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # A variable made while the step is traced has no value on a second replica.
    optimizer.build(list(variables))
    return optimizer


def _with_rates(
    kind: type[keras.optimizers.Optimizer], own_rates: Mapping[int, Rate] | None
) -> type[keras.optimizers.Optimizer]:
    """The optimizer with a rate of their own for some variables."""
    if not own_rates:
        return kind

    class WithRates(kind):
        def build(self, variables):
            # As in LARS: an update gets other variables, of one replica.
            self._own_rates = [own_rates.get(id(variable)) for variable in variables]
            super().build(variables)

        def update_step(self, gradient, variable, learning_rate):
            if own := self._own_rates[index_of(self, variable)]:
                rate = own(self.iterations.value)
                learning_rate = keras.ops.convert_to_tensor(rate, variable.dtype)
            super().update_step(gradient, variable, learning_rate)

    return WithRates


def _with_changing_decay(
    kind: type[keras.optimizers.Optimizer], change: WarmupCosine, final: float
) -> type[keras.optimizers.Optimizer]:
    """The optimizer with a decay of `final` and what is left of a change to it."""

    class WithChangingDecay(kind):
        @property
        def weight_decay(self):
            """The decay of the next update; Keras asks for it at each."""
            return final + change(self.iterations.value)

        @weight_decay.setter
        def weight_decay(self, decay):
            """Keras's constructor sets the first, which `change` knows."""

    return WithChangingDecay


DECOUPLED = ("adamw", "lamb")


def decay_penalty(
    config: OptimizerConfig, variables: Sequence[keras.Variable]
) -> tf.Tensor:
    """weight_decay / 2 * |w|^2, whose gradient is the coupled decay, float32 scalar.

    It is 0 for the optimizers that decay by themselves.
    """
    if config.name in (*DECOUPLED, "lars") or config.weight_decay == 0:
        return tf.zeros(())
    squares = [tf.nn.l2_loss(v.value) for v in variables if not is_excluded(v)]
    return config.weight_decay * tf.add_n(squares) if squares else tf.zeros(())
