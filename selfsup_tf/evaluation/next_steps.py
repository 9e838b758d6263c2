"""Commands of `eval.py` that come next for a run, as a shell takes them."""

import pathlib

from selfsup_tf.commands import spelled
from selfsup_tf.config import FROM_PYTHON
from selfsup_tf.data import prepared
from selfsup_tf.data.folder_layout import find_layout
from selfsup_tf.evaluation.protocol import PROTOCOLS
from selfsup_tf.evaluation.run_images import Learned
from selfsup_tf.lineage import labels_brought, labels_in
from selfsup_tf.run import RunDirectory


def command(word: str, run: RunDirectory) -> str:
    """`eval.py WORD` of a run, with other images where its own can't judge it.

    Names of files are looked at alone, and where these don't tell, its own may do.
    """
    of_labels = "labels" in PROTOCOLS.find(word).needs
    others = of_labels and not _may_judge(word, run)
    images = " --data=OTHER_IMAGES" if others else ""
    return f"{spelled('eval')} {word} {run.flag}{images}"


def _may_judge(word: str, run: RunDirectory) -> bool:
    """Whether the run's own images may have labels that have not gone into it."""
    config = run.read_config() or {}
    data = config.get("data", FROM_PYTHON)
    learned = Learned(labels_in(run))
    if data == FROM_PYTHON or learned.test_labels(data):
        return False
    left = word == "accuracy" and config.get("fraction", 1) != 1
    left = left and not Learned(labels_brought(run)).labels(data)
    if left or not learned.labels(data):
        return True
    folder = pathlib.Path(data).expanduser()
    if not folder.is_dir() or (folder / prepared.PLAN).is_file():
        return True
    return find_layout(folder).judges is not None
