"""An encoder in an ONNX file, which onnxruntime runs on the CPU."""

import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.commands import installing
from selfsup_tf.errors import InputError, check
from selfsup_tf.files import digest
from selfsup_tf.models.teacher import Teacher, TeacherKind, make_teacher, side_of


class OnnxEncoder(keras.layers.Layer):
    """A layer that runs an ONNX file; no gradient passes it, and XLA can't compile it.

    Args:
        place: The file.
        sha256: Of the file.
    """

    def __init__(self, place: str, sha256: str, **kwargs: Any):
        super().__init__(**{"trainable": False} | kwargs)
        self.place, self.sha256 = place, sha256
        self._session = _load(place)
        (self._images,) = self._session.get_inputs()
        outputs = {output.name: output for output in self._session.get_outputs()}
        self._output = outputs.get("representation", next(iter(outputs.values())))

    @property
    def channels_first(self) -> bool:
        """Whether it takes (N, 3, S, S), as files of PyTorch do."""
        return self._images.shape[1] == 3 and self._images.shape[3] != 3

    @property
    def side(self) -> int | None:
        """The height of its images, where the file fixes it."""
        height = self._images.shape[2 if self.channels_first else 1]
        return height if isinstance(height, int) else None

    def call(self, images):
        """Images, (N, S, S, 3) in [0, 1], to what the file gives of them."""
        found = tf.numpy_function(self._run, [images], tf.float32, stateful=False)
        sizes = [size if isinstance(size, int) else None for size in self._output.shape]
        found.set_shape([images.shape[0], *sizes[1:]])
        return found

    def _run(self, images: np.ndarray) -> np.ndarray:
        if self.channels_first:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        batch = self._images.shape[0]
        step = batch if isinstance(batch, int) else max(1, len(images))
        parts = [images[i : i + step] for i in range(0, len(images), step)]
        names = [self._output.name]
        found = [self._session.run(names, {self._images.name: part}) for part in parts]
        return np.concatenate([part for (part,) in found]).astype(np.float32)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "place": self.place, "sha256": self.sha256}


def _load(path: str):
    """An onnxruntime session of the file.

    Raises:
        InputError: onnxruntime is missing, or can't read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "the package onnxruntime, which runs ONNX files",
            f"{error}",
            f"Install it: {installing('onnx')}",
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own kinds, none of which it exports
        said = str(error).partition("\n")[0]
        raise InputError(f"an ONNX file at {path}", said, "Export it again.") from error


def _open(name: str, size: int | None, layer: str | None) -> Teacher:
    path = pathlib.Path(name).expanduser()
    check(path.is_file(), f"an ONNX file at {path}", "no file", "Check the path.")
    check(layer is None, f"{name} as it is", f"#{layer}", "Leave #LAYER out.")
    inputs = _load(str(path)).get_inputs()
    fits = len(inputs) == 1 and inputs[0].type == "tensor(float)"
    shape = inputs[0].shape if fits else ()
    batch = shape[0] if shape else None
    check(
        len(shape) == 4
        and 3 in (shape[1], shape[3])
        and batch in (1, None, str(batch)),
        f"one input of {name}, float32 images in [0, 1], (N, S, S, 3) or (N, 3, S, S), "
        "with N free or 1",
        ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs),
        "Export the encoder with such an input.",
    )
    encoder = OnnxEncoder(str(path), digest(path), name="onnx")
    side = side_of(name, encoder.side, size)
    images = keras.Input((side, side, 3), name="image")
    said = name + (f"@{size}" if size else "")
    return make_teacher(said, keras.Model(images, encoder(images)), compiles=False)


TEACHER = TeacherKind(
    takes="an .onnx file",
    recognises=lambda name: name.lower().endswith(".onnx"),
    open=_open,
    turn=0,
)
