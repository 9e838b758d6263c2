"""The command line: from argv to a method, a recipe, a config, and a verb.

TensorFlow is imported only when there is something for it to do, so that help and
mistakes answer at once. Whatever a user can get wrong ends in one line and exit code 2.
"""

import contextlib
import dataclasses
import importlib
import inspect
import logging
import os
import pathlib
import sys
import tempfile
import typing
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import tyro

from selfsup_tf import config as configs
from selfsup_tf.config import Config
from selfsup_tf.distribution.cluster import find_cluster
from selfsup_tf.distribution.local_workers import run_local_workers
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.json_files import read_json
from selfsup_tf.methods import MethodPackage, find_method, list_methods

Positional = tyro.conf.Positional
MARKERS = (tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands)


@dataclasses.dataclass(frozen=True)
class _EvalArguments:
    """Judges the encoder of a run on labelled images it was not taught with labels.

    The numbers go to RUN_DIR/eval/PROTOCOL.json.
    """

    protocol: tyro.conf.Positional[Literal["knn", "linear", "neighbours", "accuracy"]]
    """knn: weighted nearest neighbours; linear: a linear probe; neighbours: a picture
    of test images with their nearest neighbours; accuracy: of the classifier that
    finetune or distill left."""
    run_dir: str
    """Directory of the run, or a .keras file."""
    data: str | None = None
    """Labelled images, in place of the run's own."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    encoder: Literal["last", "best"] = "last"
    """Which encoder of the run; best is by the online k-NN."""
    untrained: bool = True
    """Whether the same network is judged untrained, beside it."""
    k: int | None = None
    """knn: neighbours that vote; 200, or all of a smaller bank."""
    temperature: float = 0.1
    """knn: T of their weights exp(cosine / T)."""
    optimizer: Literal["lbfgs", "sgd"] = "lbfgs"
    """linear: L-BFGS on stored features, or SGD with crops and flips."""
    epochs: int = 90
    """linear with sgd: passes over the images."""


@dataclasses.dataclass(frozen=True)
class _ExportArguments:
    """Writes an encoder as SavedModel and TFLite and compares each with the original.

    The files go to RUN_DIR/export unless a directory is named.
    """

    run_dir: str
    """Directory of the run, or a .keras file."""
    directory: str | None = None
    """Where the files go."""
    formats: tuple[str, ...] = ("saved_model", "tflite")
    """saved_model, tflite (all three), tflite_float32, tflite_float16, tflite_int8."""
    data: str | None = None
    """Images for calibration and comparison, in place of the run's own."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    encoder: Literal["last", "best"] = "last"
    """Which encoder of the run; best is by the online k-NN."""
    overwrite: bool = False
    """Whether an export that is there already is replaced, all its files at once."""


def train(arguments: Sequence[str] | None = None) -> None:
    """`train.py`: METHOD RECIPE --flags."""
    with friendly():
        words = list(sys.argv[1:] if arguments is None else arguments)
        if not words or words[0] in ("-h", "--help"):
            return print(_list_methods())
        package = find_method(words[0])
        if len(words) == 1 or words[1] in ("-h", "--help"):
            return print(_list_recipes(package))
        recipe = package.recipe(words[1])
        own, config = _parse_config(package.name, words[1], recipe(), words[2:])
        configs.check_complete(config)
        if own.local_workers > 1:
            sys.exit(_start_workers(words, own.local_workers, config))
        import_tensorflow()
        from selfsup_tf import api

        method = package.load()(config)
        run = api.train(method, run_dir=own.run_dir)
        if not run.is_chief:
            return
        judge = "accuracy" if "classifier" in method.networks else "knn"
        print(
            f"\nThe run lies in {run.run_dir}, its encoder in "
            f"{run.run_dir / 'encoder.keras'}.\n"
            f"  How good is it?  {_program('eval')} {judge} --run_dir={run.run_dir}\n"
            f"  Ship it:         {_program('export')} --run_dir={run.run_dir}"
        )


