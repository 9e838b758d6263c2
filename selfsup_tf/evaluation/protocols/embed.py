"""Writes the representation of every image to a file."""

import dataclasses

from selfsup_tf.evaluation.flags import EncoderFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.protocol import Protocol


@dataclasses.dataclass(frozen=True)
class EmbedFlags(EncoderFlags):
    """Writes the representation of every image to a file, one batch at a time."""

    output: str = ""
    """A .npz, .parquet or .csv file; RUN_DIR/embeddings.parquet if it is left out."""
    split: str = "train"
    """Which part of the data."""
    normalise: bool = False
    """Whether the vectors are of length 1."""
    overwrite: bool = False
    """Whether a file that is there is replaced."""


class Embed(Protocol):
    title = "Embeddings"
    flags = EmbedFlags
    order = 130

    def run(self, judged: Judged, flags: EmbedFlags) -> None:
        from selfsup_tf.evaluation.measures.embeddings import embed

        if not flags.output:
            judged.check_place()
        found = embed(
            judged.encoder,
            judged.open_source(flags.split),
            flags.output or judged.run.embeddings,
            normalise=flags.normalise,
            overwrite=flags.overwrite,
        )
        print(f"{found.count} vectors of {found.size} numbers: {found.path}")


PROTOCOL = Embed()
