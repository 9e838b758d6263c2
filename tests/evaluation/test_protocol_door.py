"""A protocol of somebody's own: one file in a folder on the path, and nothing else."""

import json
import os
import textwrap

import keras
import numpy as np
import pytest

from selfsup_tf.config import to_dict
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.evaluation.results import read_results
from selfsup_tf.files import write_json

PROTOCOL = '''
"""How bright images are, as their representations tell."""

import dataclasses

import numpy as np

from selfsup_tf.evaluation.labelled import judge_each, measured_on, rows_beside
from selfsup_tf.evaluation.protocol import (
    Chart, EncoderFlags, Protocol, Result, Row, Table
)


@dataclasses.dataclass(frozen=True)
class BrightnessFlags(EncoderFlags):
    """How far representations follow the brightness of images."""

    percentile: int = 50
    """Of the correlations of all dimensions."""


class Brightness(Protocol):
    title = "Brightness"
    flags = BrightnessFlags
    order = 75
    measured_by_report = True
    lead = "Whether the encoder sees light."

    def run(self, judged, flags) -> Result:
        from selfsup_tf.evaluation.features import extract_features

        encoders, images = judged.encoders(untrained=True), judged.open_source()

        def measure(name, encoder):
            h = extract_features(encoder, images, cache=judged.cache).features
            return {"followed": float(np.percentile(np.abs(h), flags.percentile))}

        found, seconds = judge_each(encoders, measure)
        return judged.result(
            self.title,
            rows=rows_beside(found, _rows, {}),
            measured_on=measured_on(images=images),
            details=found,
            seconds=seconds,
            verdict="seen",
            notes=("It is a dummy.",),
        )

    def draw(self, result) -> dict[str, Chart]:
        import matplotlib.figure

        figure = matplotlib.figure.Figure()
        figure.add_subplot().bar(*zip(*[(k, v["followed"]) for k, v in
                                        result.details.items()]))
        return {"": Chart("Light, followed", figure, meaning="Higher is brighter.")}

    def compare(self, results) -> dict[str, Chart]:
        (result,) = results.values()
        return {"": Chart("Light of one", self.draw(result)[""].figure)}

    def tables(self, result) -> list[Table]:
        return [Table("Light in numbers", ("", "followed"), (("all", "yes"),))]


def _rows(found):
    return (
        Row("followed", "light followed", found["followed"], unit="number",
            higher_is_better=None),
    )


PROTOCOL = Brightness()
'''


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny_config):
    """A run of 40 images, as training leaves it."""
    folder = tmp_path_factory.mktemp("run")
    np.savez(folder.parent / "images.npz", images=make_shapes("train", size=40)[0])
    config = tiny_config("simclr", data=str(folder.parent / "images.npz"))
    write_json(folder / "config.json", to_dict(config))
    layers = [keras.layers.Conv2D(6, 3, strides=2), keras.layers.Flatten()]
    keras.Sequential([keras.Input((16, 16, 3)), *layers]).save(folder / "encoder.keras")
    return folder


def test_one_file_is_a_protocol(run_dir, run_program, tmp_path):
    folder = tmp_path / "selfsup_tf" / "evaluation" / "protocols"
    folder.mkdir(parents=True)
    (folder / "brightness.py").write_text(textwrap.dedent(PROTOCOL))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.getenv("PYTHONPATH")])])

    def evaluate(*words):
        return run_program("eval.py", *words, env={"PYTHONPATH": path}).stdout

    listed = evaluate().splitlines()
    line = "  brightness  How far representations follow the brightness of images."
    assert line in listed
    assert listed.index(line) < listed.index(next(x for x in listed if "health " in x))
    assert "Of the correlations of all dimensions." in evaluate("brightness", "--help")

    where = f"--run_dir={run_dir}"
    said = evaluate("brightness", where, "--percentile=90")
    stem = run_dir / "eval" / "brightness_percentile=90"
    assert "Brightness (percentile 90): seen" in said
    assert "untrained" in said and f"{stem}.json" in said
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    written = json.loads(stem.with_suffix(".json").read_text())
    assert written["title"] == "Brightness (percentile 90)"
    assert written["options"] == {"percentile": 90}
    (row,) = written["rows"]
    assert row["beside"]["untrained"]["value"] > 0 < row["value"]
    assert f"{row['value']:.4g}" in said

    # Without the folder on the path its numbers are read all the same.
    (stored,) = read_results(run_dir)
    assert stored.result.rows[0].title == "light followed"

    evaluate("report", where, "--measure=False")
    page = (run_dir / "report.html").read_text()
    assert "python eval.py knn --run_dir=" in page  # which is missing
    assert "Light in numbers" in page and "python eval.py brightness" not in page
    evaluate("report", where)  # measures it, as it says, with its defaults
    assert (run_dir / "eval" / "brightness.json").is_file()
    page = (run_dir / "report.html").read_text()
    for words in ("light followed", "Brightness (percentile 90)", "Light in numbers",
                  "Whether the encoder sees light.", "It is a dummy."):  # fmt: skip
        assert words in page
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "encoder.keras"):
        (other / name).write_bytes((run_dir / name).read_bytes())
    page = tmp_path / "comparison.html"
    options = ("--measure=False", f"--output={page}")
    evaluate("report", "--compare", run_dir, other, *options)
    assert "light followed" in page.read_text() and "Light of one" in page.read_text()
