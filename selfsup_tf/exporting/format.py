"""What an export format is: one object that says all that is asked about it.

A format is found by its module, see `formats`. Nothing here imports TensorFlow, so that
the command line can list the formats and refuse mistakes at once.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

from __future__ import annotations

import abc
import dataclasses
import pathlib
import typing
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

AUTO = "auto"
"""In `keep_float`: the layers that it takes."""
PROBES = pathlib.Path(__file__).parent / "probes"


@dataclasses.dataclass(frozen=True)
class Options:
    """How the artefacts are called, the same for every format that heeds it.

    Attributes:
        batch: Images a call of a TFLite file takes; None where that is free.
        uint8_input: Whether TFLite and ONNX files take uint8 images, 0 to 255, in
            place of float32 in [0, 1]. `tflite_uint8` always does.
        l2_normalize: Whether the representations of TFLite and ONNX files have
            length 1.
        keep_float: Layers that int8 leaves in float32.
        exif: Whether files are turned upright, as a camera notes in EXIF, where an
            artefact reads them itself or its program does.
    """

    batch: int | None = None
    uint8_input: bool = False
    l2_normalize: bool = False
    keep_float: tuple[str, ...] = ()
    exif: bool = True


@dataclasses.dataclass(frozen=True)
class Networks:
    """What is exported.

    Attributes:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32, of one device.
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C), whose probabilities
            every artefact gives too; it may share the encoder's layers. None: without.
        class_names: What the logits mean.
    """

    encoder: keras.Model
    classifier: keras.Model | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        """S."""
        return self.encoder.input_shape[1]

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.encoder.input_shape[-1]


@dataclasses.dataclass(frozen=True)
class Threshold:
    """What an artefact may lose.

    Attributes:
        cosine: Least mean cosine with the encoder's representations, in [-1, 1].
        knn_loss: How many points (hundredths) of k-NN accuracy it may lose. It fails
            only where the loss is also above two standard errors of the difference, so
            that chance does not decide. None: any number.
        agreement: Least share of images that a classifier's probabilities give the
            encoder's class, in [0, 1]; one image may always get another.
    """

    cosine: float
    knn_loss: float | None = 1.0
    agreement: float = 0.99


@dataclasses.dataclass(frozen=True)
class Call:
    """One way of calling an artefact, and what it must answer.

    Attributes:
        signature: What is called.
        inputs: What it is called with: the proof's views, (S, S, 3) float32 in [0, 1];
            its images, (H, W, 3) uint8 of any size; the same as floats; or as files.
        outputs: What is compared: representation, probabilities, or both.
    """

    signature: str
    inputs: Literal["views", "images", "floats", "files"]
    outputs: tuple[str, ...] = ("representation",)


def name_channels(channels: int) -> str:
    """What the channels of an encoder's images are, in a word."""
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels, as in training")


def possible_calls(calls: Iterable[Call], channels: int) -> tuple[Call, ...]:
    """Those of the calls that images of so many channels fit: files hold 1 or 3."""
    in_files = channels in (1, 3)
    return tuple(call for call in calls if in_files or call.inputs != "files")


class Format(abc.ABC):
    """A kind of file or directory that a runtime loads without this package.

    A module of `formats` defines one as FORMAT, or a tuple of several.

    Attributes:
        word: Its name on the command line, such as tflite_int8.
        file: Name of its file or directory in an export, such as encoder_int8.tflite.
        probe: The program that runs it in its own runtime, see `probes/probing.py`.
        threshold: How far it may stray from the encoder.
        groups: Words that stand for several formats, this one among them.
        heeds: Names of `Options` that change it.
        calibration: Which of the calibration images `write` gets: none, all, or those
            that are typical of them, which the ranges of 8 bits need.
        precision: What it computes in.
        packages: Distributions whose versions the manifest records.
        advice: What helps where it strays.
        order: Its place in tables, from low to high.
    """

    word: str
    file: str
    probe: pathlib.Path
    threshold: Threshold
    groups: tuple[str, ...] = ()
    heeds: tuple[str, ...] = ()
    calibration: Literal["none", "all", "typical"] = "none"
    precision: str = "float32"
    packages: ClassVar[tuple[str, ...]] = ()
    advice: str = (
        "The conversion does not compute what the encoder does; please report it with "
        "the encoder's layers."
    )
    order: int = 100

    @abc.abstractmethod
    def write(
        self,
        networks: Networks,
        path: pathlib.Path,
        *,
        options: Options,
        calibration: np.ndarray | None,
    ) -> None:
        """Writes the encoder, and what else the format wants beside it.

        Args:
            networks: What is exported.
            path: The file or directory to write, of the name `file`.
            options: How it is called, as `heeded` gives them.
            calibration: (M, S, S, 3) float32 in [0, 1], see `calibration`.

        Raises:
            InputError: The arguments do not fit each other.
            ConversionError: The encoder has an operation that the format lacks.
        """

    @abc.abstractmethod
    def code(self, entry: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> str:
        """A Python program for the model card that calls the artefact.

        It runs in the export directory, reads image.jpg (of other channels than 1
        and 3 image.npy), and leaves `representation`.

        Args:
            entry: The artefact's entry of the manifest: path, signatures, class_names.
            preprocessing: How an image becomes the encoder's input, likewise.
        """

    def calls(self, classifies: bool) -> tuple[Call, ...]:
        """The calls that prove an artefact.

        Args:
            classifies: Whether it has a classifier.
        """
        outputs = ("representation",) + ("probabilities",) * classifies
        return (Call("serving_default", "views", outputs),)

    def heeded(self, options: Options) -> Options:
        """The options as this format has them: those it does not heed are unset."""
        return Options(**{name: getattr(options, name) for name in self.heeds})

    def check_installed(self) -> None:  # noqa: B027  (most need nothing)
        """Raises InputError where a package that `write` needs is not installed."""


@dataclasses.dataclass(frozen=True)
class Artefact:
    """One artefact as it was written, and how it is called.

    Attributes:
        path: The file or the directory.
        format: Which it is.
        options: How it is called.
        class_names: What its probabilities mean; None without a classifier.
    """

    path: pathlib.Path
    format: Format
    options: Options = Options()
    class_names: tuple[str, ...] | None = None

    @property
    def size_bytes(self) -> int:
        """Of the file, or of all files of the directory."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())
