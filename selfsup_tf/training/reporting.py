"""What a run says of itself: at its start, at its end, in its log's first line."""

import collections
import logging
import sys
from typing import Any

import keras
import numpy as np
import tqdm

from selfsup_tf.config import Plan
from selfsup_tf.data.parts import share_classes
from selfsup_tf.data.source import Source, fingerprint
from selfsup_tf.distribution.environment import hardware, versions
from selfsup_tf.lineage import labels_before
from selfsup_tf.methods import Method
from selfsup_tf.models.own import architecture
from selfsup_tf.shown import brief
from selfsup_tf.training import optimizers

logger = logging.getLogger("selfsup_tf")

_FEW_STEPS = 100  # BYOL's first 90 gain 3 points on CIFAR-10: docs/evaluation.md


def announce(
    method: Method, source: Source, plan: Plan, *, replicas: int, step: int
) -> None:
    """Says what is about to be trained, on what, and from which step on."""
    epochs = plan.total_steps / plan.steps_per_epoch
    logger.info(
        "%s on %s: %d images, %d steps of %d images (%.4g %s) on %d %s.",
        type(method).__name__,
        source.name,
        source.size,
        plan.total_steps,
        method.config.batch_size,
        epochs,
        "epoch" if epochs == 1 else "epochs",
        replicas,
        "device" if replicas == 1 else "replicas",
    )
    _describe_images(source)
    for line in method.start.described if method.start else ():
        logger.info("Starts from %s", line)
    logger.info("Learning rate %.4g.", plan.learning_rate)
    wanted = method.config.optimizer.warmup_epochs
    if round(wanted * plan.steps_per_epoch) > plan.warmup_steps:
        logger.info(
            "The run ends within a warm-up of %.4g epochs, so its own takes %d steps.",
            wanted,
            plan.warmup_steps,
        )
    for line in describe_variables(method):
        logger.info("%s", line)
    if plan.total_steps < _FEW_STEPS and len(method.config.drawn_views) > 1:
        logger.warning(
            "%d steps teach an encoder next to nothing: raise --epochs, or lower "
            "--batch_size.",
            plan.total_steps,
        )
    if step >= plan.total_steps:
        logger.info("This run is finished (step %d); nothing is trained.", step)
    elif step:
        logger.info("Resuming after step %d.", step)


def brief_run(run: Any) -> str:
    """A `loop.Run` in a line, with what its log says last."""
    log = f"<{len(run.log)} records>"
    if run.log:
        last = run.log[-1]
        loss = f", loss {last['train/loss']:.4g}" if "train/loss" in last else ""
        log = f"<{len(run.log)} records, to step {last['step']}{loss}{_scores(last)}>"
    shapes = f"<{run.encoder.input_shape} -> {run.encoder.output_shape}>"
    return brief(run, encoder=shapes, log=log)


def _scores(record: dict[str, Any]) -> str:
    score = ""
    if "eval/knn_top_1" in record:
        score = f", k-NN {record['eval/knn_top_1']:.1%}"
    if "health/rank_me" in record:
        score += f", rank {record['health/rank_me']:.1f}"
    return score


def tell_step(record: dict[str, Any], total_steps: int) -> None:
    """Says how a run goes, at a checkpoint, where nobody watches a bar."""
    logger.info(
        "step %d of %d: loss %.4f, %.0f images/s%s",
        record["step"],
        total_steps,
        record["train/loss"],
        record["train/images_per_second"],
        _scores(record),
    )


def compare_with_start(records: list[dict[str, Any]], by: str | None) -> None:
    """Says what became of the encoder that a run went on from.

    Args:
        records: Of the log.
        by: The score that the best is chosen by; None where nothing was measured.
    """
    scores = [record[by] for record in records if by in record]
    if len(scores) < 2:
        return
    first, last, best = scores[0], scores[-1], max(scores)
    said = (by, first, last)
    if best == first:
        logger.warning(
            "NOTHING GAINED: %s was %.4g at the start and is %.4g now, and was never "
            "higher. encoder_best.keras is the start; use --encoder=best, or lower "
            "--optimizer.learning_rate or --start_rate.",
            *said,
        )
    elif last < first:
        logger.warning(
            "%s was %.4g at the start and is %.4g now, %.4g at its best: use "
            "--encoder=best.",
            *said,
            best,
        )
    else:
        logger.info("%s was %.4g at the start and is %.4g now.", *said)


