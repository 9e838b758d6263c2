"""The run directory: every file of it by name, how it is read, who may write it.

It is the only thing that training, evaluation, exporting and the report share, and this
is the only module that spells its names. Nothing here imports TensorFlow.

    config.json          the run's config, see `config.to_dict`
    images.gz            the files that a run began with, since one may vanish
    log.jsonl            a JSON object a line, rising in "step"
    tensorboard/         the same as curves
    checkpoints/         the states that a run can be resumed from
    encoder.keras        and what else the method keeps: projector, classifier, ...
    encoder_best.keras   the best encoder so far; best.json says of which step, by what
    class_names.json     what the logits of classifier.keras mean
    wandb.json           the run's id at Weights & Biases
    eval/                results NAME.json, their pictures, and features/ that are kept
    embeddings.parquet   the representation of every image
    report.html          and comparison.html; lr_find.json, lr_find.png: a range test
    export/              an export, with its manifest.json
    .lock                who is writing it
"""

import contextlib
import os
import pathlib
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from selfsup_tf import config as configs
from selfsup_tf.commands import spelled
from selfsup_tf.errors import InputError, check
from selfsup_tf.files import (
    DAMAGED,
    left_by_whole_file,
    read_json,
    read_object,
    read_records,
    whole_file,
    writable,
    write_json,
)
from selfsup_tf.locks import check_unwritten, only_writer

if TYPE_CHECKING:
    import keras

