"""The tables of an advice, and its text for a terminal."""

from collections.abc import Mapping, Sequence

from selfsup_tf.evaluation.advice.candidate import Advice, Candidate
from selfsup_tf.evaluation.numbers import NOTHING, interval, megabytes, percent
from selfsup_tf.evaluation.protocol import Table

TITLES = {
    "knn": "k-NN",
    "linear": "Linear",
    "retrieval": "Retrieval, mAP",
    "copies": "Copies found",
}


def table_of(candidates: Sequence[Candidate]) -> Table:
    """All candidates, the best first; a share's interval on a line below it."""
    measures = list(candidates[0].scores)
    ranked = sorted(candidates, key=lambda one: -one.scores[measures[0]])
    int8 = any(one.cost for one in candidates)
    head = (
        "",
        *(TITLES[name] for name in measures),
        "Untrained",
        "RankMe",
        "Network",
        *(("int8",) if int8 else ()),
    )
    rows = [
        (
            one.label,
            *(_share(one, name) for name in measures),
            percent(one.untrained),
            f"{one.rank_me:.1f}\nof {one.length}",
            f"{one.parameters / 1e6:.2f} M\n{one.image_size} px",
            *((_costs(one),) if int8 else ()),
        )
        for one in ranked
    ]
    return Table(
        "All of them on the same images, with 95 % intervals", head, tuple(rows)
    )


def _share(one: Candidate, name: str) -> str:
    reach = interval(one.intervals.get(name), "share")
    return percent(one.scores[name]) + (f"\n{reach}" if reach else "")


def _costs(one: Candidate) -> str:
    if "int8_bytes" not in one.cost:
        return NOTHING
    cosine, latency = one.cost["int8_cosine"], one.cost["latency_ms"]
    return f"{megabytes(one.cost['int8_bytes'])}\n{latency:.1f} ms\ncosine {cosine:.3f}"


def agreement_table(
    candidates: Sequence[Candidate], agreement: Mapping[tuple[str, str], float]
) -> Table:
    """How far two encoders find the same neighbours."""
    labels = {one.name: one.label for one in candidates}
    rows = [
        (label, *(percent(agreement.get((a, b))) for b in labels))
        for a, label in labels.items()
    ]
    caption = "The ten nearest neighbours of an image that two of them have in common"
    return Table(caption, ("", *labels.values()), tuple(rows))


def text_of(advice: Advice, table: Table) -> str:
    """The advice for a terminal: the table, the words, the commands."""
    cells = [table.head, *([c.split("\n")[0] for c in row] for row in table.rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(table.head))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    steps = [
        line for why, command in advice.steps for line in (f"{why}:", f"  {command}")
    ]
    words = [advice.headline, *(f"  {reason}" for reason in advice.reasons)]
    return "\n".join([*lines, "", *words, "", *steps])
