"""k-NN: accuracy by the labels of nearest neighbours; details are a `KnnResult`."""

import dataclasses
from typing import Literal

from selfsup_tf.evaluation.labelled import ClassifierFlags, Labelled


@dataclasses.dataclass(frozen=True)
class KnnFlags(ClassifierFlags):
    """Accuracy by the labels of an image's nearest neighbours; nothing is trained."""

    preset: Literal["lightly", "solo-learn"] = "lightly"
    """Whose settings: lightly's k of 200 and T of 0.1, or solo-learn's 20 and 0.07."""
    k: int | None = None
    """Neighbours that vote; the preset's, or as many as a class of the bank has."""
    temperature: float | None = None
    """T of their weights exp(cosine / T)."""


class Knn(Labelled):
    title = "k-NN"
    flags = KnnFlags
    order = 10
    measured_by_report = True
    function = "selfsup_tf.evaluation.measures.knn:knn"
    shown = ("k", "temperature")

    def takes_vectors(self, flags: KnnFlags) -> bool:
        return True


PROTOCOL = Knn()
