"""Whether a run may begin, or go on, in a directory, and what it notes there first."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from selfsup_tf import config as configs
from selfsup_tf.config import Config
from selfsup_tf.errors import check
from selfsup_tf.files import DAMAGED, OF_NOBODY, writable, write_json
from selfsup_tf.run import RunDirectory

_OF_OTHERS = ("lr_find", "embeddings", "report", "comparison")
"""The files of a run, without suffix, that training does not write."""


def check_config(run: RunDirectory, config: Config) -> None:
    """Raises InputError where a run of another config is here, or something else.

    What a learning-rate range test, a method before its first step or a killed
    process has left here may stay. A run that ended in its first step, such as for
    want of memory, gives way to another.
    """
    if run.config.exists() and run.file is None:
        stored = run.read_config()
        if _is_there(stored, config.data) or _has_moved(run, stored, config.data):
            stored["data"] = config.data
        different = configs.differences(config, stored)
        advice = (
            "Use another --run_dir for this config, or repeat the flags of that run."
        )
        if hasattr(config, "start") and any(d.startswith("epochs:") for d in different):
            advice += f" In another, --start={run} goes on from its encoder."
        check(
            not different or not has_begun(run),
            f"the config of the run in {run.path}",
            "; ".join(different),
            advice,
        )
        return
    check_place(run)


def check_place(run: RunDirectory) -> None:
    """Raises InputError unless a directory is new, or holds what may stay in a run's.

    See `check_config`.
    """
    own = {run.rate_test, run.rate_curve, run.images, run.lock, run.evaluation}
    own |= set(run.left_behind())
    others = {p.name for p in set(run.path.glob("*")) - own} - OF_NOBODY
    held = f", which holds {', '.join(sorted(others)[:3])}" if others else ""
    check(
        not (run.file or run.path.is_file() or others),
        "run_dir to be empty, new, or a run's directory",
        f"{run}{held}",
        "It is a file, or holds files but no config.json; choose another place.",
    )


def has_begun(run: RunDirectory) -> bool:
    """Whether a run that is here has left its first step behind, or may have."""
    if run.kept("encoder").exists() or any(run.checkpoints.glob("*")):
        return True
    records = run.read_log()
    return not records or any(record.get("step") != 0 for record in records)


def begin(
    run: RunDirectory,
    config: Config,
    images: int,
    *,
    files: dict[str, Any] | None = None,
    identity: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Writes config.json and the list of files where there are none; gives the log.

    Where a folder lies now is noted in config.json, too.

    Args:
        run: The directory, which `check_config` has looked at.
        config: The run's.
        images: How many it learns from; the order of the data follows from that.
        files: Which they are, see `Source.files`.
        identity: Hashes of what it was given, by what that is.

    Returns:
        The records of the log.

    Raises:
        InputError: The run began with another number of images or with something
            of another hash, or the directory can't be written.
    """
    if run.config.exists() and not has_begun(run):
        best = run.encoder("best")
        for file in (run.log, run.images, run.config, run.best, best, run.wandb):
            file.unlink(missing_ok=True)
    records = run.read_log()
    if records:
        before = records[0].get("images")
        check(
            isinstance(before, int),
            f"the number of images in the first line of {run.log}",
            "none",
            DAMAGED,
        )
        check(
            before == images,
            f"the {before} images that the run in {run.path} began with",
            f"{images} images",
            "Use another --run_dir for other images, or bring back that run's.",
        )
        # An older run has no hashes; one is compared where both have it.
        before, now = records[0].get("identity", {}), identity or {}
        changed = [name for name in before if now.get(name) not in (None, before[name])]
        check(
            not changed,
            f"what the run in {run.path} began with",
            f"other: {', '.join(changed)}",
            "Use another --run_dir for it, or bring back that run's.",
        )
    for partial in run.left_behind():
        # What others write, who hold no lock, may be in the making.
        if partial.name.split(".")[1] not in _OF_OTHERS:
            partial.unlink(missing_ok=True)
    with writable():
        if files is not None and not (records or run.images.exists()):
            write_json(run.images, files)
        if not run.config.exists():
            write_json(run.config, configs.to_dict(config))
        elif _has_moved(run, stored := run.read_config(), config.data):
            write_json(run.config, stored | {"data": config.data})
    return records


def check_begins(
    run: RunDirectory, records: Sequence[Mapping[str, Any]], checkpoint_epochs: float
) -> None:
    """Raises InputError where a run without a state has come beyond its first.

    It would begin anew, and write over its log and its networks.

    Args:
        run: The directory.
        records: Of its log.
        checkpoint_epochs: How long a run may be before its first state.
    """
    last = next(reversed(records), {})
    step, epoch = last.get("step", 0), last.get("epoch", 0.0)
    then = (run.read_config() or {}).get("checkpoint_epochs", checkpoint_epochs)
    first = max(checkpoint_epochs, then) * step / epoch if epoch else step
    check(
        step <= max(1, first) + 1,  # a step more, as epochs are rounded to steps
        f"a state in {run.checkpoints} to go on from",
        f"none, and a log that has come to epoch {epoch:g}",
        "Bring its states back, or begin anew in another --run_dir; its networks "
        "can be judged and exported without them. Had it none yet, since "
        "--checkpoint_epochs was larger, say that again.",
    )


def _is_there(stored: dict[str, Any], data: str) -> bool:
    """Whether images are in the place of the run's, however it is spelled."""
    then, now = _places(stored, data)
    return then.exists() and now.exists() and then.samefile(now)


def _has_moved(run: RunDirectory, stored: dict[str, Any], data: str) -> bool:
    """Whether a folder can be the run's, whose files are compared once it is opened."""
    then, now = _places(stored, data)
    return run.images.is_file() and now.is_dir() and not then.exists()


def _places(stored: dict[str, Any], data: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Where a run's images lay, and where they are said to lie."""
    names = stored.get("data", data), data
    then, now = (pathlib.Path(name).expanduser() for name in names)
    return then, now
