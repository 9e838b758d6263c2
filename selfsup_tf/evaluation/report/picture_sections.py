"""The neighbours, and the exported files."""

from selfsup_tf.evaluation.report.gather import RunFiles, reading
from selfsup_tf.evaluation.report.markup import Html, join
from selfsup_tf.evaluation.report.numbers import compact, megabytes
from selfsup_tf.evaluation.report.parts import absent, picture, section, table, tag
from selfsup_tf.evaluation.report.pictures import Pictures


def neighbours_section(run: RunFiles, pictures: Pictures) -> Html:
    """Images and what the encoder takes to be like them."""
    path = run.picture("neighbours.png")
    if path is None:
        content = absent("No picture yet.", "eval.py neighbours", run.path)
    else:
        alt = (
            "Rows of images: a query at the left, then the images nearest to it; a "
            "solid blue frame is the query's class, a dashed orange one another class"
        )
        content = picture(path, alt, pictures)
    return section(
        "neighbours",
        "Neighbours",
        content,
        lead="The nearest images by cosine: what the encoder takes to be alike.",
    )


def export_section(run: RunFiles) -> Html:
    """The files that were exported, and how close each comes to the encoder."""
    lead = "The files for servers and devices, each run and compared with the encoder."
    if run.parity is None:
        line = absent("Not exported yet.", "export.py", run.path)
        return section("exports", "Exports", line, lead=lead)
    path = run.path / "export" / "parity.json"
    with reading(path):
        artefacts = run.parity["artefacts"]
        rows = [
            [
                a["artefact"],
                a["signature"],
                a["precision"],
                a["batch"],
                _parity(a),
                f"{a['cosine_min']:.5f}",
                compact(a["max_difference"]),
                megabytes(a["size_bytes"]),
            ]
            for a in artefacts
        ]
        words = "Cosines with the encoder's representations"
        if artefacts:
            words += f" of {artefacts[0]['num_images']} images"
        words += (
            f" of {run.parity['image_source']}" if "image_source" in run.parity else ""
        )
        return section(
            "exports",
            "Exports",
            table(
                ["File", "Called by", "Precision", "Batch", "Cosine, mean", "Least",
                 "Largest difference", "Size"],
                rows,
                caption=words,
                numbers=(4, 5, 6, 7),
            ),
            lead=lead,
        )  # fmt: skip


def _parity(artefact: dict) -> Html:
    enough = artefact["cosine_mean"] >= artefact["threshold"]
    words = f"{artefact['cosine_mean']:.5f}"
    return join([words, " ", tag("✓", "good") if enough else tag("below", "stale")])
