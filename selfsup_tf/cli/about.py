"""What an export says about its run, for the manifest and the model card."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selfsup_tf.evaluation.protocol import PROTOCOLS, Result
from selfsup_tf.evaluation.results import read_results
from selfsup_tf.evaluation.text import judged_on, shown
from selfsup_tf.run import RunDirectory, saved_steps


def training(run: RunDirectory, which: str = "last") -> dict[str, Any]:
    """How the run came about: what tells most first, then its config.

    Args:
        run: The run.
        which: The "last" encoder or the "best", of which it is told how long it has
            learned.
    """
    config = run.read_config()
    if config is None:
        return {}
    told = ("method", "data", "image_size", "epochs", "steps", "batch_size", "seed")
    records = run.read_log()
    begun = next(iter(records), {})
    return {
        **{name: config[name] for name in told if config.get(name) is not None},
        **{name: begun[name] for name in ("batch_size",) if name in begun},
        **begun.get("origins", {}),
        **_learned(run, records, which),
        "config": config,
    }


def _learned(
    run: RunDirectory, records: Sequence[Mapping[str, Any]], which: str
) -> dict[str, Any]:
    """How many steps and epochs an encoder has learned; nothing where it isn't known.

    A run that was stopped, or goes on, has fewer than its config asks for.
    """
    last = next((r for r in reversed(records) if r.get("step") and r.get("epoch")), {})
    if not last or run.file is not None:
        return {}
    if which == "best" and run.encoder("best").is_file():
        step = (run.read_best() or {}).get("step")
    else:
        # Networks are written with each state, records more often.
        step = next(iter(saved_steps(run.checkpoints)), None)
    step = last["step"] if step is None else step
    epochs = round(last["epoch"] * step / last["step"], 2)
    return {"steps_learned": step, "epochs_learned": epochs}


def results(run: RunDirectory, hashes: set[str]) -> list[Result]:
    """What eval.py has found of these very weights."""
    stored = (one.result for one in read_results(run))
    return [result for result in stored if result.weights_hash in hashes]


def metrics(results: Iterable[Result]) -> dict[str, str]:
    """What counts in each result, for people."""
    from selfsup_tf.exporting.manifest import without_places

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
                f"{without_places(other)} {shown(one.value, row.unit)}"
                for other, one in row.beside.items()
            )
            numbers = ", ".join((shown(row.value, row.unit), *beside))
            name = ", ".join(filter(None, (result.title, group, row.title)))
            found[name] = f"{numbers} ({how})"
    return found
