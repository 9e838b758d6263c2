"""How far each format may stray from its encoder."""

import dataclasses
from collections.abc import Mapping

from selfsup_tf.errors import check, nearest
from selfsup_tf.exporting.artefact import FORMATS


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


THRESHOLDS = {
    # The same float32 arithmetic in another order.
    "saved_model": Threshold(0.9999),
    "tflite_float32": Threshold(0.9999),
    "onnx": Threshold(0.9999),
    # Weights of 11 significant bits: a relative error below 0.0003 for each.
    "tflite_float16": Threshold(0.999),
    # Weights of 8 bits for a channel err by about 0.8 % of their deviation, layer upon
    # layer; activations of 16 bits add nothing to that.
    "tflite_int16x8": Threshold(0.995, agreement=0.9),
    # Activations of 8 bits as well, whose range a few images or the batch decide. Such
    # errors turn the answer where two classes are nearly as probable.
    "tflite_dynamic": Threshold(0.98, agreement=0.9),
    "tflite_int8": Threshold(0.98, agreement=0.9),
    "tflite_uint8": Threshold(0.98, agreement=0.9),
}
"""Of each format. An artefact below its threshold is not exported."""


def override_thresholds(
    cosine: Mapping[str, float] | None = None,
    knn_loss: Mapping[str, float] | None = None,
    agreement: Mapping[str, float] | None = None,
) -> dict[str, Threshold]:
    """`THRESHOLDS` with other numbers for some formats.

    Args:
        cosine: {format: least mean cosine, in [-1, 1]}.
        knn_loss: {format: points of k-NN accuracy that may be lost, 0 to 100}.
        agreement: {format: least share of the encoder's classes, 0 to 1}.

    Raises:
        InputError: An unknown format, or a number outside its range.
    """
    thresholds = dict(THRESHOLDS)
    for field, low, high, values in (
        ("cosine", -1, 1, cosine or {}),
        ("knn_loss", 0, 100, knn_loss or {}),
        ("agreement", 0, 1, agreement or {}),
    ):
        for name, value in values.items():
            check(
                name in THRESHOLDS,
                "a format with a threshold",
                repr(name),
                nearest(str(name), FORMATS),
            )
            check(
                low <= value <= high,
                f"a threshold of {field} from {low} to {high} for {name}",
                value,
                f"It is {getattr(THRESHOLDS[name], field)} unless overridden.",
            )
            thresholds[name] = dataclasses.replace(thresholds[name], **{field: value})
    return thresholds
