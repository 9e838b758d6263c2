"""The config of a run, a frozen dataclass that each method extends once.

Batch sizes are global (over all replicas), learning rates are per 256 images, and a
duration is counted in epochs or in steps, never in both.
"""

import dataclasses
from typing import Any, ClassVar, Literal

from selfsup_tf.config.checks import check_not_negative, check_positive
from selfsup_tf.config.encoder import PRETRAINED, EncoderConfig
from selfsup_tf.config.optimizer import OptimizerConfig
from selfsup_tf.config.view import ViewConfig
from selfsup_tf.errors import check
from selfsup_tf.fields import check_fields

FROM_PYTHON = "(given in Python)"
"""Stands in a config for what has no name on disk: arrays, a network."""


def operational(default: Any) -> Any:
    """A field that may change between a run and its resumption."""
    return dataclasses.field(default=default, metadata={"operational": True})


def operational_fields(config: "Config | type[Config]") -> set[str]:
    """The names of the fields of a config that are `operational`."""
    fields = dataclasses.fields(config)
    return {field.name for field in fields if field.metadata.get("operational")}


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a pretraining run depends on. Each method extends it once."""

    method: ClassVar[str]
    title: ClassVar[str | None] = None
    """The method as its authors write it; None is the class's name without Config."""
    required: ClassVar[dict[str, str]] = {
        "data": "Name a folder, an .npz file or a TFDS data set: --data=~/photos"
    }
    """The fields that a recipe may leave empty for the user to fill, with advice."""
    num_views: ClassVar[int | None] = None
    """How many views of an image, all of image_size, the method takes; None takes any
    number of any size."""

    data: str = "shapes"
    """A TFDS name, a folder of images, an .npz file, or shapes (drawn by us)."""
    split: str = "train"
    """Which part of the data to learn from."""
    labels: bool = True
    """Whether labels are read where there are some, such as the names of sub-folders;
    pretraining never learns from them."""
    exif: bool = True
    """Whether photographs are turned upright, as their cameras note in EXIF."""
    channels: int | None = None
    """Channels of the images, 1 to 16, and of the encoder's input. None is three, grey
    ones too, or, of arrays and datasets of more, what they have. Only images of three
    get saturation, hue and grayscale."""
    held_out: int = 1000
    """Labelled images that are kept from training for the online k-NN; at most a
    tenth of the data."""
    image_size: int = 224
    """Height and width of a view, in pixels."""
    views: tuple[ViewConfig, ...] = (ViewConfig(), ViewConfig())
    """The views of every image; the flags of the first begin with --view_1."""
    encoder: EncoderConfig = EncoderConfig()
    """The network that is learned and kept."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How it is learned."""
    batch_size: int = 4096
    """Images in a step, over all replicas."""
    accumulate: int = 1
    """Micro-batches that a step is made of, one after the other, to save memory. The
    gradient is that of the whole batch; BatchNorm sees a micro-batch at a time."""
    epochs: float | None = 100.0
    """Passes over the data; none where steps are given."""
    steps: int | None = None
    """Updates of the weights, in place of epochs."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "float64"] = (
        "float32"
    )
    """What the network computes in; the weights and the loss of the mixed ones are
    float32. float64 is for proofs."""
    seed: int = 0
    """All that is random follows from it."""

    data_dir: str | None = operational(None)
    """Where TFDS keeps its data."""
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"] = (
        operational("auto")
    )
    """auto takes what there is: the workers of TF_CONFIG or of a SLURM step, the TPU
    that --tpu names, all GPUs of this machine, or one device."""
    tpu: str | None = operational(None)
    """Name of the TPU, or local on a machine that has one."""
    collectives: Literal["auto", "ring", "nccl"] = operational("auto")
    """What carries sums between workers; auto lets TensorFlow choose."""
    worker_timeout: float = operational(300.0)
    """Seconds to wait at the start for the workers of a run, until all are there."""
    jit_compile: bool = operational(False)
    """Whether XLA compiles the step; on a TPU it always does."""
    remat: bool = operational(False)
    """Whether the activations within the blocks of a network are computed again in the
    backward pass: less memory for more time."""
    augment_on: Literal["host", "device"] = operational("host")
    """Where views are drawn: on the host, or, from uint8 images, on the device."""
    deterministic: bool = operational(False)
    """Whether the same command gives the same bits on the same machine, at some cost.
    It holds for the rest of the process; the log lacks train/data_wait."""
    steps_per_call: int = operational(10)
    """Steps between two visits of the host."""
    checkpoint_epochs: float = operational(1.0)
    """Epochs between two checkpoints."""
    knn_epochs: float = operational(1.0)
    """Epochs between two looks at the encoder: online k-NN and health."""
    wandb: str | None = operational(None)
    """Project of Weights & Biases that the log goes to, too; WANDB_MODE=offline keeps
    it in the run's directory."""

    def __post_init__(self):
        check_fields(self)
        check(
            0 <= self.seed < 2**32,
            "seed within [0, 2^32)",
            self.seed,
            "Any whole number in it will do.",
        )
        check(
            self.wandb != "",
            "the name of a project behind --wandb",
            "nothing",
            "Name one, or leave --wandb out.",
        )
        for name in ("image_size", "batch_size", "accumulate", "steps_per_call"):
            check_positive(name, getattr(self, name))
        for name in ("checkpoint_epochs", "knn_epochs", "worker_timeout"):
            check_positive(name, getattr(self, name))
        check_not_negative("held_out", self.held_out)
        check(
            self.channels is None or 1 <= self.channels <= 16,
            "channels from 1 to 16",
            self.channels,
            "Leave them out to take three, or what arrays have.",
        )
        check(
            self.batch_size >= 2,
            "batch_size of 2 or more",
            self.batch_size,
            "A contrast needs two images; choose a larger batch.",
        )
        check_divisible(self.batch_size, 1, self.accumulate)
        self._check_views()
        check(
            self.tpu is None or self.strategy in ("auto", "tpu"),
            f"no --tpu beside --strategy={self.strategy}",
            self.tpu,
            "Leave one of them out.",
        )
        check(
            (self.epochs is None) != (self.steps is None),
            "one of epochs and steps",
            f"epochs={self.epochs}, steps={self.steps}",
            "Leave one of them out (None).",
        )
        for name in ("epochs", "steps"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))

    def unheeded(self) -> dict[str, str]:
        """Fields that have no effect beside the others' values, and when they have.

        They have the values of a recipe; a user who gives others is told, see
        `checks.check_heeded`.
        """
        return {}

    def _check_views(self):
        sizes = [view.size for view in self.drawn_views.values()]
        check(sizes, "views of at least one kind", "none", "Give a ViewConfig.")
        if self.num_views is None:
            return
        check(
            len(sizes) == self.num_views,
            f"{self.num_views} view{'s' * (self.num_views > 1)} of each image for "
            f"{self.method}",
            len(sizes),
            "Give as many in `views`, what each counts included.",
        )
        check(
            set(sizes) == {self.image_size},
            f"views of image_size={self.image_size} for {self.method}",
            f"views of {', '.join(map(str, sizes))} pixels",
            "Leave out the size of a view.",
        )

    @property
    def drawn_views(self) -> dict[str, ViewConfig]:
        """The views drawn of an image, by the names of the model's inputs.

        They are view_1, view_2, ..., one for each that is counted; each has its size.
        """
        drawn = [
            dataclasses.replace(view, size=view.size or self.image_size, count=1)
            for view in self.views
            for _ in range(view.count)
        ]
        return {f"view_{number}": view for number, view in enumerate(drawn, 1)}


