"""What an export says about its run, for the manifest and the model card."""

from collections.abc import Iterable
from typing import Any

from selfsup_tf.evaluation.protocol import PROTOCOLS, Result
from selfsup_tf.evaluation.results import read_results
from selfsup_tf.evaluation.text import judged_on, shown
from selfsup_tf.run import RunDirectory


def training(run: RunDirectory) -> dict[str, Any]:
    """How the run came about: what tells most first, then its config."""
    config = run.read_config()
    if config is None:
        return {}
    told = ("method", "data", "image_size", "epochs", "steps", "batch_size", "seed")
    begun = next(iter(run.read_log()), {})
    return {
        **{name: config[name] for name in told if config.get(name) is not None},
        **{name: begun[name] for name in ("batch_size",) if name in begun},
        **begun.get("origins", {}),
        "config": config,
    }


def results(run: RunDirectory, hashes: set[str]) -> list[Result]:
    """What eval.py has found of these very weights."""
    stored = (one.result for one in read_results(run))
    return [result for result in stored if result.weights_hash in hashes]


def metrics(results: Iterable[Result]) -> dict[str, str]:
    """What counts in each result, for people."""
    found, known = {}, PROTOCOLS.all()
    for result in results:
        protocol = known.get(result.protocol)
        how = protocol.settings(result) if protocol else ""
        how = "; ".join(filter(None, (how, judged_on(result.measured_on))))
        if result.verdict is not None:
            words = " ".join((f"{result.verdict}.", *result.notes[:1]))
            found[f"{result.title}, verdict"] = f"{words} ({how})"
        for group, (row, *_) in result.groups.items():
            beside = (
                f"{other} {shown(one.value, row.unit)}"
                for other, one in row.beside.items()
            )
            numbers = ", ".join((shown(row.value, row.unit), *beside))
            name = ", ".join(filter(None, (result.title, group, row.title)))
            found[name] = f"{numbers} ({how})"
    return found
