"""What an artefact is: a file or directory that a runtime loads without this package.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import dataclasses
import pathlib

TFLITE_PRECISIONS = ("float32", "float16", "dynamic", "int8", "uint8", "int16x8")
TFLITE = {f"tflite_{precision}": precision for precision in TFLITE_PRECISIONS}
FORMATS = ("saved_model", *TFLITE, "onnx")


@dataclasses.dataclass(frozen=True)
class Options:
    """How the artefacts are called, the same for every format that can.

    Attributes:
        batch: Images a call of a TFLite file takes; None where that is free.
        uint8_input: Whether TFLite and ONNX files take uint8 images, 0 to 255, in
            place of float32 in [0, 1]. `tflite_uint8` always does.
        l2_normalize: Whether the representations of TFLite and ONNX files have
            length 1.
        keep_float: Layers that int8 leaves in float32.
    """

    batch: int | None = None
    uint8_input: bool = False
    l2_normalize: bool = False
    keep_float: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Artefact:
    """One artefact as it was written, and how it is called.

    Attributes:
        path: The file or, for saved_model, the directory.
        format: Of `FORMATS`.
        options: How it is called.
        class_names: What its probabilities mean; None without a classifier.
    """

    path: pathlib.Path
    format: str
    options: Options = Options()
    class_names: tuple[str, ...] | None = None

    @property
    def precision(self) -> str:
        """What it computes in: float32, or the part of its format after tflite_."""
        return TFLITE.get(self.format, "float32")

    @property
    def takes_uint8(self) -> bool:
        """Whether its images are uint8, 0 to 255 (a SavedModel takes either)."""
        return self.options.uint8_input or self.format == "tflite_uint8"

    @property
    def size_bytes(self) -> int:
        """Of the file, or of all files of the directory."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())
