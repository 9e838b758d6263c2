"""The neighbours, and the exported files."""

from selfsup_tf.evaluation.report.gather import RunFiles, reading
from selfsup_tf.evaluation.report.markup import Html, element, join
from selfsup_tf.evaluation.report.numbers import megabytes, percent
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
    if run.manifest is None:
        line = absent("Not exported yet.", "export.py", run.path)
        return section("exports", "Exports", line, lead=lead)
    manifest = run.manifest.values
    with reading(run.manifest.path):
        proof = manifest["proof"]["images"]
        words = (
            f"Cosines with the encoder's own outputs for {proof['count']:,} images of "
            f"{proof['source']}; k-NN with each file's own representations"
        )
        accuracy = manifest["encoder_accuracy"]["knn_top_1"]
        if accuracy is not None:
            words += f" (the encoder's: {percent(accuracy)})"
        rows = table(
            ["File", "Called by", "Precision", "Batch", "Cosine, mean", "Least",
             "k-NN", "ms/image, 1 core", "Size"],
            [_export_row(row) for row in manifest["parity"]],
            caption=words,
            numbers=(4, 5, 6, 7, 8),
        )  # fmt: skip
    stale = None
    if run.manifest.stale:
        label = tag("of an earlier state of the encoder", "stale")
        stale = element("p", label, class_="meaning")
    return section("exports", "Exports", stale, rows, lead=lead)


def _export_row(row: dict) -> list:
    accuracy = row["knn_top_1"]
    return [
        row["artefact"],
        row["signature"],
        row["precision"],
        row["batch"],
        _parity(row),
        f"{row['cosine_min']:.5f}",
        "" if accuracy is None else percent(accuracy),
        f"{row['latency_ms_one_core']:.2f}",
        megabytes(row["size_bytes"]),
    ]


def _parity(artefact: dict) -> Html:
    enough = artefact["cosine_mean"] >= artefact["threshold"]
    words = f"{artefact['cosine_mean']:.5f}"
    return join([words, " ", tag("✓", "good") if enough else tag("below", "stale")])