def treatment(method: Method) -> dict[str, list[keras.Variable]]:
    """The method's variables by what the optimizer does with them beside descending.

    The kinds are "decayed and adapted", "decayed", "adapted" and "neither decayed nor
    adapted"; those without a variable are left out.
    """
    config = method.config.optimizer
    unadapted = {id(variable) for variable in method.unadapted_variables}
    kinds = {}
    for variable in method.trainable_variables:
        adapts = config.name == "lars" and id(variable) not in unadapted
        decays = max(config.weight_decay, config.final_weight_decay or 0) > 0
        names = ["decayed"] * decays + ["adapted"] * adapts
        if config.name == "lamb":
            names += ["adapted"]  # Keras's LAMB adapts every variable
        if optimizers.is_excluded(variable):
            names = ["adapted"] if config.name == "lamb" else []
        kind = " and ".join(names) or "neither decayed nor adapted"
        kinds.setdefault(kind, []).append(variable)
    return kinds


def describe_variables(method: Method) -> list[str]:
    """A line for each treatment; the log's first record names every variable.

    ```
    21 variables are decayed and adapted: 21 kernel (11,166,912 numbers).
    40 variables are neither decayed nor adapted: 20 beta, 20 gamma (9,600 numbers).
    ```
    """
    lines = []
    for kind, variables in treatment(method).items():
        names = collections.Counter(v.path.rpartition("/")[2] for v in variables)
        listed = ", ".join(f"{names[name]} {name}" for name in sorted(names))
        numbers = sum(int(np.prod(v.shape)) for v in variables)
        count = (
            f"{len(variables)} variables are" if len(variables) > 1 else "1 variable is"
        )
        lines.append(f"{count} {kind}: {listed} ({numbers:,} numbers).")
    return lines


def _describe_images(source: Source) -> None:
    """Says what is a split, what a class, and what is left out."""
    for note in source.notes:
        logger.info("%s", note)
    # Names of streamed images may take a pass over them.
    names = None if source.streamed else source.class_names
    if names:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        what = "classes"
        if source.paths is not None:
            what = "sub-folders are taken as classes (--labels=False stops it)"
        logger.info("%d %s: %s%s.", len(names), what, ", ".join(names[:10]), more)
    name_skipped(source)


def name_skipped(source: Source) -> None:
    """Names the files that are left out, since they can't be read."""
    if source.skipped:
        logger.warning("Left out of %s:", source.name)
    for line in source.skipped:
        logger.warning("  %s", line)


def identify(method: Method, source: Source) -> dict[str, str]:
    """What a run is resumed with has to share with what it began with, as hashes.

    Under another Keras a network may be written otherwise and be the same.
    """
    found = {"images": source.contents}
    if "label" in method.model.input:
        found["labels"] = fingerprint(source.labels, source.class_names)
    written = f"in Keras {keras.__version__}"
    for part, origin in method.origins.items():
        found[f"{part}, {written}"] = origin["sha256"]
    if method.own_encoder is not None:
        found[f"architecture of encoder=, {written}"] = architecture(method.own_encoder)
    return {name: value for name, value in found.items() if value is not None}


def describe_run(method: Method, source: Source) -> dict[str, Any]:
    """The log's first record: images, treatment of each variable, hardware, versions.

    A run may go on elsewhere; these are of where it began.
    """
    names = _variable_names(method.model)
    return {
        "step": 0,
        "images": source.size,
        "batch_size": method.config.batch_size,
        "labelled": source.labelled and (source.streamed or share_classes(source)),
        "identity": identify(method, source),
        "origins": dict(method.origins),
        "labels_before": sorted(map(list, labels_before(vars(method.config)))),
        "skipped": list(source.skipped),
        "variables": {
            kind: [names[id(v)] for v in variables]
            for kind, variables in treatment(method).items()
        },
        "hardware": hardware(),
        "versions": versions(),
    }


def _variable_names(network: keras.Model, prefix: str = "") -> dict[int, str]:
    """Variables by identity, named by the networks they are in and their own path."""
    names = {}
    for layer in network.layers:
        inside = f"{prefix}{layer.name}/"
        if isinstance(layer, keras.Model):
            names |= _variable_names(layer, inside)
        else:
            names |= {id(v): prefix + v.path for v in layer.variables}
    return names


def progress_bar(total: int, step: int = 0, *, shown: bool = True) -> tqdm.tqdm:
    """A bar of steps on stderr, where that is a terminal and it is to be shown.

    Where nobody watches, a line at each checkpoint takes its place.
    """
    return tqdm.tqdm(
        total=total,
        initial=step,
        unit="step",
        disable=None if shown else True,
        dynamic_ncols=True,
        file=sys.stderr,
    )
