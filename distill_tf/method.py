"""Distillation on one screen: a teacher that is finished, a student that is not."""

import keras

from distill_tf import teaching
from distill_tf.config import DistillConfig
from distill_tf.loss import distillation_loss, regression_loss, relational_loss
from distill_tf.model import (
    build_distill,
    build_linear,
    build_mimic,
    build_predictor,
)
from selfsup_tf.data.columns import WithColumn
from selfsup_tf.errors import check
from selfsup_tf.existing import is_file_of_vectors
from selfsup_tf.methods import Method
from selfsup_tf.models.classifier import (
    Frozen,
    build_classifier,
    build_logits,
    build_trunk,
)
from selfsup_tf.models.encoders import adopt_encoder
from selfsup_tf.models.own import gives_probabilities
from selfsup_tf.models.queue import new_queue, push
from selfsup_tf.models.saved import load_class_names
from selfsup_tf.models.teacher import Teacher


class Distill(Method):
    """SimCLR v2's third step, SimReg and SEED; see the README beside this file."""

    config_class = DistillConfig
    couples_images = False

    def prepare(self, source):
        """All of them, labels unread; finds the teacher before anything is built."""
        config = self.config
        self.loss = config.resolved_loss
        self._check_settings()
        if self.loss == "classes":
            self.teacher = teaching.load_classifier(config.teacher)
            self.origins["teacher"] = Teacher(config.teacher, self.teacher).origin
            self.class_names = load_class_names(config.teacher)
            self._check_classes()
            return source
        self.teacher = None
        if config.teacher_sees == "view" and not is_file_of_vectors(config.teacher):
            self.teacher = teaching.open_encoder(config.teacher, config.image_size)
            self.origins["teacher"] = self.teacher.origin
            self.dimension = self.teacher.network.output_shape[-1]
            check(
                self.teacher.compiles or not config.jit_compile,
                "a teacher that XLA compiles beside --jit_compile",
                config.teacher,
                "Use --teacher_sees=image, or leave --jit_compile out.",
            )
            return source
        vectors, self.origins["teacher"] = teaching.vectors_of(
            config.teacher, source, config.image_size, self.cache
        )
        self.dimension = vectors.shape[1]
        if config.centre:
            vectors = teaching.centred(vectors)
        return WithColumn(source, "target", vectors)

    def build(self):
        """The student, what it answers with, and the teacher as it is."""
        self.encoder = self.new_encoder(
            pretrained=self.config.pretrained, from_scratch=self.config.from_scratch
        )
        self.logits = None
        if self.loss == "classes":
            self._build_classes()
        else:
            self._build_vectors()

    def _build_classes(self):
        config, precision = self.config, self.config.precision
        teacher = adopt_encoder(
            self.teacher,
            config.image_size,
            channels=config.channels or 3,
            precision=precision,
            name="teacher",
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

    def _build_vectors(self):
        config, teacher = self.config, None
        if self.teacher is not None:
            network = self.teacher.taking(config.image_size, config.channels or 3)
            options = {"precision": config.precision, "name": "teacher"}
            network = adopt_encoder(network, config.image_size, **options)
            teacher = Frozen(network, name="frozen")
        build = {"mlp": build_predictor, "linear": build_linear}[config.predictor]
        predictor = build(self.encoder, self.dimension, config.precision)
        self.model = build_mimic(self.encoder, predictor, teacher, self.dimension)
        self.student = keras.Model(
            self.encoder.input, predictor(self.encoder.output), name="student"
        )
        if self.loss == "relational":
            self.watched_outputs = ("target",)
            dtype = "float64" if config.precision == "float64" else "float32"
            options = {"dtype": dtype, "seed": config.seed}
            self.state = {"queue": new_queue(config.queue, self.dimension, **options)}

    @property
    def trainable_variables(self):
        """The student's."""
        return self.student.trainable_variables

    @property
    def unadapted_variables(self):
        """Those of the logits, which start at 0, where a trust ratio misleads."""
        return self.logits.trainable_variables if self.logits else []

    def compute_loss(self, outputs):
        """Of each image."""
        config = self.config
        if self.loss == "classes":
            return distillation_loss(
                outputs["logits"], outputs["teacher_logits"], config.temperature
            )
        vectors = outputs["prediction"], outputs["target"]
        if self.loss == "regression":
            return regression_loss(*vectors)
        return relational_loss(
            *vectors,
            self.state["queue"].value,
            student_temperature=config.student_temperature,
            teacher_temperature=config.teacher_temperature,
        )

    def after_update(self, step, plan, outputs):
        """Puts the teacher's vectors of this step into the queue."""
        if self.loss == "relational":
            push(self.state["queue"], outputs["target"])
        return {}

    def _check_settings(self):
        """What belongs to vectors stands beside vectors."""
        config = self.config
        vectors = [
            f"--{name}"
            for name in ("centre", "predictor")
            if getattr(config, name) not in (False, "mlp")
        ]
        check(
            not vectors or self.loss != "classes",
            "a loss of vectors beside " + " and ".join(vectors),
            "a teacher's answers: loss=classes",
            "Use --loss=regression, or --centre=False and --predictor=mlp.",
        )
        check(
            config.teacher_sees == "view" or self.loss != "classes",
            "a loss of vectors beside --teacher_sees=image",
            "a teacher's answers: loss=classes",
            "Use --loss=regression, or --teacher_sees=view.",
        )
        check(
            not config.centre
            or config.teacher_sees == "image"
            or is_file_of_vectors(config.teacher),
            "--teacher_sees=image beside --centre, as the mean is of all images",
            f"--teacher_sees={config.teacher_sees}",
            "Use --teacher_sees=image, or --centre=False.",
        )

    def _check_classes(self):
        answers, name = self.teacher.output_shape[-1], self.config.teacher
        check(
            self.class_names is None or len(self.class_names) == answers,
            f"a teacher of the {len(self.class_names or ())} classes of its run",
            f"a network of {answers} outputs at {name}",
            "Name the run's directory, or its classifier.keras.",
        )
