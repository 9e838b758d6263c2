"""Health: collapsed or not, told without labels; details are of `Health.to_dict`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.labelled import (
    ComparedFlags,
    described,
    judge_each,
    rows_beside,
)
from selfsup_tf.evaluation.protocol import Chart, Protocol, Result, Row
from selfsup_tf.evaluation.protocol import share as number

_PARTS = {"representation": ("h", ""), "projection": ("z", "projection z")}
_SHOWN = (
    (
        "RankMe",
        "rank_me",
        ".1f",
        "directions that h uses; it grows with the images looked at",
    ),
    ("directions of 99 %", "principal", "d", "of the variance of the directions"),
    ("spread", "spread", ".3f", "0 where all images are one point, at most 1"),
    ("dead dimensions", "dead", "d", "say nothing of an image"),
    ("alignment", "alignment", ".3f", "squared distance of two views; lower is closer"),
    ("uniformity", "uniformity", ".3f", "lower fills the sphere more evenly"),
    ("cosine of two views", "positive_cosine", ".3f", "of an image"),
    ("cosine of two images", "negative_cosine", ".3f", ""),
    ("contrastive loss", "contrastive_loss", ".3f", "NT-Xent"),
    ("loss by chance", "chance_loss", ".3f", "where all cosines are equal"),
)


@dataclasses.dataclass(frozen=True)
class HealthFlags(ComparedFlags):
    """Whether the representations have collapsed, without labels, and why it is said.

    RankMe, alignment and uniformity, spread, spectrum, cosines of positives and
    negatives, on images of the run drawn as it learned from them.
    """

    count: int = 4096
    """Images that are looked at."""
    seed: int = 0
    """Of their views."""


class HealthProtocol(Protocol):
    title = "Health"
    flags = HealthFlags
    order = 80
    measured_by_report = True
    lead = (
        "How the features are spread, without any labels. A collapsed encoder gives "
        "all images the same vector, or uses only a few directions of its space."
    )

    def run(self, judged: Judged, flags: HealthFlags) -> Result:
        from selfsup_tf.evaluation.measures.health import health

        encoders = judged.encoders(same_views=True)
        images, projector = judged.open_source(), judged.projector
        options = {"config": judged.config, "count": flags.count, "seed": flags.seed}

        def measure(name, encoder):
            head = projector if name == "trained" else None
            return health(encoder, images, projector=head, **options)

        found, seconds = judge_each(encoders, measure)
        first = found["trained"]
        details = {name: one.to_dict() for name, one in found.items()}
        return judged.result(
            self.title,
            rows=rows_of(details),
            measured_on={"images": described(images, first.count)},
            details=details,
            verdict=first.verdict,
            notes=tuple(first.reasons),
            seconds=seconds,
        )

    def text(self, result: Result, flags: HealthFlags) -> str:
        """The verdict, its reasons and a small table.

        ```
        healthy: 4096 images of cifar10:train, views those of the run
          99 % of the variance of h lies in 71 of 128 directions, and its spread is ...
                                     h         z
        size                       128       128
        RankMe                    44.3      28.0
        ```
        """
        found, images = result.details["trained"], result.measured_on["images"]
        columns = {
            letter: found[part] for part, (letter, _) in _PARTS.items() if found[part]
        }
        return "\n".join(
            [
                f"{result.verdict}: {images['size']} images of {images['name']}, "
                f"views {found['views']}",
                *(f"  {reason}" for reason in result.notes),
                f"{'':22}" + "".join(f"{letter:>10}" for letter in columns),
                *(
                    f"{title:22}"
                    + "".join(f"{one[key]:>10{form}}" for one in columns.values())
                    for title, key, form, _ in (("size", "size", "d", ""), *_SHOWN)
                ),
            ]
        )

    def draw(self, result: Result) -> dict[str, Chart]:
        from selfsup_tf.evaluation import charts

        found = result.details["trained"]
        numbers = found["representation"]
        rank = numbers["rank_me"]
        cosines = [numbers[f"{kind}_cosine"] for kind in ("positive", "negative")]
        return {
            "spectrum": Chart(
                "Spectrum",
                charts.draw_spectrum(found),
                meaning="Singular values over the largest, falling; a steep fall is "
                "a collapse to few directions.",
                value=f"RankMe {rank:.1f}",
                label=f"Singular values of h, of an effective rank of {rank:.1f}",
            ),
            "cosines": Chart(
                "Cosines",
                charts.draw_histograms(found),
                meaning="Two views of an image, and two images: the gap is what was "
                "learned.",
                value="{:.2f} and {:.2f}".format(*cosines),
                label="Cosines of two views of an image beside those of two images",
            ),
        }

    def compare(self, results: Mapping[str, Result]) -> dict[str, Chart]:
        from selfsup_tf.evaluation import charts

        compared = {}
        for part, (letter, _) in _PARTS.items():
            spectra = {
                name: result.details["trained"]["spectrum"].get(part) or ()
                for name, result in results.items()
            }
            if any(spectra.values()):
                compared[part] = Chart(
                    f"Spectrum of {letter}",
                    charts.draw_spectra(spectra, f"Spectrum of {letter}"),
                    meaning="Singular values over the largest.",
                    label=f"Singular values of {letter} of {', '.join(spectra)}",
                )
        return compared


def rows_of(details: Mapping[str, Mapping[str, Any]]) -> tuple[Row, ...]:
    """The numbers of h, then those of z where there is a projector."""
    rows = []
    for part, (_, group) in _PARTS.items():
        found = {name: one[part] for name, one in details.items() if one.get(part)}
        if "trained" in found:
            rows += (
                dataclasses.replace(row, group=group)
                for row in rows_beside(found, _numbers, {})
            )
    return tuple(rows)


def _numbers(found: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(
        Row(
            name,
            title,
            number(found[name]),
            unit="number",
            higher_is_better=None,
            meaning=f"of {found['size']}; {meaning}" if name == "rank_me" else meaning,
        )
        for title, name, _, meaning in _SHOWN
    )


PROTOCOL = HealthProtocol()
