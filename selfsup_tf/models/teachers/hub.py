"""An image network of keras-hub, by the name of its preset or from a folder of one."""

import pathlib
import re
from typing import Any

import keras

from selfsup_tf.commands import installing
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.models.keras_settings import computing_in
from selfsup_tf.models.teacher import Teacher, TeacherKind, make_teacher

PREFIX = "hub:"


@keras.saving.register_keras_serializable(package="selfsup_tf")
class HubEncoder(keras.layers.Layer):
    """A layer that holds a backbone of keras-hub and gives a vector for each image.

    It is a layer and not the backbone itself because a copy of a model is made layer by
    layer, and keras-hub's own layers can't all be made again from their configs.

    Args:
        backbone: The backbone, or its config as Keras serialises it.
    """

    def __init__(self, backbone: keras.Model | dict[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(backbone, dict):
            import_hub()  # registers the class
            with computing_in("float32"):  # but for what its config says
                backbone = keras.saving.deserialize_keras_object(backbone)
        self.backbone = backbone

    def call(self, images):
        """Preprocessed images, (N, S, S, 3), to h, (N, D); or to (N, h, w, D)."""
        vectors = getattr(self.backbone, "get_vision_embeddings", None)
        if vectors is not None:  # an image tower beside one of text
            return vectors(images)
        wanted = self.backbone.input
        given = {next(iter(wanted)): images} if isinstance(wanted, dict) else images
        found = self.backbone(given, training=False)
        # Transformers of images begin with the token of the whole image, which is
        # what their authors judge them by.
        return found[:, 0] if len(found.shape) == 3 and _has_token(self) else found

    def get_config(self):
        """The constructor's arguments."""
        config = keras.saving.serialize_keras_object(self.backbone)
        return {**super().get_config(), "backbone": config}


def _has_token(layer: HubEncoder) -> bool:
    """Whether the first token stands for the whole image."""
    name = type(layer.backbone).__name__
    return name.startswith(("ViT", "DeiT", "DINOV2", "DINOV3"))


def import_hub():
    """keras-hub, whose import takes seconds.

    Raises:
        InputError: It is not installed.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            "the package keras-hub, which reads its presets",
            f"{error}",
            f"Install it: {installing('hub')}",
        ) from error
    return keras_hub


def _open(name: str, size: int | None, layer: str | None) -> Teacher:
    hub, preset = import_hub(), name.removeprefix(PREFIX)
    check(layer is None, f"{name} up to its pooling", f"#{layer}", "Leave #LAYER out.")
    folder = pathlib.Path(preset).expanduser()
    is_folder = bool(preset) and folder.is_dir()
    place = str(folder) if is_folder else preset
    known = hub.models.Backbone.presets
    is_name = not is_folder and "://" not in preset
    advice = nearest(preset, known) if preset else "Name a preset."
    check(
        preset in known or not is_name,
        "hub:PRESET, a preset of keras-hub or a folder of one",
        repr(preset),
        advice,
    )
    options = {} if size is None else {"image_shape": (size, size, 3)}
    try:
        backbone = hub.models.Backbone.from_preset(place, **options)
        converter = hub.layers.ImageConverter.from_preset(place)
    except Exception as error:  # of kagglehub, requests, HDF5, Keras and its own
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"the preset {preset}, of a network of images",
            f"{type(error).__name__}: {said}",
            "Where there is no network, fetch it elsewhere, "
            f"keras_hub.models.Backbone.from_preset({preset!r}).save_to_preset(FOLDER) "
            "and keras_hub.layers.ImageConverter.from_preset(...).save_to_preset("
            "FOLDER), and name hub:FOLDER.",
        ) from error
    shape = _image_shape(backbone, converter, size)
    check(
        shape is not None,
        f"{name} to be a network of images",
        type(backbone).__name__,
        "Name a preset of one, such as hub:dinov2_small.",
    )
    images = keras.Input(shape, name="image")
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    scale = [255.0 * s for s in scale] if _is_many(scale) else 255.0 * scale
    offset = list(offset) if _is_many(offset) else offset
    x = keras.layers.Rescaling(scale, offset, dtype="float32")(images)
    network = keras.Model(images, HubEncoder(backbone, name="backbone")(x))
    said = name + (f"@{size}" if size else "")
    return make_teacher(said, network, licence=_licence(folder))


def _is_many(value) -> bool:
    return hasattr(value, "__len__")


def _image_shape(backbone, converter, size: int | None) -> tuple[int, int, int] | None:
    """(S, S, 3) of its images; None of a network that takes none."""
    tower = getattr(backbone, "vision_encoder", backbone)
    shape = getattr(tower, "image_shape", None)
    if shape is None:
        return None
    fallback = (converter.image_size or (None,))[0]
    side = size or shape[0] or fallback
    return None if side is None else (side, side, 3)


def _licence(folder: pathlib.Path) -> str | None:
    """What the card of a preset in a folder says, such as "apache-2.0"."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    text = card.read_text(errors="replace")
    found = re.search(r"^licen[cs]e:\s*(\S.*?)\s*$", text, re.M | re.I)
    return found[1] if found else None


TEACHER = TeacherKind(
    takes="hub:PRESET of keras-hub, or hub:FOLDER of one",
    recognises=lambda name: name.startswith(PREFIX),
    open=_open,
    turn=0,
)