def evaluate(arguments: Sequence[str] | None = None) -> None:
    """`eval.py`: PROTOCOL --run_dir --flags."""
    with friendly():
        flags = parse_flags(_EvalArguments, "eval.py", arguments)
        import_tensorflow()
        from selfsup_tf import api
        from selfsup_tf.evaluation import results

        if flags.protocol == "accuracy":
            return _judge_classifier(flags)
        encoder = api.load_encoder(flags.run_dir, flags.encoder)
        data, data_dir = _run_data(flags)
        folder = _run_directory(flags.run_dir) / "eval"
        # Another optimizer, encoder or data set has a file of its own.
        name = flags.protocol
        name += "_sgd" if flags.optimizer == "sgd" else ""
        name += "" if flags.encoder == "last" else f"_{flags.encoder}"
        name += "" if flags.data is None else f"_{pathlib.Path(flags.data).stem}"
        if flags.protocol == "neighbours":
            pair = api.open_pair(data, data_dir=data_dir)
            folder.mkdir(exist_ok=True)
            api.neighbour_gallery(
                encoder,
                *pair,
                folder / f"{name}.png",
                queries=min(8, pair[1].size),
                hits=min(7, pair[0].size - 1),
            )
            return print(f"Nearest neighbours: {folder / name}.png")
        train_images, test_images = api.open_evaluation(data, data_dir=data_dir)
        _name_skipped(train_images, test_images)
        options = {
            "knn": {"k": flags.k, "temperature": flags.temperature},
            "linear": {"optimizer": flags.optimizer, "epochs": flags.epochs},
        }[flags.protocol]
        evaluation = results.evaluate(
            flags.protocol,
            encoder,
            train_images,
            test_images,
            path=folder / f"{name}.json",
            compare_untrained=flags.untrained,
            **options,
        )
        print(results.format_table(evaluation))
        print(f"\nWritten to {folder / name}.json")


def _judge_classifier(flags: _EvalArguments) -> None:
    """`eval.py accuracy`."""
    from selfsup_tf import api
    from selfsup_tf.evaluation import results

    check(
        flags.encoder == "last",
        "--encoder=last, since a run keeps one classifier",
        flags.encoder,
        "Leave --encoder out.",
    )
    folder = _run_directory(flags.run_dir)
    classifier = api.load_network(
        flags.run_dir,
        "classifier",
        advice="finetune and distill leave one: python train.py finetune RECIPE "
        "--pretrained=DIRECTORY --run_dir=DIRECTORY",
    )
    data, data_dir = _run_data(flags)
    config = folder / "config.json"
    own = read_json(config)["data"] if config.exists() else configs.FROM_PYTHON
    test = api.open_test(data, learned=may_have_learned(own, data), data_dir=data_dir)
    _name_skipped(test)
    name = "accuracy" if flags.data is None else f"accuracy_{pathlib.Path(data).stem}"
    evaluation = results.evaluate_classifier(
        classifier,
        test,
        class_names=api.load_class_names(flags.run_dir),
        path=folder / "eval" / f"{name}.json",
    )
    print(results.format_accuracy(evaluation))
    print(f"\nWritten to {folder / 'eval' / name}.json")


def may_have_learned(own: str, data: str) -> bool:
    """Whether a run on the data `own` may have learned from `data`: a part, or all."""
    ours, theirs = (pathlib.Path(d).expanduser().resolve() for d in (own, data))
    if data == own or ours.is_relative_to(theirs):
        return True
    inside = theirs.relative_to(ours).parts if theirs.is_relative_to(ours) else ()
    return bool(inside) and inside[0] not in ("test", "val", "validation")


def export(arguments: Sequence[str] | None = None) -> None:
    """`export.py`: --run_dir --flags."""
    with friendly():
        flags = parse_flags(_ExportArguments, "export.py", arguments)
        import_tensorflow()
        from selfsup_tf import api
        from selfsup_tf.exporting import exporter

        encoder = api.load_encoder(flags.run_dir, flags.encoder)
        data, data_dir = _run_data(flags)
        seen, unseen = api.open_pair(data, data_dir=data_dir)
        _name_skipped(seen, unseen)
        result = api.export(
            encoder,
            flags.directory or _run_directory(flags.run_dir) / "export",
            formats=flags.formats,
            images=unseen,
            calibration_images=seen,
            overwrite=flags.overwrite,
        )
        print(exporter.format_table(result))


def _list_methods() -> str:
    lines = ["usage: train.py METHOD RECIPE --run_dir=DIRECTORY [--FLAG=VALUE ...]", ""]
    for name in list_methods():
        module = sys.modules[find_method(name).config_class.__module__]
        package = sys.modules[module.__package__]
        lines.append(f"  {name:10} {_first_line(package)}")
    return "\n".join([*lines, "", "`train.py METHOD` lists the recipes of a method."])


def _list_recipes(package: MethodPackage) -> str:
    name = package.name
    lines = [
        f"usage: train.py {name} RECIPE --run_dir=DIRECTORY [--FLAG=VALUE ...]",
        "",
    ]
    width = max(map(len, package.recipes), default=0)
    lines += [f"  {r:{width}}  {_first_line(f)}" for r, f in package.recipes.items()]
    ending = f"`train.py {name} RECIPE --help` lists every flag with its default."
    return "\n".join([*lines, "", ending])


