"""A network of keras.applications with its ImageNet weights."""

import keras

from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import check, check_one_of
from selfsup_tf.models.encoders import application_modules, build_encoder
from selfsup_tf.models.teacher import Teacher, TeacherKind, make_teacher

PREFIX = "imagenet:"

SIZES = {
    "InceptionResNetV2": 299,
    "InceptionV3": 299,
    "NASNetLarge": 331,
    "Xception": 299,
    **dict(
        zip(
            (f"EfficientNetB{n}" for n in range(8)),
            (224, 240, 260, 300, 380, 456, 528, 600),
            strict=True,
        )
    ),
    **dict(
        zip(
            (f"EfficientNetV2{n}" for n in ("B1", "B2", "B3", "S", "M", "L")),
            (240, 260, 300, 384, 480, 480),
            strict=True,
        )
    ),
}
"""Height and width that keras.applications has for its networks; 224 for the others."""


def _open(name: str, size: int | None, layer: str | None) -> Teacher:
    modules = application_modules()
    asked = name.removeprefix(PREFIX)
    known = {network.lower(): network for network in modules}.get(asked.lower(), asked)
    check_one_of(known, modules, "imagenet:NAME, a network of keras.applications")
    check(
        layer is None,
        f"{PREFIX}{known} up to its pooling",
        f"#{layer}",
        "Save the network, cut as you want it, and name the .keras file.",
    )
    config = EncoderConfig(name=known, weights="imagenet")
    network = build_encoder(config, size or SIZES.get(known, 224))
    said = f"{PREFIX}{known}" + (f"@{size}" if size else "")
    version = f"keras.applications of Keras {keras.__version__}"
    return make_teacher(said, network, notes=(f"{said} is that of {version}.",))


TEACHER = TeacherKind(
    takes="imagenet:NAME of keras.applications",
    recognises=lambda name: name.startswith(PREFIX),
    open=_open,
    turn=0,
)
