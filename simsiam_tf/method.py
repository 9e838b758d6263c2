"""SimSiam on one screen: one network, a predictor, and a gradient that is stopped."""

from selfsup_tf.methods import Method
from selfsup_tf.models.branches import two_branches
from selfsup_tf.models.heads import build_head
from simsiam_tf.config import SimSiamConfig
from simsiam_tf.loss import negative_cosine


class SimSiam(Method):
    """Chen and He 2021, "Exploring simple Siamese representation learning"."""

    config_class = SimSiamConfig
    couples_images = False

    def build(self):
        """Encoder, projector and predictor, shared by both branches."""
        config, precision = self.config, self.config.precision
        self.encoder = self.new_encoder()
        projector = build_head(
            self.encoder.output_shape[-1],
            config.projector,
            name="projector",
            norm=config.projector_norm,
            output_bias=False,
            precision=precision,
        )
        predictor = build_head(
            config.projector[-1],
            config.predictor,
            name="predictor",
            norm="hidden",
            output_bias=True,
            precision=precision,
        )
        chain = {"representation": self.encoder, "projection": projector}
        self.model = two_branches("simsiam", chain | {"prediction": predictor})
        self.networks = {"projector": projector}
        self.predictor_variables = predictor.trainable_variables

    def own_rates(self, plan, rate, peak):
        """The predictor's, which neither rises nor falls."""
        if not self.config.fixed_predictor_rate:
            return []
        return [(self.predictor_variables, peak)]

    def compute_loss(self, outputs):
        """The negative cosine of each image, the mean of both directions."""
        forth = negative_cosine(outputs["prediction_1"], outputs["projection_2"])
        back = negative_cosine(outputs["prediction_2"], outputs["projection_1"])
        return (forth + back) / 2
