"""TFLite (LiteRT) files for phones, boards and browsers, in six precisions."""

import dataclasses

from selfsup_tf.exporting.format import PROBES, Format, Threshold

_CALL = """\
runner = Interpreter(model_path="{path}").get_signature_runner()
found = runner({name}=images)"""
_CALIBRATE = (
    "Calibrate on more images, and on such as the encoder was trained on; leave the "
    "layers that lose most in float (--keep_float); or take float16."
)


@dataclasses.dataclass(eq=False, kw_only=True)
class TFLite(Format):
    """The encoder as a TFLite file of one precision.

    `quantisation.tflite_file` says what each is.

    Args:
        precision: float32, float16, dynamic, int8, uint8 or int16x8.
        threshold: How far it may stray.
        calibration: Which images it is calibrated on.
        groups: The words beside its own that stand for it.
        advice: What helps where it strays.
    """

    precision: str
    threshold: Threshold
    calibration: str = "none"
    groups: tuple[str, ...] = ()
    advice: str = Format.advice
    probe = PROBES / "litert_probe.py"
    packages = ("ai-edge-litert",)
    order = 10

    def __post_init__(self):
        self.word = f"tflite_{self.precision}"
        self.groups = (*self.groups, self.precision)
        self.file = f"encoder_{self.precision}.tflite"
        self.heeds = ("uint8_input", "l2_normalize", "batch", "exif")
        if self.precision in ("int8", "uint8"):
            self.heeds += ("keep_float",)

    def heeded(self, options):
        """Those of its precision; a uint8 file takes no other images."""
        heeded = super().heeded(options)
        if self.precision == "uint8":
            return dataclasses.replace(heeded, uint8_input=True)
        return heeded

    def write(self, networks, path, *, options, calibration):
        """Writes what `quantisation.tflite_file.write_tflite` says."""
        from selfsup_tf.exporting.quantisation.tflite_file import write_tflite

        write_tflite(
            networks,
            path,
            precision=self.precision,
            options=options,
            calibration=calibration,
        )

    def code(self, entry, preprocessing):
        """Calls the file by its signature."""
        from selfsup_tf.exporting.usage import image_program

        return image_program(
            entry,
            preprocessing,
            imports="from ai_edge_litert.interpreter import Interpreter",
            call=_CALL,
        )


FORMAT = (
    TFLite(precision="float32", threshold=Threshold(0.9999), groups=("tflite",)),
    # Weights of 11 significant bits: a relative error below 0.0003 for each.
    TFLite(precision="float16", threshold=Threshold(0.999), groups=("tflite",)),
    # Activations of 8 bits as well as weights, whose range a few images or the batch
    # decide. Such errors turn the answer where two classes are nearly as probable.
    TFLite(
        precision="dynamic",
        threshold=Threshold(0.98, agreement=0.9),
        advice="Export tflite_float16, or tflite_int8, which is calibrated, instead.",
    ),
    TFLite(
        precision="int8",
        threshold=Threshold(0.98, agreement=0.9),
        calibration="typical",
        groups=("tflite",),
        advice=_CALIBRATE,
    ),
    TFLite(
        precision="uint8",
        threshold=Threshold(0.98, agreement=0.9),
        calibration="typical",
        advice=_CALIBRATE,
    ),
    # Weights of 8 bits for a channel err by about 0.8 % of their deviation, layer upon
    # layer; activations of 16 bits add nothing to that.
    TFLite(
        precision="int16x8",
        threshold=Threshold(0.995, agreement=0.9),
        calibration="all",
        advice=_CALIBRATE,
    ),
)
