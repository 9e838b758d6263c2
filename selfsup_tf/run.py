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
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selfsup_tf import config as configs
from selfsup_tf.commands import spelled
from selfsup_tf.config import Config
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
_OF_OTHERS = ("lr_find", "embeddings", "report", "comparison")
"""The files of a run, without suffix, that training does not write."""
_OF_NOBODY = {".DS_Store", ".directory", "Thumbs.db", ".gitkeep", ".gitignore"}
"""What file managers leave in an empty folder, and what keeps one in git."""


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
        """config.json as plain values, or None; a damaged one raises InputError."""
        if not self.config.exists():
            return None
        advice = "Name a run directory that train.py has written."
        values = read_object(self.config, advice=advice)
        configs.check_stored(values, self.config, advice=advice)
        return values

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

    def check_config(self, config: Config) -> None:
        """Raises InputError where a run of another config is here, or something else.

        What a learning-rate range test, a method before its first step or a killed
        process has left here may stay.
        """
        if self.config.exists() and self.file is None:
            stored = self.read_config()
            if self._may_have_moved(stored, config.data):
                stored["data"] = config.data
            different = configs.differences(config, stored)
            check(
                not different,
                f"the config of the run in {self.path}",
                "; ".join(different),
                "Use another --run_dir for this config, or repeat the flags of that "
                "run.",
            )
            return
        own = {self.rate_test, self.rate_curve, self.images, self.lock, self.evaluation}
        own |= set(self.left_behind())
        others = {p.name for p in set(self.path.glob("*")) - own} - _OF_NOBODY
        held = f", which holds {', '.join(sorted(others)[:3])}" if others else ""
        check(
            not (self.file or self.path.is_file() or others),
            "run_dir to be empty, new, or a run's directory",
            f"{self}{held}",
            "It is a file, or holds files but no config.json; choose another place.",
        )

    def _may_have_moved(self, stored: dict[str, Any], data: str) -> bool:
        """Whether a folder can be the run's, whose files are compared once opened."""
        names = stored.get("data", data), data
        then, now = (pathlib.Path(name).expanduser() for name in names)
        return self.images.is_file() and now.is_dir() and not then.exists()

    def begin(
        self,
        config: Config,
        images: int,
        *,
        files: dict[str, Any] | None = None,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        """Writes config.json and the list of files where there are none.

        Where a folder lies now is noted in config.json, too.

        Args:
            config: The run's.
            images: How many it learns from; the order of the data follows from that.
            files: Which they are, see `Source.files`.
            identity: Hashes of what it was given, by what that is.

        Raises:
            InputError: The run began with another number of images or with something
                of another hash, or the directory can't be written.
        """
        records = self.read_log()
        if records:
            before = records[0].get("images")
            check(
                isinstance(before, int),
                f"the number of images in the first line of {self.log}",
                "none",
                DAMAGED,
            )
            check(
                before == images,
                f"the {before} images that the run in {self.path} began with",
                f"{images} images",
                "Use another --run_dir for other images, or bring back that run's.",
            )
            # An older run has no hashes; one is compared where both have it.
            before, now = records[0].get("identity", {}), identity or {}
            changed = [
                name for name in before if now.get(name) not in (None, before[name])
            ]
            check(
                not changed,
                f"what the run in {self.path} began with",
                f"other: {', '.join(changed)}",
                "Use another --run_dir for it, or bring back that run's.",
            )
        for partial in self.left_behind():
            # What others write, who hold no lock, may be in the making.
            if partial.name.split(".")[1] not in _OF_OTHERS:
                partial.unlink(missing_ok=True)
        with writable():
            if files is not None and not (records or self.images.exists()):
                write_json(self.images, files)
            if not self.config.exists():
                write_json(self.config, configs.to_dict(config))
            elif self._may_have_moved(stored := self.read_config(), config.data):
                write_json(self.config, stored | {"data": config.data})

    def check_begins(self, checkpoint_epochs: float) -> None:
        """Raises InputError where a run without a state has come beyond its first.

        It would begin anew, and write over its log and its networks.

        Args:
            checkpoint_epochs: How long a run may be before its first state.
        """
        last = next(reversed(self.read_log()), {})
        step, epoch = last.get("step", 0), last.get("epoch", 0.0)
        then = (self.read_config() or {}).get("checkpoint_epochs", checkpoint_epochs)
        first = max(checkpoint_epochs, then) * step / epoch if epoch else step
        check(
            step <= max(1, first) + 1,  # a step more, as epochs are rounded to steps
            f"a state in {self.checkpoints} to go on from",
            f"none, and a log that has come to epoch {epoch:g}",
            "Bring its states back, or begin anew in another --run_dir; its networks "
            "can be judged and exported without them. Had it none yet, since "
            "--checkpoint_epochs was larger, say that again.",
        )

    def check_there(self) -> None:
        """Raises InputError where the run was deleted or moved since it began."""
        check(
            self.config.is_file(),
            f"the run in {self.path}, which this process is writing",
            "no config.json there any more",
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
                    stack.enter_context(only_writer(self.lock))
                yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # it holds files: the run has begun
                    self.path.rmdir()
