"""Asks of a method, of anybody's, what the training loop promises of it.

python -m selfsup_tf.conformance simclr
python -m selfsup_tf.conformance byol --still target_projection_1 target_projection_2
python -m selfsup_tf.conformance queued --reference=my_tests:slow_loss
"""

import dataclasses
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile

from selfsup_tf import cli
from selfsup_tf.errors import InputError, check, check_one_of


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains a tiny encoder by a method, in every way that must come to the same.

    In float64: on 1 and on 2 replicas, in micro-batches, compiled by XLA, resumed; its
    loss against yours, its gradient against differences. CONTRIBUTING.md has more.
    """

    method: cli.Positional[str]
    """As on the command line of train.py, such as simclr."""
    recipe: str | None = None
    """Whose heads and constants are taken; the first, if left out."""
    reference: str | None = None
    """MODULE:FUNCTION, which gives the loss, (N,), of the model's outputs, NumPy arrays
    by name, and the config."""
    still: tuple[str, ...] = ()
    """Outputs of the model that no gradient may flow into."""
    partly: tuple[str, ...] = ()
    """Outputs with a part in the loss that is stopped, and another that is not; their
    gradient is not compared with differences."""
    config: tuple[str, ...] = ()
    """FIELD=VALUE of the config, where the recipe's can't be taken; VALUE is JSON."""


def main() -> None:
    """Parses the command line, checks, and exits with 1 where something is amiss."""
    with cli.friendly():
        flags = cli.parse_flags(Arguments, "python -m selfsup_tf.conformance", None)
        config = dict(_read_field(text) for text in flags.config)
        reference = _find_reference(flags.reference)
        cli.import_tensorflow()
        from selfsup_tf.conformance import checks, trial

        trial.hide_accelerators()
        small = trial.small_config(flags.method, flags.recipe, **config)
        options = {"still": flags.still, "partly": flags.partly}
        seen = checks.check_method(small, reference=reference, **options)
        with tempfile.TemporaryDirectory() as folder:
            runs = _train(flags, config, pathlib.Path(folder))
        table = [
            checks.compare_runs("2 replicas are 1", runs["two"], runs["plain"]),
            checks.compare_runs(
                "micro-batches are the whole batch", runs["accumulated"], runs["whole"]
            ),
            checks.compare_runs("a resumed run is whole", *_pair(runs, "resumed")),
            checks.compare_runs("compiled by XLA it is", *_pair(runs, "compiled")),
            *seen,
        ]
    width = max(len(row.name) for row in table)
    for row in table:
        print(f"{'ok  ' if row.passed else 'FAIL'}  {row.name:<{width}}  {row.found}")
    failed = sum(not row.passed for row in table)
    print(f"\n{flags.method}: {len(table) - failed} of {len(table)} hold.")
    if reference is None:
        print("The loss was compared with nothing: --reference=MODULE:FUNCTION.")
    sys.exit(1 if failed else 0)


def _pair(runs, name):
    return runs[name], runs["plain"]


def _read_field(text):
    name, equals, value = text.partition("=")
    check(bool(equals), "FIELD=VALUE", text, "For example: --config temperature=0.2")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _find_reference(text):
    if text is None:
        return None
    name, _, function = text.partition(":")
    check(bool(name and function), "MODULE:FUNCTION", text, "For example: slow:loss")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            "MODULE:FUNCTION, to be imported from here", text, f"{error}."
        ) from None
    functions = [key for key, value in vars(module).items() if callable(value)]
    check_one_of(function, functions, f"a function of {name}")
    return getattr(module, function)


def _train(flags, config, folder):
    """Losses and weights of each run, by name."""
    alone = ["plain", "whole", "accumulated", "resumed", "compiled"]
    processes = []
    for replicas, runs in ((1, alone), (2, ["plain"])):
        output = folder / f"{replicas}"
        output.mkdir()
        task = {
            "method": flags.method,
            "recipe": flags.recipe,
            "config": config,
            "replicas": replicas,
            "runs": runs,
            "output": str(output),
        }
        file = folder / f"{replicas}.json"
        file.write_text(json.dumps(task))
        command = [sys.executable, "-m", "selfsup_tf.conformance.trial", str(file)]
        pipe = subprocess.PIPE
        processes.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=pipe, text=True)
        )
    ended = [(process, process.communicate()[1]) for process in processes]
    for process, errors in ended:
        last = errors.strip().splitlines()[-1:] or ["no reason given"]
        check(process.returncode == 0, "runs that end", last[0], "Mend this first.")
    import numpy as np

    def read(path):
        with np.load(path) as file:
            return dict(file)

    found = {path.stem: read(path) for path in (folder / "1").glob("*.npz")}
    return found | {"two": read(folder / "2" / "plain.npz")}


if __name__ == "__main__":
    main()
