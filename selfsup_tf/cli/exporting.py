"""`export.py`: from the encoder of a run to files that need none of this package."""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any, Literal

from selfsup_tf.cli import about, program
from selfsup_tf.errors import check
from selfsup_tf.evaluation.flags import EncoderFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.existing import check_named
from selfsup_tf.exporting.formats import find_formats
from selfsup_tf.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class ExportFlags:
    """Writes an encoder for servers and devices and proves each file on real images.

    The files go to RUN_DIR/export unless a directory is named, with a manifest and a
    model card.
    """

    run_dir: str | None = None
    """Directory of the run, or a .keras file."""
    directory: str | None = None
    """Where the files go."""
    formats: tuple[str, ...] = ("saved_model", "tflite")
    """Of those that are listed above; tflite for float32, float16 and int8; all."""
    data: str | None = None
    """Images for calibration and comparison, in place of the run's own."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    exif: bool = True
    """Whether photographs are turned upright, if the run turned its own."""
    encoder: Literal["last", "best"] = "last"
    """Which encoder of the run; best is by the online k-NN, or by RankMe where there
    are no labels."""
    classifier: Literal["auto", "linear", "none"] = "auto"
    """What gives probabilities beside the representation: auto takes the run's
    fine-tuned classifier where it has one, linear fits a linear one to the labels of
    the data."""
    batch: int | None = None
    """Images a call of a TFLite file takes; free unless it is given."""
    uint8_input: bool = False
    """Whether TFLite and ONNX files take uint8 images, 0 to 255, in place of floats in
    [0, 1]."""
    l2_normalize: bool = False
    """Whether the representations of TFLite and ONNX files have length 1."""
    keep_float: tuple[str, ...] = ()
    """Layers that int8 leaves in float32; auto finds those that it takes."""
    lossy_layers: bool = False
    """Whether, in place of an export, the layers are listed that int8 loses most in."""
    num_images: int = 1000
    """Held-out images that prove the files."""
    num_bank: int = 2000
    """Labelled training images that k-NN and the linear classifier learn from."""
    num_calibration: int = 200
    """Training images that integer formats are calibrated on."""
    min_cosine: dict[str, float] = dataclasses.field(default_factory=dict)
    """Least mean cosine with the encoder, for some formats: tflite_int8 0.99 ..."""
    max_knn_loss: dict[str, float] = dataclasses.field(default_factory=dict)
    """Points of k-NN accuracy that may be lost, for some formats: onnx 0.5 ..."""
    min_agreement: dict[str, float] = dataclasses.field(default_factory=dict)
    """Least share of images that get the encoder's class from a classifier, for some
    formats: tflite_int8 0.95 ..."""
    overwrite: bool = False
    """Whether an export that is there already is replaced, all its files at once."""
    verify: str | None = None
    """In place of an export: the directory of one, whose files are compared with its
    manifest."""


_LESS_MEMORY = "Lower --num_images, --num_bank and --num_calibration."


def export(arguments: Sequence[str] | None = None) -> None:
    """`export.py`: --run_dir --flags."""
    with program.friendly(less_memory=_LESS_MEMORY):
        words, modules = program.split_imports(arguments)
        flags = program.parse_flags(
            ExportFlags,
            "export.py",
            words,
            description=f"{inspect.getdoc(ExportFlags)}\n\n"
            f"Formats: {', '.join(find_formats())}.\n\n{program.IMPORTS}",
        )
        check(
            (flags.run_dir is None) != (flags.verify is None),
            "--run_dir=DIRECTORY, or --verify=DIRECTORY of an export",
            "neither" if flags.run_dir is None else "both",
            "Name the run to export.",
        )
        if flags.verify is not None:
            _check_alone(flags, "verify", ("verify",))
        if flags.lossy_layers:
            of_images = ("run_dir", "data", "data_dir", "exif", "encoder")
            _check_alone(flags, "lossy_layers", ("lossy_layers", *of_images))
        check_named(flags, own_modules=modules)
        program.import_tensorflow(modules)
        if flags.verify is not None:
            _verify(flags.verify)
        elif flags.lossy_layers:
            _list_lossy_layers(flags)
        else:
            _export(flags)


def _check_alone(flags: ExportFlags, name: str, allowed: tuple[str, ...]) -> None:
    """Refuses flags that would be ignored."""
    given = [
        field.name
        for field in dataclasses.fields(flags)
        if field.name not in allowed
        and getattr(flags, field.name) != getattr(ExportFlags(), field.name)
    ]
    check(
        not given,
        f"--{name} without flags of an export",
        ", ".join(f"--{flag}" for flag in given),
        "Leave them out: nothing is exported.",
    )


def _verify(directory: str) -> None:
    from selfsup_tf.exporting.manifest import check_manifest

    manifest = check_manifest(directory)
    print(
        f"{directory}: all {len(manifest['files'])} files are as they were exported, "
        f"of the encoder {manifest['encoder']['weights_sha256'][:16]}."
    )


def _list_lossy_layers(flags: ExportFlags) -> None:
    from selfsup_tf.exporting import exporter
    from selfsup_tf.exporting.quantisation import search

    judged = _judged(flags)
    encoder = judged.encoder
    seen, unseen = judged.open_pair()
    print(search.format_layers(exporter.lossy_layers(encoder, unseen, seen)))


def _export(flags: ExportFlags) -> None:
    from selfsup_tf.evaluation.features import weights_hash
    from selfsup_tf.evaluation.measures.health import HEALTHY
    from selfsup_tf.evaluation.measures.linear import linear_classifier
    from selfsup_tf.exporting import exporter
    from selfsup_tf.exporting.format import Options
    from selfsup_tf.exporting.formats import override_thresholds
    from selfsup_tf.exporting.request import check_request

    judged = _judged(flags)
    run = judged.run
    directory = flags.directory or run.export
    options = {f.name: getattr(flags, f.name) for f in dataclasses.fields(Options)}
    options = Options(**options | {"exif": judged.turns_upright})
    counts = ("num_images", "num_bank", "num_calibration")
    counts = {name: getattr(flags, name) for name in counts}
    check(
        flags.num_bank > 0 or not flags.max_knn_loss,
        "labelled images that k-NN learns from, beside --max_knn_loss",
        f"--num_bank={flags.num_bank}",
        "Leave one of them out.",
    )
    # Before the encoder is loaded and a classifier fitted, which takes minutes.
    wanted, _ = check_request(
        flags.formats, directory, options=options, overwrite=flags.overwrite, **counts
    )
    thresholds = override_thresholds(
        cosine=flags.min_cosine,
        knn_loss=flags.max_knn_loss,
        agreement=flags.min_agreement,
        chosen=wanted,
    )
    own = _own_classifier(flags, run)
    encoder = judged.encoder
    seen, unseen = judged.open_pair()
    unjudged = _why_unjudged(flags, judged, seen, unseen)
    if unjudged:
        counts["num_bank"] = 0
    classifier, class_names = own
    if flags.classifier == "linear":
        classifier, class_names = linear_classifier(encoder, seen, cache=run.features)
    training = about.training(run, flags.encoder)
    if classifier is not None:
        training["classifier"] = (
            f"linear, fitted to {seen.size:,} labelled images of {seen.name}"
            if flags.classifier == "linear"
            else _KINDS.get(training.get("method"), "trained with the encoder")
        )
    hashes = {weights_hash(net) for net in (encoder, classifier) if net is not None}
    results = about.results(run, hashes)
    metrics = about.metrics(results)
    if unjudged:
        metrics["no accuracies in the table"] = unjudged
    result = exporter.export(
        encoder,
        directory,
        formats=tuple(found.word for found in wanted),
        images=unseen,
        training_images=seen,
        classifier=classifier,
        class_names=class_names,
        options=options,
        thresholds=thresholds,
        **counts,
        training=training,
        metrics=metrics,
        overwrite=flags.overwrite,
    )
    print(exporter.format_table(result))
    verdicts = {one.verdict for one in results if not one.place}
    for verdict in verdicts - {None, HEALTHY}:
        print(f"\nThe files do what the encoder does, which is not well: {verdict}.")
    if unjudged:
        print(
            f"No accuracies: {unjudged}. Name images that it has not seen: "
            "--data=FOLDER. Or part these into train/ and test/ and train again."
        )
    print(f"\nMODEL_CARD.md in {result.directory} says how to call each.")


_KINDS = {
    "finetune": "fine-tuned with the encoder",
    "distill": "learned with the encoder from a classifier's answers",
}
"""How a run's own classifier came about, by its method."""


