"""The flags of each protocol of `eval.py`; what is said here is what --help says."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """Which run, and which images."""

    run_dir: str
    """Directory of the run, or a .keras file."""
    data: str | None = None
    """Images, in place of the run's own: a folder, an .npz file, a TFDS name."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    encoder: Literal["last", "best"] = "last"
    """Which encoder of the run; best is by the online k-NN, or by RankMe where there
    are no labels."""


@dataclasses.dataclass(frozen=True)
class LabelledFlags(RunFlags):
    """A protocol that compares with labels."""

    untrained: bool = True
    """Whether the same network is judged untrained, beside it."""


@dataclasses.dataclass(frozen=True)
class ClassifierFlags(LabelledFlags):
    """A protocol that classifies."""

    classes: bool = False
    """Whether precision, recall and F1 of every class are printed, too."""


@dataclasses.dataclass(frozen=True)
class KnnFlags(ClassifierFlags):
    """Accuracy by the labels of an image's nearest neighbours; nothing is trained."""

    preset: Literal["lightly", "solo-learn"] = "lightly"
    """Whose settings: lightly's k of 200 and T of 0.1, or solo-learn's 20 and 0.07."""
    k: int | None = None
    """Neighbours that vote; the preset's, or all of a smaller bank."""
    temperature: float | None = None
    """T of their weights exp(cosine / T)."""


@dataclasses.dataclass(frozen=True)
class LinearFlags(ClassifierFlags):
    """Accuracy of a linear classifier on the frozen encoder."""

    preset: Literal["lbfgs", "simclr", "byol"] = "lbfgs"
    """lbfgs: on stored representations, minutes; simclr and byol: the papers', SGD on
    fresh crops and flips, hours."""
    epochs: int | None = None
    """simclr, byol: passes over the images, 90 and 80."""
    learning_rate: float | None = None
    """simclr, byol: per 256 images, 0.1 and 0.2."""
    weight_decay: float | None = None
    """simclr, byol: 1e-6 and 0."""
    batch_size: int = 256
    """simclr, byol: images in a step; the papers' are 4096 and 1024."""
    seed: int = 0
    """Of the split that chooses the penalty (lbfgs), or of order and crops."""


@dataclasses.dataclass(frozen=True)
class RetrievalFlags(LabelledFlags):
    """How many of the images found for an image are of its class: recall@k and mAP."""

    gallery: Literal["train", "test"] = "train"
    """Where is looked: in the training images, or among the other test images."""
    ranks: tuple[int, ...] = (1, 5, 10)
    """The k of recall@k."""


@dataclasses.dataclass(frozen=True)
class RobustnessFlags(LabelledFlags):
    """Accuracy under blur, noise, JPEG and brightness, each in five strengths."""

    classifier: Literal["knn", "linear"] = "knn"
    """What judges; it learns from clean images alone."""
    corruptions: tuple[str, ...] = ("blur", "noise", "jpeg", "brightness")
    """Which of them."""
    seed: int = 0
    """Of the noise."""


@dataclasses.dataclass(frozen=True)
class TransferFlags(ClassifierFlags):
    """k-NN and linear accuracy on other labelled images than the run learned from."""

    data: str = dataclasses.field()  # required, unlike that of the other protocols
    """The other images: a folder, an .npz file, a TFDS name."""


@dataclasses.dataclass(frozen=True)
class FinetuneFlags(RunFlags):
    """Accuracy after fine-tuning on all labels or a fraction of them.

    The training is a run of its own below RUN_DIR/eval; the same command resumes it.
    """

    fraction: float = 1.0
    """Share of the labels, the same of every class, drawn by the seed."""
    epochs: float | None = None
    """Passes over the labelled images; 60 for 1 % or less, else 30."""
    batch_size: int = 64
    """Images in a step."""
    learning_rate: float = 0.2
    """Per 256 images; Nesterov SGD, cosine, no warm-up."""
    from_scratch: bool = True
    """Whether the same network is trained on the same labels from fresh weights."""
    seed: int = 0
    """Of labels, order and crops."""
    classes: bool = False
    """Whether precision, recall and F1 of every class are printed, too."""


@dataclasses.dataclass(frozen=True)
class AccuracyFlags(RunFlags):
    """Accuracy of the classifier that finetune or distill left in a run."""

    classes: bool = False
    """Whether precision, recall and F1 of every class are printed, too."""


@dataclasses.dataclass(frozen=True)
class HealthFlags(RunFlags):
    """Whether the representations have collapsed, without labels, and why it is said.

    RankMe, alignment and uniformity, spread, spectrum, cosines of positives and
    negatives, on images of the run drawn as it learned from them.
    """

    count: int = 4096
    """Images that are looked at."""
    seed: int = 0
    """Of their views."""
    untrained: bool = True
    """Whether the same network is measured untrained, beside it in health.json."""


@dataclasses.dataclass(frozen=True)
class NeighboursFlags(RunFlags):
    """A picture: images, each beside the nearest ones. Needs no labels."""

    queries: int = 8
    """Rows."""
    hits: int = 7
    """Neighbours in a row."""
    seed: int = 0
    """Chooses the images."""


@dataclasses.dataclass(frozen=True)
class MapFlags(RunFlags):
    """A picture: images laid out in the plane by what the encoder takes to be alike."""

    method: Literal["tsne", "pca"] = "tsne"
    """How the plane is found."""
    count: int = 1500
    """Images."""
    seed: int = 0
    """Chooses the images and starts t-SNE."""


@dataclasses.dataclass(frozen=True)
class ViewsFlags(RunFlags):
    """A picture: images beside the views that the run learned from."""


@dataclasses.dataclass(frozen=True)
class EmbedFlags(RunFlags):
    """Writes the representation of every image to a file, one batch at a time."""

    output: str = ""
    """A .npz or .parquet file; RUN_DIR/embeddings.parquet if it is left out."""
    split: str = "train"
    """Which part of the data."""
    normalise: bool = False
    """Whether the vectors are of length 1."""
    overwrite: bool = False
    """Whether a file that is there is replaced."""


@dataclasses.dataclass(frozen=True)
class ProjectorFlags(RunFlags):
    """Files for TensorBoard's embedding projector."""

    count: int = 2000
    """Images."""
    seed: int = 0
    """Chooses the images."""


@dataclasses.dataclass(frozen=True)
class CurvesFlags:
    """A picture: loss, rate with its warm-up, health and online k-NN over the run."""

    run_dir: str
    """Directory of the run."""


@dataclasses.dataclass(frozen=True)
class ReportFlags:
    """Everything about a run on one page, or several runs side by side.

    What has not been measured yet of health, k-NN, linear, retrieval, neighbours, map
    and views is measured first; what needs labels only where there are some.
    """

    run_dir: str | None = None
    """Directory of the run."""
    compare: tuple[str, ...] = ()
    """Directories of runs to put side by side, after --run_dir's if it is given."""
    output: str | None = None
    """The page; RUN_DIR/report.html, or comparison.html, if it is left out."""
    data: str | None = None
    """Where the run's own images are, if they have moved or were given in Python."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    measure: bool = True
    """Whether what is missing is measured; if not, the page says what is missing."""
