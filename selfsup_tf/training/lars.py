"""LARS, and which variables no optimizer decays."""

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from selfsup_tf.errors import check


def is_excluded(variable: keras.Variable) -> bool:
    """Whether a variable is spared the weight decay and the adaptation.

    Rank decides, and not the name of a norm, which says nothing in Keras 3. A bias is
    one at any rank: attention keeps those of its heads as a matrix.
    """
    return len(variable.shape) <= 1 or variable.name == "bias"


@keras.saving.register_keras_serializable(package="selfsup_tf")
class LARS(keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling with momentum.

    With trust = eta |w| / |g + wd w| (1 where either norm is 0):

        classic:  v = m v + lr trust (g + wd w);  w = w - v       (SimCLR)
        popular:  v = m v + trust (g + wd w);     w = w - lr v    (BYOL)

    The two agree only while the rate is constant. Variables of rank 0 and 1 take
    v with wd = 0 and trust = 1. A decay of 0 leaves the trust ratio in force.

    Args:
        learning_rate (float | keras.optimizers.schedules.LearningRateSchedule): The
            rate, or a schedule of it.
        momentum: m.
        weight_decay: wd, coupled into the gradient.
        trust_coefficient: eta.
        form: "classic" or "popular".
        trust_clip: Whether the effective rate is the smaller of trust and rate in
            place of their product, as in solo-learn and NVIDIA's LARC. Their trust has
            |g| + wd |w| below, which differs by the angle between the two.

    Raises:
        InputError: The form is unknown, or a number is out of its range.

    Reference: You et al. 2017, "Large batch training of convolutional networks";
        google-research/simclr, tf2/lars_optimizer.py; deepmind-research,
        byol/utils/optimizers.py.
    """

    def __init__(
        self,
        learning_rate=0.3,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        form: str = "classic",
        trust_clip: bool = False,
        name: str = "lars",
        **kwargs,
    ):
        # Keras's own decay is decoupled from the gradient; LARS couples it, below.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        check(
            form in ("classic", "popular")
            and 0 <= momentum < 1
            and weight_decay >= 0
            and trust_coefficient > 0,
            "form classic or popular, a momentum in [0, 1), a weight_decay of 0 or "
            "more, a trust_coefficient above 0",
            f"{form!r}, {momentum}, {weight_decay} and {trust_coefficient}",
            "SimCLR has 'classic', 0.9, 1e-6 and 0.001, BYOL 'popular' instead.",
        )
        self.momentum = momentum
        self.coupled_decay = weight_decay
        self.trust_coefficient = trust_coefficient
        self.form = form
        self.trust_clip = trust_clip
        self._unadapted, self._undecayed = set(), ([], [])

    def leave_unadapted(self, variables: Sequence[keras.Variable]) -> None:
        """Gives these a trust of 1, whatever their rank; before `build`."""
        self._unadapted |= {id(variable) for variable in variables}

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Spares further variables the decay, not the adaptation; before `build`.

        Args:
            var_list: Variables.
            var_names: Regular expressions, looked for in the paths of variables;
                Keras's own optimizers look in their names.

        Raises:
            InputError: It is built already.
        """
        check(
            not self.built,
            "exclusions before the optimizer is built",
            "one that is",
            "Call exclude_from_weight_decay right after its constructor.",
        )
        given, names = self._undecayed
        given += [id(variable) for variable in var_list or ()]
        names += var_names or ()

    def build(self, variables):
        """Makes a velocity for each variable."""
        if self.built:
            return
        super().build(variables)
        # Asked here of Keras's variables: an update gets others, of one replica.
        given, names = self._undecayed
        self._adapts = [
            not is_excluded(variable) and id(variable) not in self._unadapted
            for variable in variables
        ]
        self._decays = [
            not is_excluded(variable)
            and id(variable) not in given
            and not any(re.search(name, variable.path) for name in names)
            for variable in variables
        ]
        self.velocities = [
            self.add_variable_from_reference(variable, name="velocity")
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        """One update of one variable."""
        index = index_of(self, variable)
        velocity = self.velocities[index].value
        rate = tf.cast(learning_rate, variable.dtype)
        gradient = tf.cast(gradient, variable.dtype)
        weights = tf.convert_to_tensor(variable)
        trust = tf.ones((), variable.dtype)
        if self._decays[index]:
            gradient = gradient + self.coupled_decay * weights
        if self._adapts[index]:
            trust = self._trust(weights, gradient, rate)
        step = trust * gradient
        if self.form == "classic":
            moved = self.momentum * velocity + rate * step
            self.assign(velocity, moved)
            self.assign_sub(variable, moved)
        else:
            moved = self.momentum * velocity + step
            self.assign(velocity, moved)
            self.assign_sub(variable, rate * moved)

    def _trust(self, weights, gradient, rate):
        weights_norm, gradient_norm = tf.norm(weights), tf.norm(gradient)
        trust = self.trust_coefficient * weights_norm / gradient_norm
        if self.trust_clip:
            # At a rate of 0 nothing moves, whatever the quotient.
            trust = tf.minimum(trust / rate, tf.ones_like(trust))
        return tf.where(
            (weights_norm > 0) & (gradient_norm > 0), trust, tf.ones_like(trust)
        )

    def get_config(self):
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "weight_decay": self.coupled_decay,
            "trust_coefficient": self.trust_coefficient,
            "form": self.form,
            "trust_clip": self.trust_clip,
        }


def index_of(optimizer: keras.optimizers.Optimizer, variable: tf.Variable) -> int:
    """The place of a variable, or of the copy that a replica has, in the optimizer.

    Private, and the way of Keras's own: nothing public leads from the copy to the
    variable. tests/training/test_optimizers.py watches it.
    """
    return optimizer._get_variable_index(variable)
