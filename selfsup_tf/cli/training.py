"""`train.py`: from argv to a method, a recipe, a config, and a run."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from selfsup_tf import config as configs
from selfsup_tf.cli import preparing, program
from selfsup_tf.commands import spelled
from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.config.checks import check_heeded
from selfsup_tf.distribution.cluster import find_cluster
from selfsup_tf.distribution.local_workers import run_local_workers
from selfsup_tf.errors import check
from selfsup_tf.evaluation.next_steps import command
from selfsup_tf.evaluation.results import first_look
from selfsup_tf.existing import check_named
from selfsup_tf.methods import MethodPackage, find_method, list_methods
from selfsup_tf.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class _OwnFlags:
    """Flags of training that are not the config's: where, and by how many processes."""

    run_dir: str = ""
    """Directory of the run."""
    local_workers: int = 1
    """Processes of this machine that train together, as on so many machines."""
    lr_find: bool = False
    """Whether, in place of the training, a few steps at rising rates show which rate to
    take: lr_find.png and lr_find.json in run_dir."""
    lr_find_steps: int = 200
    """How many steps that takes."""
    lr_find_lowest: float = 1e-4
    """The rate that it begins with, per 256 images."""
    lr_find_highest: float = 10.0
    """The rate that it ends with, unless the loss diverges before."""

    def __post_init__(self):
        check(
            self.local_workers >= 1,
            "local_workers of 1 or more",
            self.local_workers,
            "--local_workers=2 starts two.",
        )
        moved = [
            f"--{field.name}"
            for field in dataclasses.fields(_OwnFlags)
            if field.name.startswith("lr_find_")
            and getattr(self, field.name) != field.default
        ]
        check(
            self.lr_find or not moved,
            f"--lr_find=True beside {' and '.join(moved)}",
            "a training, which looks for no rate",
            f"Add --lr_find=True, or leave out {' and '.join(moved)}.",
        )


_NoFlag = tyro.conf.Suppress[tyro.conf.Fixed[Any]]


@dataclasses.dataclass(frozen=True)
class _ViewFlags(ViewConfig):
    """A view of every image."""

    layers: _NoFlag = ()  # a recipe names them


def _parse_config(
    method: str, recipe: str, default: Config, words: Sequence[str]
) -> tuple[_OwnFlags, Config]:
    own = _OwnFlags(run_dir=f"runs/{method}-{recipe}")
    views = {
        f"view_{number}": _ViewFlags(**_fields(view))
        for number, view in enumerate(default.views, 1)
    }
    # The own flags stand among the config's without being any of its fields, and so
    # does each view of the tuple.
    kind = dataclasses.make_dataclass(
        type(default).__name__,
        [("views", _NoFlag, ()), *((n, _ViewFlags, v) for n, v in views.items())],
        bases=(type(default), _OwnFlags),
        frozen=True,
    )
    kind.__doc__ = (
        f"Trains by {method}'s recipe {recipe}. The same command resumes.\n\n"
        f"{program.IMPORTS}"
    )
    parsed = program.parse_flags(
        kind,
        f"train.py {method} {recipe}",
        words,
        default=kind(**_fields(own), **_fields(default)),
    )
    values = _fields(parsed)
    values["views"] = [ViewConfig(**_fields(values[name])) for name in views]
    own, config = (
        type(part)(**{name: values[name] for name in _fields(part)})
        for part in (own, default)
    )
    # A run that was begun with such a flag goes on by the same command.
    if not RunDirectory(own.run_dir).config.is_file():
        check_heeded(default, config)
        check_heeded(default.encoder, config.encoder, "encoder.")
        for name, before, now in zip(views, default.views, config.views, strict=True):
            check_heeded(before, now, f"{name}.")
    return own, config


def _fields(values: Any) -> dict[str, Any]:
    return {f.name: getattr(values, f.name) for f in dataclasses.fields(values)}


