"""`export.py`: from the encoder of a run to files that need none of this package."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from selfsup_tf.cli import program


@dataclasses.dataclass(frozen=True)
class ExportFlags:
    """Writes an encoder as SavedModel and TFLite and compares each with the original.

    The files go to RUN_DIR/export unless a directory is named.
    """

    run_dir: str
    """Directory of the run, or a .keras file."""
    directory: str | None = None
    """Where the files go."""
    formats: tuple[str, ...] = ("saved_model", "tflite")
    """saved_model, tflite (all three), tflite_float32, tflite_float16, tflite_int8."""
    data: str | None = None
    """Images for calibration and comparison, in place of the run's own."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    encoder: Literal["last", "best"] = "last"
    """Which encoder of the run; best is by the online k-NN, or by RankMe where there
    are no labels."""
    overwrite: bool = False
    """Whether an export that is there already is replaced, all its files at once."""


def export(arguments: Sequence[str] | None = None) -> None:
    """`export.py`: --run_dir --flags."""
    with program.friendly():
        flags = program.parse_flags(ExportFlags, "export.py", arguments)
        program.import_tensorflow()
        from selfsup_tf import api
        from selfsup_tf.exporting import exporter
        from selfsup_tf.models.saved import run_directory

        encoder = api.load_encoder(flags.run_dir, flags.encoder)
        data, data_dir = program.run_data(flags.run_dir, flags.data, flags.data_dir)
        seen, unseen = api.open_pair(data, data_dir=data_dir)
        program.name_skipped(seen, unseen)
        result = api.export(
            encoder,
            flags.directory or run_directory(flags.run_dir) / "export",
            formats=flags.formats,
            images=unseen,
            calibration_images=seen,
            overwrite=flags.overwrite,
        )
        print(exporter.format_table(result))
