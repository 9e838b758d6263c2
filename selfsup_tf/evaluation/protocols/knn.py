"""k-NN: accuracy by the labels of nearest neighbours; details are a `KnnResult`."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from selfsup_tf.evaluation.labelled import (
    ClassifierFlags,
    Classifying,
    accuracy_rows,
    format_with_classes,
    judge_labelled,
    upgrade_labelled,
)
from selfsup_tf.evaluation.protocol import Result
from selfsup_tf.evaluation.text import format_rows

if TYPE_CHECKING:
    from selfsup_tf.evaluation.judged import Judged


@dataclasses.dataclass(frozen=True)
class KnnFlags(ClassifierFlags):
    """Accuracy by the labels of an image's nearest neighbours; nothing is trained."""

    preset: Literal["lightly", "solo-learn"] = "lightly"
    """Whose settings: lightly's k of 200 and T of 0.1, or solo-learn's 20 and 0.07."""
    k: int | None = None
    """Neighbours that vote; the preset's, or all of a smaller bank."""
    temperature: float | None = None
    """T of their weights exp(cosine / T)."""


class Knn(Classifying):
    """See `selfsup_tf.evaluation.knn`."""

    title = "k-NN"
    flags = KnnFlags
    order = 10
    measured_by_report = True

    def run(self, judged: "Judged", flags: KnnFlags) -> Result:
        """Judges the encoder, and the same network untrained."""
        from selfsup_tf.evaluation.knn import knn

        options = {"k": flags.k, "temperature": flags.temperature}
        measure = functools.partial(knn, preset=flags.preset, **options)
        return judge_labelled(
            self, judged, measure, accuracy_rows, untrained=flags.untrained
        )

    def text(self, result: Result, flags: KnnFlags) -> str:
        """The table of its rows, under the k and T that were taken."""
        found = result.details["trained"]
        text = format_rows(result, {"": head(found)})
        return format_with_classes(text, found, flags)

    def upgrade(self, name: str, values: Mapping[str, Any]) -> Result:
        """A knn.json of before there was one form."""
        return upgrade_labelled(self, name, values)


def head(found: Mapping[str, Any]) -> str:
    """The k and T that were taken, such as knn (k=200, temperature=0.1)."""
    return f"knn (k={found['k']}, temperature={found['temperature']})"


PROTOCOL = Knn()
