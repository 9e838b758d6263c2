"""ONNX, for runtimes that know neither TensorFlow nor LiteRT."""

from selfsup_tf.exporting.format import PROBES, Format, Threshold

_CALL = """\
session = onnxruntime.InferenceSession("{path}")
names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(names, {{"{name}": images}})))"""


class Onnx(Format):
    """One ONNX file, which takes any number of images."""

    word = "onnx"
    file = "encoder.onnx"
    probe = PROBES / "onnx_probe.py"
    # The same float32 arithmetic in another order.
    threshold = Threshold(0.9999)
    heeds = ("uint8_input", "l2_normalize", "exif")
    packages = ("onnxruntime", "onnx", "tf2onnx")
    order = 20

    def check_installed(self):
        """Raises InputError without the extra `onnx`."""
        from selfsup_tf.exporting.onnx_file import import_onnx

        import_onnx()

    def write(self, networks, path, *, options, calibration):
        """Writes what `onnx_file.write_onnx` says."""
        from selfsup_tf.exporting.onnx_file import write_onnx

        write_onnx(networks, path, options=options)

    def code(self, entry, preprocessing):
        """Calls the file in onnxruntime."""
        from selfsup_tf.exporting.usage import image_program

        return image_program(
            entry, preprocessing, imports="import onnxruntime", call=_CALL
        )


FORMAT = Onnx()
