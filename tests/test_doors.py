"""The examples of CONTRIBUTING.md, written into a folder and driven by the programs."""

import importlib
import json
import os
import pathlib
import re

import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.protocol import PROTOCOLS

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The folder `mine`, with every example that names its file."""
    place = tmp_path_factory.mktemp("doors")
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n# (mine/\S+)\n(.*?)```", text, flags=re.S)
    for path, code in examples:
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
    assert len(examples) == 9
    return place / "mine"


def test_the_examples_are_found_by_the_programs(mine, run_program, tmp_path):
    run = tmp_path / "run"
    folders = [str(mine), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, folders))}

    def call(*words):
        return run_program(*words, env=env).stdout

    assert "Contrast with a queue of past projections." in call("train.py")
    call("train.py", "queued", "noise", f"--run_dir={run}")
    records = [
        json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()
    ]
    assert records[-1]["train/queue_norm"] > 0
    config = json.loads((run / "config.json").read_text())
    assert config["views"][1]["layers"][0]["name"] == "my_layers>Posterize"
    assert "finished" in call("train.py", "queued", "noise", f"--run_dir={run}")

    listed = call("eval.py")
    assert "How far representations of images are" in listed
    assert listed.index("  accuracy ") < listed.index("  spread ")  # 70 and 75
    assert listed.index("  spread ") < listed.index("  health ")  # 80
    assert "Of the distances from the mean." in call("eval.py", "spread", "--help")
    said = call("eval.py", "spread", f"--run_dir={run}", "--percentile=90")
    assert "untrained" in said and "noise:4:train" in said
    stem = run / "eval" / "spread_percentile=90"
    assert f"{stem}.json" in said
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    written = json.loads(stem.with_suffix(".json").read_text())
    assert written["options"] == {"percentile": 90}
    (row,) = written["rows"]
    assert row["beside"]["untrained"]["value"] > 0 < row["value"]
    assert f"{row['value']:.4g}" in said
    call("eval.py", "report", f"--run_dir={run}")
    assert (run / "eval" / "spread.json").is_file()  # measured with its defaults
    page = (run / "report.html").read_text()
    for shown in ("Spread (percentile 90)", "Distance of each encoder", "noise:4",
                  "A spread of 0 is a collapse.", "0 is a collapse."):  # fmt: skip
        assert shown in page
    compared = tmp_path / "comparison.html"
    again = tmp_path / "again"
    call("train.py", "queued", "noise", f"--run_dir={again}", "--seed=1")
    runs = ("--compare", run, again, "--measure=False", f"--output={compared}")
    call("eval.py", "report", *runs)
    assert "distance" in compared.read_text()

    assert "onnx, packed." in " ".join(call("export.py", "--help").split())
    export = ("export.py", f"--run_dir={run}", "--formats", "packed")
    for flags, message in (
        (["--batch=2"], "a format that batch changes"),
        (["--min_cosine", "paked", "0.5"], "Perhaps you meant: packed"),
    ):
        done = run_program(*export, *flags, check=False, env=env)
        assert done.returncode == 2 and message in done.stderr
    said = call(*export, "--num_images=32", "--num_bank=32")
    assert "encoder_float16.tflite.gz: written and proven" in said
    export = run / "export"
    (entry,) = json.loads((export / "manifest.json").read_text())["artefacts"]
    assert entry["format"] == "packed"
    card = (export / "MODEL_CARD.md").read_text()
    assert 'gzip.open("encoder_float16.tflite.gz")' in card
    assert "spread_percentile=90, distance" in card
    call("export.py", f"--verify={export}")


@pytest.fixture
def door(tmp_path, monkeypatch):
    """The door of protocols, with a folder of the test's own on the path."""
    folder = tmp_path / "own" / "selfsup_tf" / "evaluation" / "protocols"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "own")
    before = list(importlib.import_module("selfsup_tf.evaluation.protocols").__path__)
    yield folder
    importlib.import_module("selfsup_tf.evaluation.protocols").__path__[:] = before


def test_a_broken_module_concerns_nobody_else(door, caplog):
    (door / "broken.py").write_text("import a_package_that_is_not_there\n")
    (door / "empty.py").write_text("")
    for _ in range(2):
        assert "knn" in PROTOCOLS.all() and "broken" not in PROTOCOLS.all()
    assert [r.getMessage().split(":")[0] for r in caplog.records] == [
        "a protocol broken is left out",
        "a protocol empty is left out",
    ]
    with pytest.raises(InputError, match="a_package_that_is_not_there"):
        PROTOCOLS.find("broken")


def test_another_copy_of_the_package_is_no_extension(door):
    (door / "of_the_copy.py").write_text("PROTOCOL = 1\n")
    (door.parents[1] / "__init__.py").write_text("")
    assert "of_the_copy" not in PROTOCOLS.names()
