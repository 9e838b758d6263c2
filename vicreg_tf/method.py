"""VICReg on one screen: an encoder, a projector, three terms."""

from selfsup_tf.methods import Method
from selfsup_tf.models.branches import two_branches
from selfsup_tf.models.heads import build_head
from vicreg_tf.config import VICRegConfig
from vicreg_tf.loss import vicreg_loss


class VICReg(Method):
    """Bardes et al. 2022, "VICReg: variance-invariance-covariance regularization"."""

    config_class = VICRegConfig

    def build(self):
        """Encoder and projector, shared by both branches."""
        self.encoder = self.new_encoder()
        projector = build_head(
            self.encoder.output_shape[-1],
            self.config.projector,
            name="projector",
            norm="hidden",
            output_bias=False,  # the loss is of differences
            precision=self.config.precision,
        )
        chain = {"representation": self.encoder, "projection": projector}
        self.model = two_branches("vicreg", chain)
        self.networks = {"projector": projector}

    def compute_loss(self, outputs):
        """The three terms, weighted."""
        return vicreg_loss(
            outputs["projection_1"],
            outputs["projection_2"],
            invariance=self.config.invariance,
            variance=self.config.variance,
            covariance=self.config.covariance,
        )
