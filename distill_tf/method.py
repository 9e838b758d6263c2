"""Distillation on one screen: a teacher that is finished, a student that is not."""

from distill_tf.config import DistillConfig
from distill_tf.loss import distillation_loss
from distill_tf.model import build_distill
from selfsup_tf.errors import check
from selfsup_tf.methods import Method
from selfsup_tf.models.classifier import (
    Frozen,
    build_classifier,
    build_logits,
    build_trunk,
)
from selfsup_tf.models.encoders import adopt_encoder
from selfsup_tf.models.own import gives_probabilities
from selfsup_tf.models.saved import load_class_names, load_network

NO_TEACHER = (
    "Fine-tune one first: python train.py finetune RECIPE --pretrained=DIRECTORY "
    "--run_dir=TEACHER"
)


class Distill(Method):
    """Chen et al. 2020, "Big self-supervised models are strong semi-supervised"."""

    config_class = DistillConfig
    couples_images = False

    def prepare(self, source):
        """All of them, labels unread; finds the teacher before anything is built."""
        self.teacher = load_network(
            self.config.teacher, "classifier", advice=NO_TEACHER
        )
        self.class_names = load_class_names(self.config.teacher)
        answers = self.teacher.output_shape[-1]
        check(
            self.class_names is None or len(self.class_names) == answers,
            f"a teacher of the {len(self.class_names or ())} classes of its run",
            f"a network of {answers} outputs at {self.config.teacher}",
            "Name the run's directory, or its classifier.keras.",
        )
        return source

    def build(self):
        """The student's encoder and logits, and the teacher as it is."""
        precision = self.config.precision
        self.encoder = self.new_encoder(
            pretrained=self.config.pretrained, from_scratch=self.config.from_scratch
        )
        teacher = adopt_encoder(
            self.teacher, self.config.image_size, precision=precision, name="teacher"
        )
        check(
            not gives_probabilities(self.teacher, self.config.image_size),
            "a teacher that gives logits",
            f"probabilities from {self.config.teacher}",
            "End it before its softmax.",
        )
        trunk = build_trunk(self.encoder, None, 0)
        self.logits = build_logits(
            self.encoder.output_shape[-1], teacher.output_shape[-1], precision=precision
        )
        self.student = build_classifier(trunk, self.logits)
        self.model = build_distill(trunk, self.logits, Frozen(teacher, name="frozen"))
        self.networks = {"classifier": self.student}

    @property
    def trainable_variables(self):
        """The student's."""
        return self.student.trainable_variables

    @property
    def unadapted_variables(self):
        """Those of the logits, which start at 0, where a trust ratio misleads."""
        return self.logits.trainable_variables

    def compute_loss(self, outputs):
        """The cross entropy of each image."""
        return distillation_loss(
            outputs["logits"], outputs["teacher_logits"], self.config.temperature
        )
