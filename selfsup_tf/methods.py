"""What a method is, and how one is found by its name.

A method is an importable package called NAME_tf with the modules `config` (one subclass
of Config), `recipes` (functions that return such configs) and `method` (one subclass of
Method). Nothing else has to know of it.
"""

import abc
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import pathlib
import pkgutil
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from selfsup_tf.config import PRETRAINED, Config, read_config
from selfsup_tf.errors import InputError, check, check_one_of, nearest
from selfsup_tf.models.keras_settings import check_keras

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from selfsup_tf.data.source import Source
    from selfsup_tf.models.teacher import Teacher

MODULES = ("config", "recipes", "method")


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
        origins: What was learned from beside the images, "start" or "teacher": its
            name, sha256 and licence; after `build`. Manifest and model card tell it.
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

        It is a copy of the user's, or that of the run `pretrained` (with fresh weights
        if it is to start from scratch), or of config.start, some stages frozen, or the
        one that the config describes.

        Raises:
            InputError: There is no such encoder, or it could not be learned or kept,
                see `selfsup_tf.models.own`.
        """
        from selfsup_tf.models import encoders, saved, started, untrained
        from selfsup_tf.models import own as own_networks

        own, size = self.own_encoder, self.config.image_size
        start = vars(self.config).get("start")
        check(
            own is None or pretrained is start is None,
            "one encoder to start from",
            f"an encoder in Python and {pretrained or start}",
            "Leave out encoder=, or config.pretrained or config.start.",
        )
        if pretrained is not None:
            own = saved.load_network(pretrained)
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
            own_networks.check_loads(own, size)
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

    def after_update(
        self, step: "tf.Tensor", total_steps: int, outputs: "dict[str, tf.Tensor]"
    ) -> "dict[str, tf.Tensor]":
        """Changes what does not follow the gradient, after each update.

        It runs once for all replicas; what it assigns, all of them get.

        Args:
            step: Updates done before this one, int64 scalar.
            total_steps: Length of the run.
            outputs: Those of `watched_outputs`, as they were before the update: (G,
                ...), of all replicas and micro-batches, in an order that does not
                depend on how many replicas there are.

        Returns:
            float32 scalars for the log, under the names in `log_names`.
        """
        return {}


@dataclasses.dataclass(frozen=True)
class MethodPackage:
    """An installed method. TensorFlow is imported only by `load`.

    Attributes:
        name: As on the command line, such as "simclr".
        config_class: Its subclass of Config.
        recipes: Its recipes by name, each a function of the fields to override.
    """

    name: str
    config_class: type[Config]
    recipes: dict[str, Callable[..., Config]]

    def load(self) -> type[Method]:
        """The subclass of Method."""
        module = importlib.import_module(f"{self.name}_tf.method")
        return _only_subclass(module, Method)

    def recipe(self, name: str) -> Callable[..., Config]:
        """The recipe of that name, or an InputError naming the nearest."""
        check_one_of(name, self.recipes, f"a recipe of {self.name}")
        return self.recipes[name]


def list_methods() -> list[str]:
    """The names of the methods that can be imported."""
    names = {module.name for module in pkgutil.iter_modules() if module.ispkg}
    # An editable install is found by a hook, in no folder of sys.path.
    for installed in importlib.metadata.distributions():
        names.update((installed.read_text("top_level.txt") or "").split())
    return sorted(
        name.removesuffix("_tf")
        for name in names
        if name.endswith("_tf") and _is_method(name)
    )


def find_method(name: str) -> MethodPackage:
    """The method of that name.

    Raises:
        InputError: There is none; the nearest is named.
    """
    package = f"{name}_tf"
    if not name.isidentifier() or not _is_method(package):
        raise InputError("a method", repr(name), nearest(name, list_methods()))
    recipes = importlib.import_module(f"{package}.recipes")
    return MethodPackage(
        name=name,
        config_class=_only_subclass(
            importlib.import_module(f"{package}.config"), Config
        ),
        recipes={
            key: value
            for key, value in vars(recipes).items()
            if inspect.isfunction(value)
            and value.__module__ == recipes.__name__
            and not key.startswith("_")
        },
    )


def restore_config(stored: dict[str, Any]) -> Config:
    """The config of a run, from the contents of its config.json.

    Raises:
        InputError: Its method is not installed, or a field is not of its type.
    """
    return read_config(find_method(stored.get("method", "")).config_class, stored)


def _is_method(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return False
    folders = [pathlib.Path(place) for place in spec.submodule_search_locations]
    return all(
        any((folder / f"{module}.py").is_file() for folder in folders)
        for module in MODULES
    )


def _only_subclass(module: types.ModuleType, base: type) -> Any:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise InputError(
            f"one subclass of {base.__name__} in {module.__name__}",
            [value.__name__ for value in found],
            "CONTRIBUTING.md shows what a method's package holds.",
        )
    return found[0]
