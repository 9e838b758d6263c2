"""The examples of CONTRIBUTING.md, written into a folder and driven by the programs."""

import importlib
import json
import os
import pathlib
import re
import subprocess

import pytest

from selfsup_tf import cli
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


SESSION = """
import json, shutil, sys
from selfsup_tf import cli
verbs = {"train": cli.train, "eval": cli.evaluate, "export": cli.export}
for program, *words in json.loads(sys.argv[1]):
    try:
        verbs[program](words) if program in verbs else shutil.copytree(*words)
    except SystemExit as end:
        print("exit code", end.code)
    print(chr(12))
"""
"""Commands one after the other in one process: TensorFlow takes seconds to start."""


@pytest.fixture
def call(mine, run_program):
    """Runs commands with `mine` on the path; what each of them said."""

    def run(*commands):
        env = {"PYTHONPATH": os.pathsep.join([str(mine), str(ROOT)])}
        words = json.dumps([[str(word) for word in one] for one in commands])
        options = {"env": env, "check": False, "stderr": subprocess.STDOUT}
        done = run_program("-u", "-c", SESSION, words, **options)
        assert done.returncode == 0, done.stdout
        return done.stdout.split("\f")[:-1]

    return run


def test_the_examples_are_found_by_the_programs(call, tmp_path):
    run, copy, page = (tmp_path / name for name in ("run", "copy", "compared.html"))
    where = f"--run_dir={run}"
    learn = ("train", "queued", "noise", where)
    export = ("export", where, "--formats", "packed")
    said = call(
        ("train",),
        learn,
        learn,
        ("eval",),
        ("eval", "spread", "--help"),
        ("eval", "spread", where, "--percentile=90"),
        ("eval", "report", where),
        ("copy", run, copy),
        ("eval", "report", "--compare", run, copy, "--measure=False",
         f"--output={page}"),
        ("export", "--help"),
        (*export, "--batch=2"),
        (*export, "--min_cosine", "paked", "0.5"),
        (*export, "--num_images=32", "--num_bank=32"),
        ("export", f"--verify={run / 'export'}"),
    )  # fmt: skip
    listed, _, again, protocols, flags, spread, _, _, _, formats, *exported = said
    assert "Contrast with a queue of past projections." in listed
    records = (run / "log.jsonl").read_text().splitlines()
    assert json.loads(records[-1])["train/queue_norm"] > 0
    config = json.loads((run / "config.json").read_text())
    assert config["views"][1]["layers"][0]["name"] == "my_layers>Posterize"
    assert "finished" in again

    assert "How far representations of images are" in protocols
    places = [protocols.index(f"  {p} ") for p in ("accuracy", "spread", "health")]
    assert places == sorted(places)  # 70, 75 and 80
    assert "Of the distances from the mean." in flags
    assert "untrained" in spread and "noise:4:train" in spread
    stem = run / "eval" / "spread_percentile=90"
    assert f"{stem}.json" in spread
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    written = json.loads(stem.with_suffix(".json").read_text())
    assert written["options"] == {"percentile": 90}
    (row,) = written["rows"]
    assert row["beside"]["untrained"]["value"] > 0 < row["value"]
    assert f"{row['value']:.4g}" in spread
    assert (run / "eval" / "spread.json").is_file()  # measured with its defaults
    judged = json.loads((run / "eval" / "knn.json").read_text())["measured_on"]
    assert judged["test"]["name"] == "noise:4:test" and judged["test"]["size"] == 32
    report = (run / "report.html").read_text()
    for shown in ("Spread (percentile 90)", "Distance of each encoder", "noise:4",
                  "A spread of 0 is a collapse.", "0 is a collapse."):  # fmt: skip
        assert shown in report
    assert "distance" in page.read_text()

    assert "onnx, packed." in " ".join(formats.split())
    unfit, misspelt, proven, verified = exported
    assert "a format that batch changes" in unfit and "exit code 2" in unfit
    assert "Perhaps you meant: packed" in misspelt and "exit code 2" in misspelt
    assert "encoder_float16.tflite.gz: written and proven" in proven
    assert "exit code" not in proven + verified
    (entry,) = json.loads((run / "export/manifest.json").read_text())["artefacts"]
    assert entry["format"] == "packed"
    card = (run / "export" / "MODEL_CARD.md").read_text()
    assert 'gzip.open("encoder_float16.tflite.gz")' in card
    assert "Spread (percentile 90), distance" in card

    # What it has learned is exported where nobody knows the method, too.
    words = ["--directory=" + str(tmp_path / "plain"), "--data=shapes"]
    words += ["--num_images=16", "--num_bank=16", "--formats", "tflite_float32"]
    cli.export([where, *words])
    assert (tmp_path / "plain" / "encoder_float32.tflite").is_file()


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
