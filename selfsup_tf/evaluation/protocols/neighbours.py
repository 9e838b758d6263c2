"""A picture of images, each beside the nearest ones; it has no numbers."""

import dataclasses

from selfsup_tf.evaluation.beside import BesideFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.labelled import measured_on
from selfsup_tf.evaluation.protocol import Protocol, Result


@dataclasses.dataclass(frozen=True)
class NeighboursFlags(BesideFlags):
    """A picture: images, each beside the nearest ones. Needs no labels."""

    queries: int = 8
    """Rows."""
    hits: int = 7
    """Neighbours in a row."""
    seed: int = 0
    """Chooses the images."""


class Neighbours(Protocol):
    title = "Nearest neighbours"
    flags = NeighboursFlags
    order = 90
    measured_by_report = True
    lead = "The nearest images by cosine: what the encoder takes to be alike."

    def run(self, judged: Judged, flags: NeighboursFlags) -> Result:
        from selfsup_tf.evaluation.measures.neighbours import neighbour_gallery

        encoders = judged.encoders(untrained=False)
        seen, unseen = judged.open_pair()
        pictures = {}
        for name, make in encoders.items():
            picture, title = judged.picture(name), self.title
            neighbour_gallery(
                make(),
                seen,
                unseen,
                picture,
                queries=min(flags.queries, unseen.size),
                hits=min(flags.hits, seen.size - (seen is unseen)),
                seed=flags.seed,
                cache=judged.cache,
            )
            pictures[picture.name] = title if not pictures else f"{title} by {name}"
        return judged.result(
            self.title,
            measured_on=measured_on(train=seen, test=unseen),
            details={name: {} for name in encoders},
            pictures=pictures,
        )


PROTOCOL = Neighbours()
