"""Flags that protocols of `eval.py` share; each protocol extends one of these."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """Which run; what is said here is what --help says."""

    run_dir: str
    """Directory of the run, or a .keras file."""


@dataclasses.dataclass(frozen=True)
class ImageFlags(RunFlags):
    """Which run, and which images."""

    data: str | None = None
    """Images, in place of the run's own: a folder, an .npz file, a TFDS name."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    labels: bool | None = None
    """Whether labels are read, such as the names of sub-folders; as the run did, where
    it is left out."""
    exif: bool = True
    """Whether photographs are turned upright, if the run turned its own."""


@dataclasses.dataclass(frozen=True)
class EncoderFlags(ImageFlags):
    """Which run, which images, and which encoder of the run."""

    encoder: Literal["last", "best"] = "last"
    """Which encoder of the run; best is by the online k-NN, or by RankMe where there
    are no labels."""
