"""The notebooks run from the first cell to the last, and lie there with pictures."""

import json
import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BYTES = 400_000
"""Of a notebook with its pictures."""
LENGTH = r"(?i)(\bepochs *= *)\d+"
"""What a run's length looks like in a notebook; a test is content with one epoch."""
FEW_IMAGES = """
from selfsup_tf.data.sources import shapes
shapes.SPLIT_SIZES.update(train=2600, test=600)
"""
"""And with a part of the drawn shapes, enough for k-NN to ask 200 of a class."""


def cells_of(path, kind):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def printed(cells):
    """All text that the cells gave, and how many pictures."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    return "\n".join(map("".join, texts)), pictures


def check_printed(cells):
    text, pictures = printed(cells)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [o["text"] for o in outputs if o.get("name") == "stderr"]
    assert pictures >= 2
    for word in ("oneDNN", "absl", "retracing", "Assets written", "cuda", "Traceback"):
        assert word not in text, word
    return text


def test_the_notebooks_are_there():
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_lies_there_with_what_it_gave(path):
    cells = cells_of(path, "code")
    assert path.stat().st_size < BYTES
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    text = check_printed(cells)
    # No path of the machine that it ran on.
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|Users)/", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_links_of_a_notebook_lead_to_files(path):
    text = "\n".join("".join(cell["source"]) for cell in cells_of(path, "markdown"))
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links and all((path.parent / link).exists() for link in links)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(LENGTH, r"\g<1>1", cell.source)
    first = next(cell for cell in notebook.cells if cell["cell_type"] == "code")
    first.source += FEW_IMAGES
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources=where
    ).execute()
    cells = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    check_printed(cells)
    here, there = (
        [printed([cell]) for cell in code] for code in (cells, cells_of(path, "code"))
    )
    (now, pictures), (then, as_many) = zip(*here, strict=True), zip(*there, strict=True)
    assert pictures == as_many
    # What printed there prints here, cell for cell. How many lines is no measure: an
    # epoch prints its own, and the numbers vary with the machine.
    assert [bool(text.strip()) for text in now] == [bool(text.strip()) for text in then]
