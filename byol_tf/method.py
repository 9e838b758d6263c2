"""BYOL on one screen: an online network, its slow target, and a predictor between."""

import keras
import tensorflow as tf

from byol_tf.config import BYOLConfig
from byol_tf.loss import regression_loss
from byol_tf.model import build_byol
from selfsup_tf.methods import Method
from selfsup_tf.models.ema import target_tau, update_target
from selfsup_tf.models.heads import build_head


class BYOL(Method):
    """Grill et al. 2020, "Bootstrap your own latent"."""

    config_class = BYOLConfig
    couples_images = False
    log_names = ("train/tau",)

    def build(self):
        """Online encoder, projector and predictor; target encoder and projector."""
        self.encoder, projector = self._new_network("")
        target_encoder, target_projector = self._new_network("target_")
        # The target starts as a copy of the online network; the reference starts it
        # from another random key, and most other implementations copy.
        target_encoder.set_weights(self.encoder.get_weights())
        target_projector.set_weights(projector.get_weights())
        predictor = self._new_head(
            self.config.projector[-1], self.config.predictor, "predictor"
        )
        self.model = build_byol(
            (self.encoder, projector, predictor), (target_encoder, target_projector)
        )
        self.networks = {"projector": projector}
        self.online = [*self.encoder.trainable_variables]
        self.online += projector.trainable_variables
        self.target = [*target_encoder.trainable_variables]
        self.target += target_projector.trainable_variables
        self.predictor_variables = predictor.trainable_variables

    def _new_network(self, prefix):
        encoder = self.new_encoder(f"{prefix}encoder")
        width, name = encoder.output_shape[-1], f"{prefix}projector"
        return encoder, self._new_head(width, self.config.projector, name)

    def _new_head(self, input_size, widths, name):
        return build_head(
            input_size,
            widths,
            name=name,
            norm="hidden",
            hidden_bias=True,
            output_bias=False,
            initializer=keras.initializers.VarianceScaling(),
            precision=self.config.precision,
        )

    @property
    def trainable_variables(self):
        """The online network's.

        The target's layers stay trainable as Keras means it, since a frozen BatchNorm
        would stop using the statistics of its batch.
        """
        return self.online + self.predictor_variables

    def compute_loss(self, outputs):
        """The regression of each image, over both directions."""
        loss = regression_loss(
            outputs["prediction_1"], outputs["target_projection_2"]
        ) + regression_loss(outputs["prediction_2"], outputs["target_projection_1"])
        return loss / 2 if self.config.directions == "mean" else loss

    def after_update(self, step, total_steps, outputs):
        """Moves the target towards the online network, parameters only."""
        dtype = self.target[0].dtype
        tau = target_tau(step, total_steps, self.config.base_tau, dtype=dtype)
        update_target(self.target, self.online, tau)
        return {"train/tau": tf.cast(tau, tf.float32)}
