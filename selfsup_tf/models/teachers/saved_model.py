"""An encoder in a SavedModel: ours, or one of anybody's with a fitting signature."""

import pathlib
from typing import Any

import keras
import tensorflow as tf

from selfsup_tf.errors import InputError, check
from selfsup_tf.files import digest
from selfsup_tf.models.teacher import Teacher, TeacherKind, make_teacher, side_of

_FILE = "saved_model.pb"


class SavedModelEncoder(keras.layers.Layer):
    """A layer that calls a signature of a SavedModel.

    It is not registered with Keras: a .keras file that holds one is not loaded, since a
    SavedModel is a program.

    Args:
        place: Its directory.
        signature: The signature's name.
        sha256: Of its files.
    """

    def __init__(self, place: str, signature: str, sha256: str, **kwargs: Any):
        super().__init__(**{"trainable": False} | kwargs)
        self.place, self.signature, self.sha256 = place, signature, sha256
        self._loaded = tf.saved_model.load(place)
        self._function = self._loaded.signatures[signature]
        self._input, self._output = _ends(self._function)

    def call(self, images):
        """Images, (N, S, S, 3) in [0, 1], to what the signature gives of them."""
        return self._function(**{self._input: images})[self._output]

    def get_config(self):
        """The constructor's arguments."""
        names = ("place", "signature", "sha256")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _ends(function) -> tuple[str, str]:
    """The names of a signature's one input and of the output to take."""
    (name,) = function.structured_input_signature[1]
    outputs = list(function.structured_outputs)
    wanted = "representation" if "representation" in outputs else outputs[0]
    return name, wanted


def _image_sides(function) -> tuple[int | None, int | None] | None:
    """Height and width of the float images that a signature takes; None of others."""
    specs = list(function.structured_input_signature[1].values())
    outputs = function.structured_outputs
    if len(specs) != 1 or not ("representation" in outputs or len(outputs) == 1):
        return None
    (spec,) = specs
    fits = spec.dtype == tf.float32 and spec.shape.rank == 4 and spec.shape[3] == 3
    return (spec.shape[1], spec.shape[2]) if fits else None


def _open(name: str, size: int | None, layer: str | None) -> Teacher:
    path = pathlib.Path(name).expanduser()
    check(layer is None, f"{name} as it is", f"#{layer}", "Leave #LAYER out.")
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # whatever a damaged file makes TensorFlow raise
        said = str(error).partition("\n")[0]
        raise InputError(f"a SavedModel in {name}", said, "Export it again.") from error
    taking = {key: _image_sides(one) for key, one in loaded.signatures.items()}
    fitting = {key: sides for key, sides in taking.items() if sides is not None}
    check(
        bool(fitting),
        f"a signature of {name} from float32 images in [0, 1], (N, S, S, 3), to one "
        "output, or to one that is called representation",
        ", ".join(
            f"{key} of {[str(s) for s in one.structured_input_signature[1].values()]}"
            for key, one in loaded.signatures.items()
        )
        or "no signature",
        "Export it with such a one.",
    )
    # A signature of one size is the network itself; one of any size resizes first.
    chosen = min(fitting, key=lambda key: (None in fitting[key], key))
    side = side_of(name, fitting[chosen][0], size)
    images = keras.Input((side, side, 3), name="image")
    layer = SavedModelEncoder(str(path), chosen, digest(path), name="saved_model")
    network = keras.Model(images, layer(images))
    said = name + (f"@{size}" if size else "")
    return make_teacher(said, network)


TEACHER = TeacherKind(
    takes="a SavedModel",
    recognises=lambda name: (pathlib.Path(name).expanduser() / _FILE).is_file(),
    open=_open,
    turn=0,
)
