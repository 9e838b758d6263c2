"""SimCLR on one screen: an encoder f, a projector g, NT-Xent between two views."""

import keras

from selfsup_tf.methods import Method
from selfsup_tf.models.branches import inputs_of, views_by_size
from selfsup_tf.models.heads import build_head
from simclr_tf.config import SimCLRConfig
from simclr_tf.loss import nt_xent_loss
from simclr_tf.metrics import contrast_top_1


class SimCLR(Method):
    """Chen et al. 2020, "A simple framework for contrastive learning"."""

    config_class = SimCLRConfig
    metric_names = ("train/contrast_top_1",)

    def build(self):
        """Encoder and projector, shared by both branches."""
        self.encoder = self.new_encoder()
        norm = self.config.projector_norm
        projector = build_head(
            self.encoder.output_shape[-1],
            self.config.projector,
            name="projector",
            norm=norm,
            # A BatchNorm that follows takes a bias away, or brings one.
            hidden_bias=norm == "none",
            output_bias=norm != "all",
            initializer=keras.initializers.RandomNormal(stddev=0.01),
            precision=self.config.precision,
        )
        self.networks = {"projector": projector}
        # As one batch, so that BatchNorm sees the views together: tf2/model.py of
        # google-research/simclr.
        views = inputs_of(self.config.drawn_views, self.encoder.input_shape[-1])
        chain = {"representation": self.encoder, "projection": projector}
        self.model = keras.Model(views, views_by_size(views, chain), name="simclr")

    def compute_loss(self, outputs):
        """NT-Xent of each image."""
        return nt_xent_loss(
            outputs["projection_1"],
            outputs["projection_2"],
            self.config.temperature,
            directions=self.config.directions,
        )

    def compute_metrics(self, outputs):
        """Whether each image's views find one another among those of the batch."""
        found = contrast_top_1(outputs["projection_1"], outputs["projection_2"])
        return {"train/contrast_top_1": found}
