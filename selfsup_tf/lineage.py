"""Whose labels have gone into an encoder: its run's own, and those of what taught it.

A run learns the labels of its images where it leaves a classifier, and its best encoder
is chosen by them where the online k-NN did that. What a run started from, or was taught
by, brings its own. A run notes these when it begins; of older ones the config tells, as
long as what it names lies where it lay.
"""

from collections.abc import Mapping
from typing import Any

from selfsup_tf.config import FROM_PYTHON
from selfsup_tf.errors import InputError
from selfsup_tf.existing import encoder_parts, files_of
from selfsup_tf.files import read_object
from selfsup_tf.run import ENCODERS, RunDirectory

Labels = frozenset[tuple[str, str]]
"""Data and split of the runs that learned them."""
NONE: Labels = frozenset()


def labels_of(name: str, _seen: frozenset = frozenset()) -> Labels:
    """Those of an encoder that exists, by its name: a run, or a file in or below one.

    Of an export and of vectors, the last encoder's.
    """
    found = NONE
    for file in files_of(name):
        run = RunDirectory(encoder_parts(file)[0])
        if not (run.file or run.path).exists():
            continue  # such as imagenet:NAME
        is_best = run.file is not None and run.file.stem == ENCODERS["best"]
        here = run.path.resolve()
        for folder in (here, *here.parents[:2]):
            if _config_of(RunDirectory(folder)):
                found |= labels_in(RunDirectory(folder), is_best=is_best, _seen=_seen)
                break
    return found


def labels_in(
    run: RunDirectory, *, is_best: bool = False, _seen: frozenset = frozenset()
) -> Labels:
    """Those of a run's last encoder, or of its best."""
    place = run.path.resolve()
    if place in _seen:
        return NONE
    config = _config_of(run)
    chosen = run.read_best() if is_best else None
    found = NONE
    if (is_best and (chosen is None or "knn" in chosen["by"])) or (
        run.kept("classifier").is_file()
    ):
        own = config.get("data", FROM_PYTHON), config.get("split", "train")
        found |= {own}
    return found | labels_brought(run, _seen | {place})


def labels_brought(run: RunDirectory, _seen: frozenset = frozenset()) -> Labels:
    """Those that came into a run through what it learned from, not its own."""
    begun = next(iter(run.read_log()), {})
    if "labels_before" in begun:
        return frozenset((data, split) for data, split in begun["labels_before"])
    return labels_before(_config_of(run), _seen)


def labels_before(config: Mapping[str, Any], _seen: frozenset = frozenset()) -> Labels:
    """Those that come into a run of this config through what it learns from."""
    names = [config.get("start"), config.get("teacher")]
    if not config.get("from_scratch"):
        names.append(config.get("pretrained"))
    named = [name for name in names if isinstance(name, str) and name]
    return NONE.union(*(labels_of(name, _seen) for name in named))


def _config_of(run: RunDirectory) -> dict[str, Any]:
    """A run's config; empty where there is none, or another program's."""
    try:
        config = read_object(run.config) if run.config.is_file() else {}
    except InputError:
        return {}
    return config if isinstance(config.get("method"), str) else {}
