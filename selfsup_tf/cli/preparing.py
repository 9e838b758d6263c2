"""`train.py prepare`: images written once, resized, to train from them at speed."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Literal

from selfsup_tf.cli import program
from selfsup_tf.commands import spelled
from selfsup_tf.errors import check
from selfsup_tf.existing import check_named

WORD = "prepare"


@dataclasses.dataclass(frozen=True)
class PrepareFlags:
    """Writes images once, resized, to train from them at speed.

    The same command goes on where one was stopped. Then --data=OUTPUT trains, judges
    and exports like any other data; TensorFlow Datasets reads it, too.
    """

    data: str = ""
    """A folder of images, an .npz file, a TFDS name."""
    output: str = ""
    """The folder that is made."""
    size: int = 512
    """The shorter side, in pixels, that larger images are shrunk to; about twice that
    of a view keeps what a crop can show."""
    encoding: Literal["jpeg", "png"] = "jpeg"
    """How images are stored; png keeps every pixel."""
    quality: int = 95
    """Of a JPEG, 1 to 100."""
    data_dir: str | None = None
    """Where TFDS keeps its data."""
    labels: bool = True
    """Whether labels are kept where there are some, as the names of sub-folders are."""
    exif: bool = True
    """Whether photographs are turned upright, as their cameras note in EXIF."""
    channels: int | None = None
    """Channels to keep; 1 makes grey images."""

    def __post_init__(self):
        for name, example in (("data", "~/photos"), ("output", "~/photos_512")):
            there = bool(getattr(self, name))
            check(there, f"--{name}", "nothing", f"Name a folder: --{name}={example}")


def prepare(words: Sequence[str], modules: Sequence[str]) -> None:
    """`train.py prepare`: --data --output --flags."""
    flags = program.parse_flags(PrepareFlags, f"train.py {WORD}", words)
    check_named(flags, own_modules=modules)
    program.import_tensorflow(modules)
    from selfsup_tf.data import preparing

    done = preparing.prepare(**vars(flags))
    counts = " and ".join(f"{n:,} of {name}" for name, n in done.images.items())
    print(
        f"{done.folder}: {counts}, {done.size_bytes / 1e6:,.0f} MB.\n"
        f"  Learn from it:   {spelled('train')} simclr folder "
        f"--data={shlex.quote(str(done.folder))}"
    )
