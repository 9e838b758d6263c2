"""The base of a method: how its model is built, what its loss is, what it keeps."""

import abc
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from selfsup_tf.config import PRETRAINED, Config
from selfsup_tf.errors import InputError, check
from selfsup_tf.models.keras_settings import check_keras

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from selfsup_tf.config import Plan
    from selfsup_tf.data.source import Source
    from selfsup_tf.models.teacher import Teacher


class Method(abc.ABC):
    """A way to learn an encoder from views of images.

    A subclass says how its model is built, what its loss is and, where there is
    something to do after an update, what. The training loop never asks which it holds.

    Args:
        config: An instance of `config_class`.
        encoder: The user's own network, a functional keras.Model from (N, S, S, 3)
            float32 in [0, 1] to (N, D), used in place of config.encoder. It is copied,
            weights included, and stays as it is.

    Attributes:
        couples_images: Whether the loss of an image depends on the other images of the
            batch, as a contrast with negatives does. If not, micro-batches can be
            accumulated in one pass.
        metric_names: Log names of what `compute_metrics` returns.
        log_names: Those of what `after_update` returns.
        watched_outputs: The outputs of the model that `after_update` gets.
        state: Variables that the method keeps beside those of the model, such as a
            queue or a centre, by name; made in `build`, read in `compute_loss`, changed
            in `after_update`. Checkpoints hold them.
        encoder (keras.Model): The network f that is learned; after `build`.
        model (keras.Model): Functional, with named inputs and outputs; after `build`.
            Its inputs say what a batch holds: those of config.drawn_views, view_1 and
            so on, float32 in [0, 1], (N, S, S, 3), S being the view's size, and label,
            int64 (N,), for a method that learns from labels.
        networks: What a run keeps beside the encoder, as NAME.keras; after `build`.
        class_names: The names of the classes that a classifier tells apart, or None.
        cache: A folder of the run, where representations that `prepare` extracts are
            kept for its resumption; None outside a run.
        start: The encoder that exists which config.start names; after `build`.
        origins: What was learned from beside the images, "start", "pretrained" or
            "teacher": its name, sha256 and licence; after `build`. Manifest and model
            card tell it.
    """

    config_class: ClassVar[type[Config]]
    metric_names: ClassVar[tuple[str, ...]] = ()
    log_names: ClassVar[tuple[str, ...]] = ()
    couples_images: ClassVar[bool] = True
    watched_outputs: ClassVar[tuple[str, ...]] = ()
    class_names: "tuple[str, ...] | None" = None
    cache: pathlib.Path | None = None
    start: "Teacher | None" = None

    def __init__(self, config: Config, encoder: "keras.Model | None" = None):
        if not isinstance(config, self.config_class):
            raise InputError(
                f"a {self.config_class.__name__}",
                type(config).__name__,
                f"{type(self).__name__} takes the configs of its own recipes.",
            )
        check_keras()
        self.config = self.asked = config
        self.own_encoder = encoder
        self.networks: dict[str, keras.Model] = {}
        self.origins: dict[str, dict[str, str]] = {}
        self.state: dict[str, keras.Variable] = {}

    def new_encoder(
        self,
        name: str = "encoder",
        *,
        pretrained: str | None = None,
        from_scratch: bool = False,
    ) -> "keras.Model":
        """The encoder to start from, in the strategy in force.

        It is a copy of the user's, or of the encoder that exists `pretrained` (with
        fresh weights if it is to start from scratch), or of config.start, some stages
        frozen, or the one that the config describes.

        Raises:
            InputError: There is no such encoder, or it could not be learned or kept,
                see `selfsup_tf.models.own`.
        """
        from selfsup_tf.models import encoders, started, untrained
        from selfsup_tf.models import own as own_networks
        from selfsup_tf.models.copies import plain

        own, size = self.own_encoder, self.config.image_size
        start = vars(self.config).get("start")
        check(
            own is None or pretrained is start is None,
            "one encoder to start from",
            f"an encoder in Python and {pretrained or start}",
            "Leave out encoder=, or config.pretrained or config.start.",
        )
        if pretrained is not None:
            teacher = started.open_start(pretrained, size)
            own, self.origins["pretrained"] = teacher.network, teacher.origin
            if from_scratch:
                own = untrained.untrained_copy(own, self.config.seed)
        elif start is not None:
            self.start = self.start or started.open_start(start, size)
            own = self.start.network
            self.origins["start"] = self.start.origin
        check(
            own is not None or self.config.encoder.name != PRETRAINED,
            "an encoder to start from",
            "none",
            "Name a run, --pretrained=runs/a, or a network, --encoder.name=resnet18.",
        )
        options = {"name": name, "precision": self.config.precision}
        channels = self.config.channels or 3
        if own is None:
            options["channels"] = channels
            return encoders.build_encoder(self.config.encoder, size, **options)
        own_networks.check_fits(own, size, channels)
        if own is self.own_encoder:
            own_networks.check_loads(plain(own), size)
        if name == "encoder":  # its target is another of the same
            own_networks.tell_losses(own)
        encoder = encoders.adopt_encoder(own, size, **options)
        own_networks.check_represents(encoder, size)
        if self.start is not None and self.config.freeze:
            started.freeze(encoder, self.config.freeze)
        return encoder

    def prepare(self, source: "Source") -> "Source":
        """The images to learn from, of those there are; called once, before `build`.

        Raises:
            InputError: The method can't learn from them.
        """
        return source

    @abc.abstractmethod
    def build(self) -> None:
        """Sets `encoder` and `model`, and `state` where there is any.

        It is called in the scope of the strategy, which the variables belong to.

        For each view i of the model's inputs there is an output representation_i,
        (N, D), whose spread the loop watches for a collapse. Outputs are float32, or
        float64 in a float64 run.
        """

    @abc.abstractmethod
    def compute_loss(self, outputs: "dict[str, tf.Tensor]") -> "tf.Tensor":
        """The loss of each image, (N,) float32, or float64 in a float64 run.

        It runs on every replica. The loop sums it over all of them and divides by the
        global batch G.
        """

    def compute_metrics(
        self, outputs: "dict[str, tf.Tensor]"
    ) -> "dict[str, tf.Tensor]":
        """What the log tells of the images beside their loss, (N,) floats each.

        It runs where `compute_loss` does, outside the gradient. The loop logs the means
        over the global batch, under the names in `metric_names`.
        """
        return {}

    @property
    def trainable_variables(self) -> "list[keras.Variable]":
        """The variables that follow the gradient."""
        return self.model.trainable_variables

    @property
    def unadapted_variables(self) -> "list[keras.Variable]":
        """Variables that LARS decays but does not adapt: those of a classifier."""
        return []

    def own_rates(
        self, plan: "Plan", rate: Callable, peak: Callable
    ) -> "list[tuple[list[keras.Variable], Callable]]":
        """Variables whose learning rate is not the run's, group by group, with theirs.

        A rate is a function of the number of updates done so far, an int64 scalar, to
        a float or a float scalar. Decay that is decoupled (adamw, lamb) keeps the run's
        rate.

        Args:
            plan: Of the run.
            rate: The run's.
            peak: The run's after the warm-up, which stays; in a range test (`lr_find`)
                both are the rate that is tried.
        """
        return []

    def after_update(
        self, step: "tf.Tensor", plan: "Plan", outputs: "dict[str, tf.Tensor]"
    ) -> "dict[str, tf.Tensor]":
        """Changes what does not follow the gradient, after each update.

        It runs once for all replicas; what it assigns, all of them get.

        Args:
            step: Updates done before this one, int64 scalar.
            plan: Of the run: its length, and that of an epoch, in steps.
            outputs: Those of `watched_outputs`, as they were before the update: (G,
                ...), of all replicas and micro-batches, in an order that does not
                depend on how many replicas there are. What the model itself has made
                one row of, (1, ...), such as a mean over the images, has a row for each
                replica and micro-batch.

        Returns:
            float32 scalars for the log, under the names in `log_names`.
        """
        return {}