TRAIN_ONE = f"Train one first: {spelled('train')} METHOD RECIPE --run_dir=DIRECTORY"
ENCODERS = {"last": "encoder", "best": "encoder_best"}
"""The names of a run's encoders, by what `--encoder` calls them."""


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder is the directory of a run, or of a range test alone."""

    def holds(name: str) -> bool:
        return os.path.exists(os.path.join(folder, name))

    return holds("lr_find.json") or (holds("config.json") and holds("log.jsonl"))


STATE = re.compile(r"ckpt-(0|[1-9][0-9]*)\.(index|data-[0-9]+-of-[0-9]+)")
"""The files of the state after so many steps."""


def saved_steps(checkpoints: pathlib.Path) -> list[int]:
    """The steps of all states, the newest first; the files themselves tell."""
    names = [STATE.fullmatch(file.name) for file in checkpoints.glob("*")]
    steps = {int(name[1]) for name in names if name and name[2] == "index"}
    return sorted(steps, reverse=True)


class RunDirectory:
    """The files of a run, which may be absent.

    Args:
        named: The directory, or a .keras file in it; "~" is expanded.

    Attributes:
        path: The directory.
        file: The .keras file that was named, or None.
    """

    def __init__(self, named: "str | os.PathLike[str] | RunDirectory"):
        if isinstance(named, RunDirectory):
            named = named.file or named.path
        path = pathlib.Path(named).expanduser()
        self.file = path if path.suffix == ".keras" else None
        self.path = path.parent if self.file else path
        self.config = self.path / "config.json"
        self.images = self.path / "images.gz"
        self.log = self.path / "log.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best.json"
        self.class_names = self.path / "class_names.json"
        self.wandb = self.path / "wandb.json"
        self.rate_test = self.path / "lr_find.json"
        self.rate_curve = self.path / "lr_find.png"
        self.evaluation = self.path / "eval"
        self.features = self.evaluation / "features"
        self.fine_tuning = self.evaluation / "finetune"
        self.embeddings = self.path / "embeddings.parquet"
        self.report = self.path / "report.html"
        self.comparison = self.path / "comparison.html"
        self.export = self.path / "export"
        self.manifest = self.export / "manifest.json"
        self.lock = self.path / ".lock"
        self._is_still_ours = lambda: True

    def __str__(self) -> str:
        return str(self.file or self.path)

    @property
    def flag(self) -> str:
        """What names the run on the command line of a shell."""
        return f"--run_dir={shlex.quote(str(self))}"

    def left_behind(self) -> list[pathlib.Path]:
        """What a process that died while it wrote has left beside files of a run.

        See `files.left_by_whole_file`.
        """
        files = [p for p in vars(self).values() if isinstance(p, pathlib.Path)]
        own = {file.stem for file in files if file.suffix}
        left = left_by_whole_file(self.path).items()
        return [
            f for f, stem in left if stem in own or "keras" in f.name.split(".")[2:]
        ]

    def network(self, name: str = "encoder") -> pathlib.Path:
        """NAME.keras, or the .keras file itself, where one was named."""
        return self.file or self.kept(name)

    def kept(self, name: str) -> pathlib.Path:
        """NAME.keras as the run left it, whatever file was named."""
        return self.path / f"{name}.keras"

    def encoder(self, which: str = "last") -> pathlib.Path:
        """The file of the "last" encoder or of the "best"."""
        check(which in ENCODERS, "which to be last or best", repr(which), "Choose one.")
        return self.network(ENCODERS[which])

    def result(self, name: str, suffix: str = ".json") -> pathlib.Path:
        """eval/NAME.json, or a picture beside it."""
        return self.evaluation / f"{name}{suffix}"

    def check_exists(self) -> None:
        """Raises InputError unless a run, or an encoder alone, is there."""
        missing = "no config.json and no encoder.keras"
        found = missing if self.path.is_dir() else "no such directory"
        if not (self.config.is_file() or self.network().is_file()):
            raise InputError(f"a run at {self}", found, TRAIN_ONE)

    def read_config(self) -> dict[str, Any] | None:
        """config.json as plain values, or None; a damaged one raises InputError.

        Beside a .keras file that was named it may be another program's: None, too.
        """
        if not self.config.exists() or (self.file and not self._names_a_method()):
            return None
        advice = "Name a run directory that train.py has written."
        values = read_object(self.config, advice=advice)
        configs.check_stored(values, self.config, advice=advice)
        return values

    def _names_a_method(self) -> bool:
        values = read_json(self.config)
        return isinstance(values, dict) and isinstance(values.get("method"), str)

    def read_images(self) -> dict[str, Any] | None:
        """The files that the run began with, see `Source.files`; None without any."""
        return read_object(self.images) if self.images.is_file() else None

    def read_log(self) -> list[dict[str, Any]]:
        """The records of log.jsonl; a last line cut off by a crash is left out.

        Raises:
            InputError: It can't be read, or another line is damaged.
        """
        return read_records(self.log) if self.log.exists() else []

    def read_best(self) -> dict[str, Any] | None:
        """best.json: "step", "by" and "score" of the best encoder; None without one."""
        if not self.best.is_file():
            return None
        values = read_object(self.best)
        named = isinstance(values.get("by"), str)
        check(named, f"the score's name, by, in {self.best}", values, DAMAGED)
        return values

    def read_class_names(self) -> tuple[str, ...] | None:
        """The names of the classes of classifier.keras; None where nothing says."""
        if not self.class_names.is_file():
            return None
        names = read_json(self.class_names)
        listed = isinstance(names, list) and all(isinstance(n, str) for n in names)
        check(listed, f"a list of names in {self.class_names}", repr(names), DAMAGED)
        return tuple(names)

    def check_there(self) -> None:
        """Raises InputError where the run was deleted or moved since it began."""
        check(
            self.config.is_file() and self._is_still_ours(),
            f"the run in {self.path}, which this process is writing",
            "another run, or one without its .lock"
            if self.config.is_file()
            else "no config.json there",
            "It was deleted or moved meanwhile. Bring it back, and the same command "
            "goes on from its last state.",
        )

    def write_network(self, network: "keras.Model", name: str) -> None:
        """Writes NAME.keras whole or not at all."""
        with whole_file(self.kept(name)) as beside:
            network.save(beside)

    def write_best(self, network: "keras.Model", said: dict[str, Any]) -> None:
        """Writes encoder_best.keras, then best.json."""
        # Without best.json, a run that was stopped between the two writes both again.
        self.best.unlink(missing_ok=True)
        self.write_network(network, ENCODERS["best"])
        write_json(self.best, said)

    def write_class_names(self, names: Sequence[str]) -> None:
        """Writes class_names.json."""
        write_json(self.class_names, list(names))

    def check_free(self) -> None:
        """Raises InputError where another process is writing the run."""
        check_unwritten(self.lock)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing the run, see `locks.only_writer`."""
        made = not self.path.exists()
        try:
            with contextlib.ExitStack() as stack:
                with writable():
                    self.path.mkdir(parents=True, exist_ok=True)
                    self._is_still_ours = stack.enter_context(only_writer(self.lock))
                yield
        finally:
            self._is_still_ours = lambda: True
            if made:
                with contextlib.suppress(OSError):  # it holds files: the run has begun
                    self.path.rmdir()
