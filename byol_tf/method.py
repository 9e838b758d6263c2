"""BYOL on one screen: an online network, its slow target, and a predictor between."""

import keras

from byol_tf.config import BYOLConfig
from byol_tf.loss import regression_loss
from selfsup_tf.methods.momentum import MomentumMethod
from selfsup_tf.models.branches import two_branches
from selfsup_tf.models.heads import build_head


class BYOL(MomentumMethod):
    """Grill et al. 2020, "Bootstrap your own latent"."""

    config_class = BYOLConfig
    couples_images = False

    def build(self):
        """Online encoder, projector and predictor; target encoder and projector."""
        self.encoder, projector = self._new_network("")
        target_encoder, target_projector = self._new_network("target_")
        predictor = self._new_head(
            self.config.projector[-1], self.config.predictor, "predictor"
        )
        self.model = two_branches(
            "byol",
            {
                "representation": self.encoder,
                "_projection": projector,
                "prediction": predictor,
            },
            {
                "_target_representation": target_encoder,
                "target_projection": target_projector,
            },
        )
        self.networks = {"projector": projector}
        self.follow((self.encoder, projector), (target_encoder, target_projector))

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

    def compute_loss(self, outputs):
        """The regression of each image, over both directions."""
        loss = regression_loss(
            outputs["prediction_1"], outputs["target_projection_2"]
        ) + regression_loss(outputs["prediction_2"], outputs["target_projection_1"])
        return loss / 2 if self.config.directions == "mean" else loss