def check_divisible(batch_size: int, replicas: int, accumulate: int = 1) -> None:
    """Raises InputError unless all replicas get equal parts of every micro-batch."""
    parts = replicas * accumulate
    below = batch_size // parts * parts
    among = f"the {replicas} replicas"
    if accumulate > 1:
        among = f"accumulate={accumulate}"
        among += f" times {replicas} replicas, {parts}" if replicas > 1 else ""
    check(
        batch_size % parts == 0,
        f"a batch_size divisible by {among}",
        batch_size,
        f"The nearest that are: {f'{below} and ' if below else ''}{below + parts}.",
    )


def check_complete(config: Config) -> None:
    """Raises InputError where a field that the recipe leaves to the user is empty."""
    for name, advice in config.required.items():
        check(getattr(config, name) != "", f"--{name}", "nothing", advice)


OF_THE_RUN = EncoderConfig(name=PRETRAINED)


@dataclasses.dataclass(frozen=True)
class FromPretrainedConfig(Config):
    """A run of one view of each image, which may start where another run ended."""

    required: ClassVar[dict[str, str]] = {
        **Config.required,
        "pretrained": "Name the run to start from, --pretrained=runs/a; or give "
        "--pretrained=None and describe a network by --encoder.",
    }

    num_views: ClassVar[int | None] = 1

    views: tuple[ViewConfig, ...] = (ViewConfig(),)
    """The view of every image."""
    encoder: EncoderConfig = OF_THE_RUN
    """The network, where none is pretrained."""
    pretrained: str | None = None
    """An encoder that exists to start from, such as a run's directory or
    imagenet:EfficientNetB0 (docs/encoders.md); None builds the one that --encoder
    describes."""
    from_scratch: bool = False
    """Whether the pretrained network starts from fresh weights, to compare."""

    def __post_init__(self):
        super().__post_init__()
        check(
            self.pretrained is None or self.encoder == OF_THE_RUN,
            "either --pretrained, whose encoder is taken as it is, or --encoder",
            f"both: pretrained={self.pretrained}, encoder={self.encoder.name}",
            "Leave out the flags of --encoder, or give --pretrained=None; where the "
            f"recipe describes an encoder, --encoder.name={PRETRAINED}.",
        )
        check(
            self.pretrained is not None or not self.from_scratch,
            "--pretrained, the run whose network is meant",
            "from_scratch alone",
            "Name a run, --pretrained=runs/a, or leave out --from_scratch.",
        )
