"""A kind of images of a user's own: one file in a folder on the path, nothing else."""

import textwrap

import pytest

from selfsup_tf.data.sources import has_test_split, open_evaluation, open_source
from selfsup_tf.errors import InputError

DUMMY = '''
"""Noise of a few brightnesses; the brightness is the class."""

import numpy as np

from selfsup_tf.data.source import SourceKind
from selfsup_tf.data.sources.arrays import from_arrays


def _open(name, split, reading):
    labels = np.arange(64 if split == "train" else 32) % int(name.partition(":")[2])
    noise = np.random.default_rng(len(split)).integers(0, 40, (len(labels), 20, 20, 3))
    images = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
    return from_arrays(images, labels, name=f"{name}:{split}")


SOURCE = SourceKind(
    takes="dummy:CLASSES",
    recognises=lambda name, _: name.startswith("dummy:"),
    open=_open,
    splits=lambda name, _: ("train", "holdout"),
    names=lambda: ["dummy:"],
)
'''


@pytest.fixture
def folder(tmp_path):
    """A folder of somebody's own, to stand on the path."""
    file = tmp_path / "mine" / "selfsup_tf" / "data" / "sources" / "dummy.py"
    file.parent.mkdir(parents=True)
    file.write_text(textwrap.dedent(DUMMY))
    return tmp_path / "mine"


def test_it_is_opened_by_its_prefix(folder, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(folder)
    source = open_source("dummy:3")
    assert (source.name, source.size) == ("dummy:3:train", 64)
    assert has_test_split("dummy:3")
    train, test = open_evaluation("dummy:3")
    assert (train.size, test.name) == (64, "dummy:3:holdout")
    with pytest.raises(InputError, match=r"dummy:CLASSES.*Perhaps you meant: dummy:"):
        open_source("dumy:")
    # What lies there is meant, whatever its name.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dummy:3").mkdir()
    with pytest.raises(InputError, match="received no files"):
        open_source("dummy:3")