def _name_skipped(*sources: Any) -> None:
    """Names the files that could not be read, once each."""
    for line in sorted({line for source in sources for line in source.skipped}):
        print(f"skipped, unreadable: {line}")


def _program(verb: str) -> str:
    """How the user calls a verb: as a script of a checkout, or as installed."""
    installed = pathlib.Path(sys.argv[0]).name.startswith("selfsup-")
    return f"selfsup-{verb}" if installed else f"python {verb}.py"


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


@dataclasses.dataclass(frozen=True)
class _OwnFlags:
    """Flags of training that are not the config's: where, and by how many processes."""

    run_dir: str = ""
    """Directory of the run."""
    local_workers: int = 1
    """Processes of this machine that train together, as on so many machines."""

    def __post_init__(self):
        check(
            self.local_workers >= 1,
            "local_workers of 1 or more",
            self.local_workers,
            "--local_workers=2 starts two.",
        )


def _parse_config(
    method: str, recipe: str, default: Config, words: Sequence[str]
) -> tuple[_OwnFlags, Config]:
    own = _OwnFlags(run_dir=f"runs/{method}-{recipe}")
    # They stand among the config's flags without being any of its fields.
    kind = dataclasses.make_dataclass(
        type(default).__name__, [], bases=(type(default), _OwnFlags), frozen=True
    )
    kind.__doc__ = f"Trains by {method}'s recipe {recipe}. The same command resumes."
    parsed = parse_flags(
        kind,
        f"train.py {method} {recipe}",
        words,
        default=kind(**_fields(own), **_fields(default)),
    )
    return tuple(
        type(part)(**{name: getattr(parsed, name) for name in _fields(part)})
        for part in (own, default)
    )


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
        _complain("the run has stopped; the same command resumes it", code)
    return code


def parse_flags(
    kind: type, program: str, words: Sequence[str] | None, **options: Any
) -> Any:
    """The words of a command line as a dataclass of this kind; a slip is named."""
    known = _flag_names(kind)
    for word in sys.argv[1:] if words is None else words:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and name not in (*known, "help"):
            within = [flag for flag in known if flag.endswith(f".{name}")]
            advice = f"Perhaps you meant: --{' or --'.join(within)}"
            if not within:
                advice = nearest(name, known).replace(": ", ": --", 1)
            if advice.startswith("Choose"):
                advice = "--help lists all of them."
            raise InputError(f"a flag of {program}", word, advice)
    return tyro.cli(
        kind, prog=program, args=words, config=MARKERS, use_underscores=True, **options
    )


def _flag_names(kind: type, prefix: str = "") -> list[str]:
    """The flags of a dataclass and of the dataclasses in it."""
    names = []
    for name, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is ClassVar:
            continue
        names.append(prefix + name)
        if dataclasses.is_dataclass(hint):
            names += _flag_names(hint, f"{prefix}{name}.")
    return names


def _run_directory(run_dir: str) -> pathlib.Path:
    path = pathlib.Path(run_dir).expanduser()
    return path.parent if path.suffix == ".keras" else path


def _run_data(flags: _EvalArguments | _ExportArguments) -> tuple[str, str | None]:
    """Where the images are: what the flags say, else what the run learned from."""
    path = _run_directory(flags.run_dir) / "config.json"
    if flags.data is not None and not path.exists():
        return flags.data, flags.data_dir
    check(
        path.exists(),
        "--data",
        f"none, and no {path} that tells what the run learned from",
        "Name the images: --data=FOLDER",
    )
    stored = read_json(path)
    data_dir = flags.data_dir or stored["data_dir"]
    if flags.data is not None:
        return flags.data, data_dir
    check(
        stored["data"] != configs.FROM_PYTHON,
        "--data",
        "none, and this run learned from images given in Python",
        "Name images on disk: --data=FOLDER",
    )
    return stored["data"], data_dir


@contextlib.contextmanager
def friendly() -> Iterator[None]:
    """Turns what a user can mend into one line on stderr and an exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("selfsup_tf").setLevel(logging.INFO)
    try:
        yield
    except (InputError, OSError) as error:
        sys.exit(_complain(error, 2))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted; the same command again resumes", 130))
    except RuntimeError as error:
        # Divergence and failed parity: the message says all there is to say.
        if type(error).__module__.partition(".")[0] != "selfsup_tf":
            raise
        sys.exit(_complain(error, 1))


def _complain(message: object, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def import_tensorflow() -> None:
    """Imports it without the notices that its C++ writes to stderr while it loads."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
