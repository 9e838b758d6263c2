"""Barlow Twins on one screen: an encoder, a projector, correlations near identity."""

from barlow_tf.config import BarlowTwinsConfig
from barlow_tf.loss import barlow_twins_loss
from selfsup_tf.methods import Method
from selfsup_tf.models.branches import two_branches
from selfsup_tf.models.heads import build_head
from selfsup_tf.training.lars import is_excluded


class BarlowTwins(Method):
    """Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy
    reduction".
    """

    config_class = BarlowTwinsConfig

    def build(self):
        """Encoder and projector, shared by both branches."""
        self.encoder = self.new_encoder()
        projector = build_head(
            self.encoder.output_shape[-1],
            self.config.projector,
            name="projector",
            norm="hidden",
            output_bias=False,  # the loss would take it away
            precision=self.config.precision,
        )
        chain = {"representation": self.encoder, "projection": projector}
        self.model = two_branches("barlow", chain)
        self.networks = {"projector": projector}

    def own_rates(self, plan, rate, peak):
        """That of biases and norms, where it is another."""
        config = self.config
        if config.bias_rate is None:
            return []
        factor = config.bias_rate / config.optimizer.learning_rate
        spared = [v for v in self.trainable_variables if is_excluded(v)]
        return [(spared, lambda step: factor * rate(step))]

    def compute_loss(self, outputs):
        """The loss of the batch, once for each image."""
        views = outputs["projection_1"], outputs["projection_2"]
        return self.config.loss_scale * barlow_twins_loss(
            *views, self.config.off_diagonal
        )