def _start_workers(words: Sequence[str], count: int, config: Config) -> int:
    """Runs the command in so many processes; the exit code."""
    check(
        config.strategy in ("auto", "multi_worker"),
        "--strategy=multi_worker, or none, beside --local_workers",
        config.strategy,
        "Leave one of them out.",
    )
    check(
        find_cluster() is None,
        "--local_workers where nothing else names workers",
        "TF_CONFIG or a step of SLURM that does",
        "Leave out --local_workers, or unset TF_CONFIG.",
    )
    configs.check_divisible(config.batch_size, count, config.accumulate)
    # The last flag of a name counts: a worker starts no workers.
    command = [sys.executable, sys.argv[0], *words, "--local_workers=1"]
    code = run_local_workers(command, count)
    if code > 128:
        program.complain("the run has stopped; the same command resumes it", code)
    return code


_INTERRUPTED = (
    "interrupted; the same command again goes on from the last checkpoint, or begins "
    "anew where there is none yet"
)
_LESS_MEMORY = (
    "Lower --batch_size; with --accumulate=2 or --remat=True the same batch needs less."
)


def train(arguments: Sequence[str] | None = None) -> None:
    """`train.py`: METHOD RECIPE --flags."""
    with program.friendly(_INTERRUPTED, _LESS_MEMORY):
        given = list(sys.argv[1:] if arguments is None else arguments)
        words, modules = program.split_imports(given)
        if not words or words[0] in ("-h", "--help"):
            return print(_list_methods())
        if words[0] == preparing.WORD:
            with program.friendly("interrupted; the same command again goes on"):
                return preparing.prepare(words[1:], modules)
        package = find_method(words[0])
        if len(words) == 1 or words[1] in ("-h", "--help"):
            return print(_list_recipes(package))
        recipe = package.recipe(words[1])
        own, config = _parse_config(package.name, words[1], recipe(), words[2:])
        configs.check_complete(config)
        check_named(config, own_modules=modules)
        if own.local_workers > 1:
            sys.exit(_start_workers(given, own.local_workers, config))
        program.import_tensorflow(modules)
        from selfsup_tf import api

        method = package.load()(config)
        if own.lr_find:
            with program.friendly("interrupted; no rate was found", _LESS_MEMORY):
                return _find_learning_rate(method, own)
        run = api.train(method, run_dir=own.run_dir)
        if not run.is_chief:
            return
        there = dict.fromkeys(method.networks, True)
        judge = first_look(there | {"labels": run.log[0].get("labelled", False)})
        directory = RunDirectory(run.run_dir)
        imports = "".join(f" --import={module}" for module in modules)
        print(
            f"\nThe run lies in {directory}, its encoder in {directory.network()}.\n"
            f"  How good is it?  {command(judge, directory)}{imports}\n"
            f"  All on one page: {command('report', directory)}{imports}\n"
            f"  Ship it:         {spelled('export')} {directory.flag}{imports}"
        )


def _find_learning_rate(method: Any, own: _OwnFlags) -> None:
    from selfsup_tf import api
    from selfsup_tf.training.lr_curve import format_lr_find

    found = api.find_learning_rate(
        method,
        path=own.run_dir,
        lowest=own.lr_find_lowest,
        highest=own.lr_find_highest,
        steps=own.lr_find_steps,
    )
    curve = RunDirectory(own.run_dir).rate_curve
    print(f"\n{format_lr_find(found)}\n\nThe curve: {curve}")


def _list_methods() -> str:
    packages = {}
    for name in list_methods():
        module = sys.modules[find_method(name).config_class.__module__]
        packages[name] = sys.modules[module.__package__]
    return program.listing(
        "train.py METHOD RECIPE --run_dir=DIRECTORY",
        {**packages, preparing.WORD: preparing.PrepareFlags},
        "`train.py METHOD` lists the recipes of a method.",
    )


def _list_recipes(package: MethodPackage) -> str:
    return program.listing(
        f"train.py {package.name} RECIPE --run_dir=DIRECTORY",
        package.recipes,
        f"`train.py {package.name} RECIPE --help` lists every flag.",
    )
