"""A map of images; details are of `EmbeddingMap.to_dict`, and the thumbnails' file."""

import dataclasses
from typing import Literal

from selfsup_tf.evaluation.beside import BesideFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.labelled import described
from selfsup_tf.evaluation.naming import options_of
from selfsup_tf.evaluation.protocol import Protocol, Result


@dataclasses.dataclass(frozen=True)
class MapFlags(BesideFlags):
    """A picture: images laid out in the plane by what the encoder takes to be alike."""

    method: Literal["tsne", "pca"] = "tsne"
    """How the plane is found."""
    count: int = 1500
    """Images."""
    seed: int = 0
    """Chooses the images and starts t-SNE."""


class Map(Protocol):
    title = "Map"
    flags = MapFlags
    order = 100
    measured_by_report = True
    lead = (
        "Each point is an image; those that the encoder takes to be alike lie close "
        "together. Distances between far groups mean little."
    )
    template = "map.html.jinja"

    def run(self, judged: Judged, flags: MapFlags) -> Result:
        from selfsup_tf.evaluation.measures.embedding_map import embedding_map
        from selfsup_tf.evaluation.measures.map_picture import FEW, write_map

        encoders, images = judged.encoders(untrained=False), judged.open_pair()[1]
        alone = judged.given is None and not judged.has_test_split
        if images.size < FEW and alone:
            images = judged.open_source()  # all of them, of which these were a fifth
        options, found, pictures = options_of(flags), {}, {}
        for name, make in encoders.items():
            picture = judged.picture(name)
            one = embedding_map(make(), images, cache=judged.cache, **options)
            thumbnails = write_map(one, picture).name
            found[name] = one.to_dict() | {"thumbnails": thumbnails}
            by = f" by {name}" if pictures else ""
            pictures[picture.name] = f"Map of {len(one.positions)} images{by}"
            count = len(one.positions)
        return judged.result(
            self.title,
            measured_on={"images": described(images, count)},
            details=found,
            pictures=pictures,
        )


PROTOCOL = Map()
