"""SavedModel: for servers, and for fine-tuning in TensorFlow."""

from selfsup_tf.exporting.format import (
    PROBES,
    Call,
    Format,
    Threshold,
    possible_calls,
)

_CODE = """\
import tensorflow as tf

loaded = tf.saved_model.load("{path}")
with open("image.jpg", "rb") as file:
    contents = tf.constant([file.read()])
found = loaded.signatures["serve_bytes"](image_bytes=contents)
representation = found["representation"].numpy()"""
_CLASSIFY = """
found = loaded.signatures["classify_bytes"](image_bytes=contents)
label = found["label"].numpy()[0].decode()"""

_ARRAY_CODE = """\
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load("{path}")
images = tf.constant(np.load("image.npy")[None])
found = loaded.signatures["serving_default"](images=images)
representation = found["representation"].numpy()"""
_ARRAY_CLASSIFY = """
found = loaded.signatures["classify"](images=images)
label = found["label"].numpy()[0].decode()"""


class SavedModel(Format):
    """A directory whose signatures take images of any size, files too."""

    word = "saved_model"
    file = "saved_model"
    probe = PROBES / "saved_model_probe.py"
    # The same float32 arithmetic in another order.
    threshold = Threshold(0.9999)
    heeds = ("exif",)
    order = 0

    def write(self, networks, path, *, options, calibration):
        """Writes what `served.export_saved_model` says, and files for TF Serving."""
        from selfsup_tf.exporting.served import export_saved_model
        from selfsup_tf.exporting.serving import write_serving_files

        export_saved_model(networks, path, exif=options.exif)
        write_serving_files(
            path,
            size=networks.size,
            channels=networks.channels,
            calls=possible_calls(
                self.calls(networks.classifier is not None), networks.channels
            ),
        )

    def calls(self, classifies):
        """Every signature, each with what it takes."""
        of_encoder = (
            Call("serving_default", "images"),
            Call("serve_float", "floats"),
            Call("serve_bytes", "files"),
        )
        of_classifier = (
            Call("classify", "images", ("probabilities",)),
            Call("classify_bytes", "files", ("probabilities",)),
        )
        native = (Call("raw", "views"),)
        return of_encoder + (of_classifier if classifies else ()) + native

    def code(self, entry, preprocessing):
        """Takes a file as it is, or an array of other channels: the view is inside."""
        in_files = "serve_bytes" in entry["signatures"]
        code = (_CODE if in_files else _ARRAY_CODE).format(path=entry["path"])
        if entry["class_names"]:
            code += _CLASSIFY if in_files else _ARRAY_CLASSIFY
        return code


FORMAT = SavedModel()