def _judged(flags: ExportFlags) -> Judged:
    of_images = ("run_dir", "data", "data_dir", "exif", "encoder")
    named = {name: getattr(flags, name) for name in of_images}
    return Judged(EncoderFlags(**named), "export")


def _why_unjudged(flags: ExportFlags, judged: Judged, seen: Any, unseen: Any) -> str:
    """Why the labels can't judge the network; nothing where they can, or are none.

    Raises:
        InputError: A flag asks for what they would tell.
    """
    both = seen.labelled and unseen.labelled
    alike = both and seen.class_names == unseen.class_names
    if alike and judged.can_be_judged:
        return ""
    reason = "labels of these images may have gone into the network"
    if not alike:
        reason = "these images have no labels, or their parts have different classes"
    defaults = ExportFlags()
    for name in ("num_bank", "max_knn_loss"):
        check(
            not getattr(flags, name) or getattr(flags, name) == getattr(defaults, name),
            f"an export without --{name}, which is about accuracies",
            f"--{name}, and {reason}",
            "Leave it out, or name labelled images that it has not seen: --data=FOLDER",
        )
    return reason if alike else ""


def _own_classifier(
    flags: ExportFlags, run: RunDirectory
) -> tuple[Any, tuple[str, ...] | None]:
    """The run's classifier and its class names, where it is exported, too.

    Raises:
        InputError: A flag asks for another, or for what there is none.
    """
    from selfsup_tf.models.saved import load_network

    own = run.kept("classifier")
    if flags.classifier == "linear":
        return None, None
    is_other = run.file is not None and run.file != run.kept("encoder")
    if flags.classifier == "none" or is_other or not own.is_file():
        check(
            not flags.min_agreement,
            "a classifier beside --min_agreement, which is about its answers",
            "an export without one",
            "Leave it out, or let one be fitted: --classifier=linear",
        )
        return None, None
    check(
        flags.encoder == "last",
        "--classifier=none or linear beside --encoder=best",
        "auto, whose classifier belongs to the last encoder",
        "Name one of them.",
    )
    run.check_free()  # a run that goes on may write another classifier any moment
    return load_network(own), run.read_class_names()
