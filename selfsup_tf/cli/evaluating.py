"""`eval.py`: how good an encoder is, by numbers, by pictures, on one page."""

import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from selfsup_tf.cli import program, protocols
from selfsup_tf.cli.judged_run import Run
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.files import save_figure


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


def _list_protocols() -> str:
    lines = ["usage: eval.py PROTOCOL --run_dir=DIRECTORY [--FLAG=VALUE ...]", ""]
    lines += [
        f"  {name:11} {program.first_line(kind)}"
        for name, (kind, _) in PROTOCOLS.items()
    ]
    ending = "`eval.py PROTOCOL --help` lists every flag with its default."
    return "\n".join([*lines, "", ending])


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
