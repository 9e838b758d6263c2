"""The log of a run at Weights & Biases, an optional package."""

import importlib
import importlib.util
import pathlib
import secrets
from typing import Any

from selfsup_tf import config as configs
from selfsup_tf.commands import installing
from selfsup_tf.config import Config
from selfsup_tf.errors import InputError, check
from selfsup_tf.files import DAMAGED, read_object, write_json
from selfsup_tf.run import RunDirectory

_open_runs = {}  # by id: those that an exception has kept from being closed, too


def check_wandb(config: Config) -> None:
    """Raises InputError where the config asks for a package that isn't there."""
    # A folder of that name, such as its own logs, is found as well, without an origin.
    found = config.wandb and importlib.util.find_spec("wandb")
    check(
        config.wandb is None or bool(found and found.origin),
        f"the package wandb, for --wandb={config.wandb}",
        "none",
        f"Install it: {installing('wandb')}, or leave --wandb out.",
    )


class WandbLog:
    """Sends each record's numbers once, to one run of Weights & Biases.

    The run's id and the last step it was sent are kept in wandb.json, so that a resumed
    run goes on there, and neither repeats a step nor leaves one out. Its files lie in
    the folder wandb beside it.

    Args:
        path: Directory of the run; it gives its name, too.
        config: The run's config.

    Raises:
        InputError: Weights & Biases does not take the run: no key, or no network.
    """

    def __init__(self, path: pathlib.Path, config: Config):
        self._file = RunDirectory(path).wandb
        self._state = {"project": config.wandb, "id": secrets.token_hex(4), "step": -1}
        if self._file.exists():
            stored = read_object(self._file)
            known = isinstance(stored.get("id"), str)
            known &= isinstance(stored.get("step"), int)
            check(known, f"a run's id and step in {self._file}", stored, DAMAGED)
            if stored.get("project") == config.wandb:
                self._state = stored
        _finish(self._state["id"])
        wandb = importlib.import_module("wandb")
        try:
            self._run = wandb.init(
                project=config.wandb,
                id=self._state["id"],
                resume="allow",
                name=path.resolve().name,
                config=configs.to_dict(config),
                dir=path,
                # Leaves alone a run that the user's own program has open.
                reinit="create_new",
                settings=wandb.Settings(
                    silent=True, console="off", disable_git=True, save_code=False
                ),
            )
        except wandb.Error as error:
            raise InputError(
                f"Weights & Biases to take the log of {path}",
                str(error).splitlines()[0],
                "Run `wandb login`, or set WANDB_MODE=offline, or leave --wandb out.",
            ) from error
        _open_runs[self._state["id"]] = self._run

    def write(self, record: dict[str, Any]) -> None:
        """Sends a record, unless one of its step or a later one was sent before."""
        step = record["step"]
        scored = any("/" in name for name in record)  # the first says how a run began
        if step <= self._state["step"] or not scored:
            return
        numbers = {
            name: value
            for name, value in record.items()
            if name != "step" and isinstance(value, int | float)
        }
        self._run.log(numbers, step=step, commit=True)
        self._state["step"] = step
        if not self._run.disabled:
            write_json(self._file, self._state)

    def close(self) -> None:
        """Ends the run there, when all of it has been sent."""
        _finish(self._state["id"])


def _finish(run_id: str) -> None:
    if run_id in _open_runs:
        _open_runs.pop(run_id).finish()
