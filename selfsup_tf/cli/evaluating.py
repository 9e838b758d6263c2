"""`eval.py`: how good an encoder is, by numbers, by pictures, on one page."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from selfsup_tf import config as configs
from selfsup_tf.cli import program, protocols
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.figures import save_figure
from selfsup_tf.json_files import read_json


def evaluate(arguments: Sequence[str] | None = None) -> None:
    """`eval.py`: PROTOCOL --run_dir --flags."""
    with program.friendly():
        words = list(sys.argv[1:] if arguments is None else arguments)
        if not words or words[0] in ("-h", "--help"):
            return print(_list_protocols())
        name = words[0]
        if name not in PROTOCOLS:
            raise InputError("a protocol", repr(name), nearest(name, PROTOCOLS))
        kind, run = PROTOCOLS[name]
        flags = program.parse_flags(kind, f"eval.py {name}", words[1:])
        if not isinstance(flags, protocols.RunFlags):
            return run(flags)  # made of files alone
        program.import_tensorflow()
        return run(flags, Run(flags, name))


_MOST_DRAWN = 100  # classes of a confusion
# Flags that change no number, or stand in a file's name in a way of their own.
_UNNAMED = ("run_dir", "data", "data_dir", "untrained", "classes", "output")


def _list_protocols() -> str:
    lines = ["usage: eval.py PROTOCOL --run_dir=DIRECTORY [--FLAG=VALUE ...]", ""]
    lines += [
        f"  {name:11} {program.first_line(kind)}"
        for name, (kind, _) in PROTOCOLS.items()
    ]
    ending = "`eval.py PROTOCOL --help` lists every flag with its default."
    return "\n".join([*lines, "", ending])


class Run:
    """The run that is judged: its networks, its images, its files.

    Args:
        flags: What the user says of it.
        protocol: Names the files.
    """

    def __init__(self, flags: protocols.RunFlags, protocol: str):
        from selfsup_tf.models.saved import run_directory

        check(
            flags.encoder == "last" or not flags.run_dir.endswith(".keras"),
            "--encoder beside the directory of a run",
            f"--encoder={flags.encoder} beside a file",
            "Name the directory, or leave --encoder out.",
        )
        self.flags = flags
        self.directory = run_directory(flags.run_dir)
        self.folder = self.directory / "eval"
        self.cache = self.folder / "features"
        self._protocol = protocol

    @property
    def encoder(self) -> Any:
        """Its encoder, a keras.Model."""
        from selfsup_tf import api

        return api.load_encoder(self.flags.run_dir, self.flags.encoder)

    @property
    def encoder_path(self) -> pathlib.Path:
        """The file of the encoder."""
        from selfsup_tf import api

        path = pathlib.Path(self.flags.run_dir).expanduser()
        if path.suffix == ".keras":
            return path
        return path / f"{api.NETWORKS[self.flags.encoder]}.keras"

    def file(self, suffix: str) -> pathlib.Path:
        """Where a result goes: in its name stands every flag that is not the default.

        `knn.json`, `knn_k=5.json`, `health_encoder=best.json`, `map_data=photos.png`
        """
        names = [self._protocol]
        path = pathlib.Path(self.flags.run_dir)
        if path.suffix == ".keras" and path.stem != "encoder":
            names.append(f"file={path.stem}")
        if self._protocol == "transfer":
            names.append(pathlib.Path(self.flags.data).stem)
        elif self._is_other_data:
            names.append(f"data={pathlib.Path(self.flags.data).stem}")
        for field in dataclasses.fields(self.flags):
            value = getattr(self.flags, field.name)
            if field.name not in _UNNAMED and value != field.default:
                value = "-".join(map(str, value)) if isinstance(value, tuple) else value
                names.append(f"{field.name.replace('_', '-')}={value}")
        return self.folder / f"{'_'.join(names)}{suffix}"

    @property
    def _is_other_data(self) -> bool:
        """Whether --data names other images than the run's own, which may have moved.

        What a run was given in Python has no name to compare with.
        """
        if self.flags.data is None:
            return False
        file = self.directory / "config.json"
        own = read_json(file)["data"] if file.exists() else configs.FROM_PYTHON
        ours, theirs = (pathlib.Path(d).expanduser() for d in (own, self.flags.data))
        moved = not ours.exists() and ours.stem == theirs.stem
        same = own == self.flags.data or ours.resolve() == theirs.resolve()
        return not (own == configs.FROM_PYTHON or moved or same)

    def _data(self) -> tuple[str, str | None]:
        flags = self.flags
        return program.run_data(flags.run_dir, flags.data, flags.data_dir)

    @property
    def has_learned(self) -> bool:
        """Whether labels of the images that shall judge it may have gone into it.

        They are learned by a run that leaves a classifier, and choose the best encoder
        by the online k-NN.
        """
        learned = (self.directory / "classifier.keras").is_file()
        if self.encoder_path.stem == "encoder_best":
            chosen = self.directory / "best.json"
            learned |= not chosen.is_file() or "knn" in read_json(chosen)["by"]
        if not learned:
            return False
        path = self.directory / "config.json"
        own = read_json(path)["data"] if path.exists() else configs.FROM_PYTHON
        return may_have_learned(own, self._data()[0])

    def open_evaluation(self) -> tuple[Any, Any]:
        """Labelled images to fit on and to be judged on."""
        from selfsup_tf import api

        data, data_dir = self._data()
        pair = api.open_evaluation(data, learned=self.has_learned, data_dir=data_dir)
        program.name_skipped(*pair)
        return pair

    def open_pair(self) -> tuple[Any, Any]:
        """Images and others, with labels or without."""
        from selfsup_tf import api

        data, data_dir = self._data()
        pair = api.open_pair(data, data_dir=data_dir)
        program.name_skipped(*pair)
        return pair

    def open_test(self) -> Any:
        """Images that a classifier has not learned from."""
        from selfsup_tf import api

        data, data_dir = self._data()
        test = api.open_test(data, learned=self.has_learned, data_dir=data_dir)
        program.name_skipped(test)
        return test

    def open_source(self, split: str | None = None) -> Any:
        """One part of the images; that which the run learned from by default."""
        from selfsup_tf import api

        data, data_dir = self._data()
        file = self.directory / "config.json"
        if split is None and file.exists() and not self._is_other_data:
            split = read_json(file)["split"]
        split = split or "train"
        source = api.open_source(data, data_dir=data_dir, split=split)
        program.name_skipped(source)
        return source


def may_have_learned(own: str, data: str) -> bool:
    """Whether a run on the data `own` may have learned from `data`: a part, or all.

    What was given in Python may have been anything.
    """
    if own == configs.FROM_PYTHON:
        return True
    ours, theirs = (pathlib.Path(d).expanduser().resolve() for d in (own, data))
    if data == own or ours.is_relative_to(theirs):
        return True
    inside = theirs.relative_to(ours).parts if theirs.is_relative_to(ours) else ()
    return bool(inside) and inside[0] not in ("test", "val", "validation")


def _knn(flags: protocols.KnnFlags, run: Run) -> None:
    _judge("knn", flags, run, ("preset", "k", "temperature"))


def _linear(flags: protocols.LinearFlags, run: Run) -> None:
    names = ("preset", "epochs", "learning_rate", "weight_decay", "batch_size", "seed")
    _judge("linear", flags, run, names)


def _retrieval(flags: protocols.RetrievalFlags, run: Run) -> None:
    _judge("retrieval", flags, run, ("gallery", "ranks"))


def _robustness(flags: protocols.RobustnessFlags, run: Run) -> None:
    _judge("robustness", flags, run, ("classifier", "corruptions", "seed"))


def _judge(
    protocol: str,
    flags: protocols.LabelledFlags,
    run: Run,
    names: Sequence[str],
) -> None:
    """Runs a protocol that compares with labels, keeps its numbers and prints them."""
    from selfsup_tf.evaluation import charts, results

    encoder = run.encoder
    train, test = run.open_evaluation()
    path = run.file(".json")
    evaluation = results.evaluate(
        protocol,
        encoder,
        train,
        test,
        path=path,
        compare_untrained=flags.untrained,
        cache=run.cache,
        **{name: getattr(flags, name) for name in names},
    )
    print(results.format_table(evaluation))
    if isinstance(flags, protocols.ClassifierFlags):
        _print_classes(flags, evaluation.trained.per_class)
        _draw_confusion(evaluation.trained, path)
    elif protocol == "robustness":
        figure = charts.draw_robustness(evaluation.trained.to_dict())
        save_figure(figure, path.with_suffix(".png"))
    print(f"\nWritten to {path}")


def _draw_confusion(result: Any, path: pathlib.Path) -> None:
    """Beside the numbers; of more classes nothing could be seen."""
    from selfsup_tf.evaluation import charts

    if result.num_classes <= _MOST_DRAWN:
        figure = charts.draw_confusion(result.confusion, result.class_names)
        save_figure(figure, path.with_suffix(".png"))


def _print_classes(flags: Any, per_class: Sequence[dict[str, Any]]) -> None:
    """Class by class, where that is asked for."""
    from selfsup_tf.evaluation.classification import format_classes

    if flags.classes:
        print(f"\n{format_classes(per_class)}")


def _transfer(flags: protocols.TransferFlags, run: Run) -> None:
    from selfsup_tf.evaluation import results

    train, test = run.open_evaluation()
    path = run.file(".json")
    found = results.transfer(
        run.encoder,
        train,
        test,
        path=path,
        name=pathlib.Path(flags.data).stem,
        compare_untrained=flags.untrained,
        cache=run.cache,
    )
    for evaluation in found:
        print(f"{results.format_table(evaluation)}\n")
        _print_classes(flags, evaluation.trained.per_class)
    print(f"Written to {path}")


def _finetune(flags: protocols.FinetuneFlags, run: Run) -> None:
    from selfsup_tf import api, fine_tuning

    train, test = run.open_evaluation()
    path = run.file(".json")
    names = ("fraction", "epochs", "batch_size", "learning_rate", "from_scratch")
    found = api.fine_tune(
        run.encoder,
        train,
        test,
        directory=run.folder / "finetune",
        path=path,
        seed=flags.seed,
        **{name: getattr(flags, name) for name in names},
    )
    print(fine_tuning.format_fine_tuning(found))
    _print_classes(flags, found.trained.per_class)
    _draw_confusion(found.trained, path)
    print(f"\nWritten to {path}, the run to {found.run_dir}")


def _accuracy(flags: protocols.AccuracyFlags, run: Run) -> None:
    from selfsup_tf import api
    from selfsup_tf.evaluation import results

    check(
        flags.encoder == "last",
        "--encoder=last, since a run keeps one classifier",
        flags.encoder,
        "Leave --encoder out.",
    )
    classifier = api.load_network(
        flags.run_dir,
        "classifier",
        advice="finetune and distill leave one: python train.py finetune RECIPE "
        "--pretrained=DIRECTORY --run_dir=DIRECTORY",
    )
    path = run.file(".json")
    evaluation = results.evaluate_classifier(
        classifier,
        run.open_test(),
        class_names=api.load_class_names(flags.run_dir),
        path=path,
    )
    print(results.format_accuracy(evaluation))
    _print_classes(flags, evaluation["trained"]["per_class"])
    print(f"\nWritten to {path}")


def _health(flags: protocols.HealthFlags, run: Run) -> None:
    from selfsup_tf import api
    from selfsup_tf.evaluation import charts
    from selfsup_tf.evaluation.verdict import format_health

    path = run.file(".json")
    found = api.run_health(
        flags.run_dir,
        run.open_source(),
        which=flags.encoder,
        count=flags.count,
        seed=flags.seed,
        compare_untrained=flags.untrained,
        path=path,
    )
    print(format_health(found))
    values = found.to_dict()
    for name, draw in (
        ("spectrum", charts.draw_spectrum),
        ("cosines", charts.draw_histograms),
    ):
        save_figure(draw(values), path.with_name(f"{path.stem}_{name}.png"))
    print(f"\nWritten to {path}")


def _neighbours(flags: protocols.NeighboursFlags, run: Run) -> None:
    from selfsup_tf import api

    encoder, (seen, unseen) = run.encoder, run.open_pair()
    path = run.file(".png")
    api.neighbour_gallery(
        encoder,
        seen,
        unseen,
        path,
        queries=min(flags.queries, unseen.size),
        hits=min(flags.hits, seen.size - 1),
        seed=flags.seed,
        cache=run.cache,
    )
    print(f"Nearest neighbours: {path}")


def _map(flags: protocols.MapFlags, run: Run) -> None:
    from selfsup_tf import api

    found = api.embedding_map(
        run.encoder,
        run.open_pair()[1],
        method=flags.method,
        count=flags.count,
        seed=flags.seed,
        cache=run.cache,
    )
    path = api.write_map(found, run.folder, name=run.file("").name)
    print(f"Map of {len(found.positions)} images: {path}")


def _views(flags: protocols.ViewsFlags, run: Run) -> None:
    from selfsup_tf import api

    path = run.file(".png")
    api.preview_run(flags.run_dir, run.open_source(), path)
    print(f"Images and their views: {path}")


def _embed(flags: protocols.EmbedFlags, run: Run) -> None:
    from selfsup_tf import api

    encoder = run.encoder
    output = flags.output or run.directory / "embeddings.parquet"
    found = api.embed(
        encoder,
        run.open_source(flags.split),
        output,
        normalise=flags.normalise,
        overwrite=flags.overwrite,
    )
    print(f"{found.count} vectors of {found.size} numbers: {found.path}")


def _projector(flags: protocols.ProjectorFlags, run: Run) -> None:
    from selfsup_tf import api

    directory = run.file("")
    api.write_projector(
        run.encoder,
        run.open_pair()[1],
        directory,
        count=flags.count,
        seed=flags.seed,
    )
    print(f"To look at it: tensorboard --logdir={directory}")


def _curves(flags: protocols.CurvesFlags) -> None:
    from selfsup_tf.cli import report

    report.curves(flags)


def _report(flags: protocols.ReportFlags) -> None:
    from selfsup_tf.cli import report

    report.report(flags)


PROTOCOLS: dict[str, tuple[type, Callable]] = {
    "knn": (protocols.KnnFlags, _knn),
    "linear": (protocols.LinearFlags, _linear),
    "retrieval": (protocols.RetrievalFlags, _retrieval),
    "robustness": (protocols.RobustnessFlags, _robustness),
    "transfer": (protocols.TransferFlags, _transfer),
    "finetune": (protocols.FinetuneFlags, _finetune),
    "accuracy": (protocols.AccuracyFlags, _accuracy),
    "health": (protocols.HealthFlags, _health),
    "neighbours": (protocols.NeighboursFlags, _neighbours),
    "map": (protocols.MapFlags, _map),
    "views": (protocols.ViewsFlags, _views),
    "curves": (protocols.CurvesFlags, _curves),
    "embed": (protocols.EmbedFlags, _embed),
    "projector": (protocols.ProjectorFlags, _projector),
    "report": (protocols.ReportFlags, _report),
}
