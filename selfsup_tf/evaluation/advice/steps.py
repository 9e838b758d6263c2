"""Commands that come next, as a shell takes them."""

import pathlib
import shlex
from collections.abc import Sequence

from selfsup_tf.commands import spelled
from selfsup_tf.evaluation.advice.candidate import Candidate
from selfsup_tf.existing import encoder_parts
from selfsup_tf.run import RunDirectory

EDGE_SIZE = 96
"""Pixels of the views of the recipe folder_edge."""
TEACHERS = ("imagenet:EfficientNetB0", "imagenet:MobileNetV3Large", "hub:dinov2_small")
"""Networks that are named to begin with, where none of those at hand is any good."""

Steps = tuple[tuple[str, str], ...]


def hand_over(taken: Candidate, where: Sequence[str]) -> Steps:
    place, layer, size = encoder_parts(taken.name)
    run = RunDirectory(place)
    whole = RunDirectory(run.path)
    export = (
        "Hand it over, proven on your images",
        f"{spelled('export')} {run.flag} {shlex.join(where)} --formats all",
    )
    report = "Look at what it sees", f"{spelled('eval')} report {whole.flag}"
    # A part of it, or one of another size, is no file that could be handed over.
    return (report,) if layer or size else (export, report)


def distil(
    teacher: Candidate, where: Sequence[str], ranked: Sequence[Candidate]
) -> Steps:
    smaller = teacher.image_size < EDGE_SIZE
    size = [f"--image_size={teacher.image_size}"] if smaller else []
    what = "Teach it to a small encoder for devices, without labels"
    return _student(what, teacher.name, size, where, ranked)


def begin(where: Sequence[str], ranked: Sequence[Candidate]) -> Steps:
    names = {one.name for one in ranked}
    teacher = next((name for name in TEACHERS if name not in names), TEACHERS[0])
    return _student("Begin from an encoder that exists", teacher, [], where, ranked)


def _student(what, teacher, options, where, ranked) -> Steps:
    """To distil from a teacher into a directory that nobody has, and to ask again."""
    names = [one.name for one in ranked]
    run_dir, number = "runs/student", 1
    while run_dir in names or pathlib.Path(run_dir).exists():
        number += 1
        run_dir = f"runs/student{number}"
    learn = [f"--teacher={teacher}", *options, f"--run_dir={run_dir}"]
    return (
        (
            what,
            f"{spelled('train')} "
            + shlex.join(["distill", "folder_edge", *where, *learn]),
        ),
        (
            "Then ask again",
            f"{spelled('eval')} "
            + shlex.join(["advise", *where, "--candidates", *names, run_dir]),
        ),
    )
