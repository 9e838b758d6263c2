"""Fine-tuning on one screen: a pretrained trunk f, logits, labels."""

from finetune_tf.config import FinetuneConfig
from finetune_tf.loss import label_loss
from finetune_tf.model import build_finetune
from selfsup_tf.data.parts import labelled_fraction
from selfsup_tf.errors import check
from selfsup_tf.existing import encoder_parts
from selfsup_tf.methods import Method
from selfsup_tf.models.classifier import (
    Frozen,
    build_classifier,
    build_logits,
    build_trunk,
)
from selfsup_tf.models.copies import copy_network
from selfsup_tf.models.saved import load_network
from selfsup_tf.models.untrained import untrained_copy
from selfsup_tf.run import RunDirectory

NO_HEAD = "It brings no projection head; use --head_layer=0, or a run."


class Finetune(Method):
    """Chen et al. 2020, "Big self-supervised models are strong semi-supervised"."""

    config_class = FinetuneConfig
    couples_images = False

    def prepare(self, source):
        """The fraction of the labels to learn from."""
        part = labelled_fraction(source, self.config.fraction, seed=self.config.seed)
        self.class_names = part.class_names
        return part

    def build(self):
        """Encoder, layers of its head, logits; all learn, or the logits alone."""
        self.encoder = self.new_encoder(
            pretrained=self.config.pretrained, from_scratch=self.config.from_scratch
        )
        trunk = build_trunk(self.encoder, self._new_head(), self.config.head_layer)
        self.logits = build_logits(
            trunk.output["features"].shape[-1],
            len(self.class_names),
            precision=self.config.precision,
        )
        self.model = build_finetune(
            Frozen(trunk, name="frozen") if self.config.frozen else trunk,
            self.logits,
            self.encoder.input_shape[1:],
        )
        self.networks = {"classifier": build_classifier(trunk, self.logits)}

    def _new_head(self):
        if not self.config.head_layer:
            return None
        place, layer, _ = encoder_parts(self.config.pretrained)
        run = RunDirectory(place)
        check(
            run.file in (None, run.kept("encoder")) and layer is None,
            f"head_layer 0 beside {self.config.pretrained}",
            f"{self.config.head_layer}, of the head that fits the last encoder alone",
            "Use --head_layer=0, or --pretrained=RUN, the run's directory.",
        )
        head = load_network(run.path, "projector", advice=NO_HEAD)
        if self.config.from_scratch:
            head = untrained_copy(head, self.config.seed)
        return copy_network(head, precision=self.config.precision)

    @property
    def trainable_variables(self):
        """All, or those of the logits where the trunk is frozen."""
        trained = self.logits if self.config.frozen else self.model
        return trained.trainable_variables

    @property
    def unadapted_variables(self):
        """Those of the logits, which start at 0, where a trust ratio misleads."""
        return self.logits.trainable_variables

    def compute_loss(self, outputs):
        """The cross entropy of each image."""
        return label_loss(outputs["logits"], outputs["label"])
