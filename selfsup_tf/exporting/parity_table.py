"""The parity of all artefacts as a table for terminals, model cards and documents."""

from collections.abc import Sequence

from selfsup_tf.exporting.parity import Parity
from selfsup_tf.exporting.reference import Reference

_COLUMNS = (
    "artefact", "cosine", "least", "max diff", "k-NN %", "linear %", "class. %",
    "agree %", "ms/image, 1 core", "ms/image, {} cores", "MB", "MB RAM",
)  # fmt: skip


def format_table(parities: Sequence[Parity], reference: Reference) -> str:
    """A Markdown table that can be read as it is.

    A column without any number is left out. The first row is the encoder; "class. %"
    is the accuracy of a classifier, "agree %" the images that get the class of the
    encoder's or one as probable to within .05, "MB RAM" the peak of a process that
    embeds image by image (batch by batch where the file fixes one), its runtime
    included.
    """
    cores = parities[0].num_cores if parities else 0
    header = [name.format(cores) for name in _COLUMNS]
    rows = [_encoder_row(reference), *map(_row, parities)]
    kept = [n for n in range(len(header)) if n == 0 or any(row[n] for row in rows)]
    table = [[row[n] or "—" for n in kept] for row in rows]
    table.insert(0, [header[n] for n in kept])
    widths = [max(len(row[n]) for row in table) for n in range(len(kept))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    table.insert(1, rule)
    return "\n".join("| " + " | ".join(_padded(row, widths)) + " |" for row in table)


def _padded(cells: list[str], widths: list[int]) -> list[str]:
    first, *others = zip(cells, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]


def _encoder_row(reference: Reference) -> list[str]:
    accuracy = reference.accuracy
    return [
        "the encoder", "", "", "",
        _percent(accuracy and accuracy.knn_top_1),
        _percent(accuracy and accuracy.linear_top_1),
        _percent(reference.classifier_top_1), "", "", "", "", "",
    ]  # fmt: skip


def _row(p: Parity) -> list[str]:
    what = f"{p.artefact} {p.signature}" if p.format == "saved_model" else p.artefact
    if p.output != "representation" and p.format != "saved_model":
        what += f" {p.output}"
    return [
        what,
        f"{p.cosine_mean:.5f}",
        f"{p.cosine_min:.5f}",
        f"{p.max_difference:.2g}",
        _percent(p.knn_top_1),
        _percent(p.linear_top_1),
        _percent(p.classifier_top_1),
        _percent(p.agreement),
        f"{p.latency_ms_one_core:.3g}",
        f"{p.latency_ms_all_cores:.3g}",
        f"{p.size_bytes / 1e6:.2f}",
        "" if p.peak_memory_mb is None else f"{p.peak_memory_mb:.0f}",
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
