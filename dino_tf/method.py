"""DINO on one screen: views of all sizes, prototypes, a target that is centred."""

import keras
import tensorflow as tf

from dino_tf.config import DINOConfig
from dino_tf.loss import dino_loss
from selfsup_tf.methods.momentum import MomentumMethod
from selfsup_tf.models.branches import inputs_of, views_by_size
from selfsup_tf.models.heads import build_head
from selfsup_tf.models.prototypes import build_prototypes
from selfsup_tf.training.schedules import late, stair


class DINO(MomentumMethod):
    """Caron et al. 2021, "Emerging properties in self-supervised transformers"."""

    config_class = DINOConfig
    couples_images = False
    watched_outputs = ("target_mean",)

    def build(self):
        """An online network, which sees all views, and its target, which sees two."""
        online, target = self._networks(""), self._networks("target_")
        self.follow([*online.values()], [*target.values()])
        self.encoder, projector, self.prototypes = online.values()
        self.networks = {"projector": projector, "prototypes": self.prototypes}
        self.networks["target_encoder"], *_ = target.values()
        views = inputs_of(self.config.drawn_views, self.encoder.input_shape[-1])
        outputs = views_by_size(views, online) | views_by_size(views, target, count=2)
        both = (outputs["target_scores_1"] + outputs["target_scores_2"]) / 2
        outputs["target_mean"] = keras.ops.mean(both, axis=0, keepdims=True)
        self.model = keras.Model(views, outputs, name="dino")
        start = tf.zeros(self.config.prototypes), self._target_temperature(0)
        for name, value in zip(("centre", "target_temperature"), start, strict=True):
            self.state[name] = keras.Variable(value, trainable=False, dtype=both.dtype)

    def _networks(self, prefix):
        config, encoder = self.config, self.new_encoder(f"{prefix}encoder")
        projector = build_head(
            encoder.output_shape[-1],
            config.projector,
            name=f"{prefix}projector",
            norm=config.projector_norm,
            hidden_bias=config.projector_norm == "none",
            output_bias=True,
            activation="gelu",
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            precision=config.precision,
        )
        prototypes = build_prototypes(
            config.projector[-1],
            config.prototypes,
            name=f"{prefix}prototypes",
            learn_lengths=config.learn_lengths,
            precision=config.precision,
        )
        first = "_target_representation" if prefix else "representation"
        return {first: encoder, "_projection": projector, f"{prefix}scores": prototypes}

    def compute_loss(self, outputs):
        """The cross entropy of each image, over all pairs of unlike views."""
        scores = [outputs[f"scores_{i + 1}"] for i in range(len(self.model.input))]
        target_scores = [outputs[f"target_scores_{i}"] for i in (1, 2)]
        kept = [self.state[n].value for n in ("centre", "target_temperature")]
        return dino_loss(scores, target_scores, *kept, self.config.temperature)

    def own_rates(self, plan, rate, peak):
        """Those of the prototypes, which stay as they are in the first epoch."""
        epochs = 0.0 if rate is peak else self.config.frozen_epochs
        return [(self.prototypes.trainable_variables, late(rate, epochs, plan))]

    def after_update(self, step, plan, outputs):
        """Moves target and centre; sets the target's temperature for the next step."""
        centre, keep = self.state["centre"], self.config.centre_momentum
        mean = tf.reduce_mean(outputs["target_mean"], axis=0)
        centre.assign(keep * centre.value + (1 - keep) * mean)
        temperature = self._target_temperature((step + 1) // plan.steps_per_epoch)
        self.state["target_temperature"].assign(temperature)
        return super().after_update(step, plan, outputs)

    def _target_temperature(self, epoch):
        config, dtype = self.config, self.encoder.output.dtype
        ends = config.target_temperature_start, config.target_temperature
        return stair(epoch, config.target_temperature_epochs, *ends, dtype=dtype)
