"""A picture of images beside the views that the run learned from; it has no numbers."""

import dataclasses

from selfsup_tf.errors import check
from selfsup_tf.evaluation.flags import ImageFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.labelled import measured_on
from selfsup_tf.evaluation.protocol import Protocol, Result


@dataclasses.dataclass(frozen=True)
class ViewsFlags(ImageFlags):
    """A picture: images beside the views that the run learned from."""


class Views(Protocol):
    title = "Images and their views"
    flags = ViewsFlags
    order = 110
    measured_by_report = True
    lead = (
        "Images, and what training makes of them. Two views of an image must stay the "
        "same thing to you, or they can't to the encoder."
    )

    def run(self, judged: Judged, flags: ViewsFlags) -> Result:
        from selfsup_tf.data.preview import preview_views

        images = judged.open_source()
        check(
            judged.config is not None,
            f"the config.json of a run in {judged.run}",
            "none",
            "Only a run that was trained here knows its views.",
        )
        picture = judged.file(".png")
        preview_views(images, judged.config, picture, seed=judged.config.seed)
        return judged.result(
            self.title,
            measured_on=measured_on(images=images),
            pictures={picture.name: self.title},
            weights_hash=None,
        )


PROTOCOL = Views()
