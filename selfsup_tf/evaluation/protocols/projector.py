"""Writes vectors and thumbnails as TensorBoard's projector reads them."""

import dataclasses
import shlex

from selfsup_tf.evaluation.flags import EncoderFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.naming import options_of
from selfsup_tf.evaluation.protocol import Protocol


@dataclasses.dataclass(frozen=True)
class ProjectorFlags(EncoderFlags):
    """Files for TensorBoard's embedding projector."""

    count: int = 2000
    """Images."""
    seed: int = 0
    """Chooses the images."""


class Projector(Protocol):
    title = "Projector"
    flags = ProjectorFlags
    order = 140

    def run(self, judged: Judged, flags: ProjectorFlags) -> None:
        from selfsup_tf.evaluation.measures.projector_files import write_projector

        directory = judged.file("")
        encoder, images = judged.encoder, judged.open_pair()[1]
        write_projector(encoder, images, directory, **options_of(flags))
        print(f"To look at it: tensorboard --logdir={shlex.quote(str(directory))}")


PROTOCOL = Projector()
