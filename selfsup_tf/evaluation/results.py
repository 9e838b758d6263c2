"""A protocol run for an encoder and for its untrained copy, kept and shown."""

import dataclasses
import inspect
import pathlib
import time
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
import sklearn

from selfsup_tf.data.sources import open_source
from selfsup_tf.distribution import environment
from selfsup_tf.errors import check, nearest
from selfsup_tf.evaluation.classifier import classifier_accuracy
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.evaluation.intervals import bootstrap_interval
from selfsup_tf.evaluation.knn import knn
from selfsup_tf.evaluation.linear import linear_probe
from selfsup_tf.evaluation.retrieval import retrieval
from selfsup_tf.evaluation.robustness import robustness
from selfsup_tf.files import write_json
from selfsup_tf.models.untrained import untrained_copy

PROTOCOLS = {
    "knn": knn,
    "linear": linear_probe,
    "retrieval": retrieval,
    "robustness": robustness,
}


class Result(Protocol):
    """What every protocol gives.

    Attributes:
        per_image: (N,), what each test image brought to the score.
    """

    per_image: np.ndarray

    @property
    def score(self) -> float:
        """The number that two encoders are compared by, in [0, 1]."""

    def columns(self) -> dict[str, float | None]:
        """What a table shows, in [0, 1]."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One protocol's numbers for an encoder and for the same network untrained.

    Attributes:
        protocol: A name among `PROTOCOLS`.
        options: All options of the protocol, defaults included.
        trained: The encoder's result.
        untrained: The untrained copy's, or None where it was not asked for.
        train: Name and size of the train set.
        test: Name and size of the test set.
        encoder_hash: `weights_hash` of the encoder.
        seconds: Time of each evaluation.
        versions: Of the packages that the numbers depend on.
    """

    protocol: str
    options: dict[str, Any]
    trained: Result
    untrained: Result | None
    train: dict[str, Any]
    test: dict[str, Any]
    encoder_hash: str
    seconds: dict[str, float]
    versions: dict[str, str]

    @property
    def gain(self) -> float | None:
        """Points of the score above the same network with fresh weights."""
        if self.untrained is None:
            return None
        return 100 * (self.trained.score - self.untrained.score)

    @property
    def gain_interval(self) -> tuple[float, float] | None:
        """The gain's interval of .95, in points: both were judged on the same images.

        See `bootstrap_interval`.
        """
        if self.untrained is None:
            return None
        trained, untrained = (
            np.asarray(result.per_image, np.float64)
            for result in (self.trained, self.untrained)
        )
        return bootstrap_interval(100 * (trained - untrained))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, and the gain with its interval."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("trained", "untrained"):
            values[name] = values[name] and values[name].to_dict()
        return {
            **values,
            "gain_points": self.gain,
            "gain_interval_points": self.gain_interval,
        }


def evaluate(
    protocol: str,
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    path: str | pathlib.Path | None = None,
    compare_untrained: bool = True,
    cache: pathlib.Path | None = None,
    **options: Any,
) -> Evaluation:
    """Runs a protocol for the encoder and for its untrained copy.

    Args:
        protocol: A name among `PROTOCOLS`.
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: A labelled Source or (images, labels).
        test: Likewise.
        path: A JSON file for the numbers, such as RUN_DIR/eval/knn.json.
        compare_untrained: Whether the same network is judged untrained, too.
        cache: A folder where representations are kept for the next protocol.
        **options: Of the protocol's function.

    Raises:
        InputError: An unknown protocol or option, or what the protocol refuses.
    """
    check(
        protocol in PROTOCOLS,
        "a protocol",
        repr(protocol),
        nearest(str(protocol), PROTOCOLS),
    )
    run = PROTOCOLS[protocol]
    options = _all_options(run, options)
    train, test = open_source(train), open_source(test)
    results, seconds = {}, {}
    encoders = {"trained": lambda: encoder}
    if compare_untrained:
        encoders["untrained"] = lambda: untrained_copy(encoder)
    for name, make in encoders.items():
        start = time.perf_counter()
        results[name] = run(make(), train, test, cache=cache, **options)
        seconds[name] = round(time.perf_counter() - start, 2)
    evaluation = Evaluation(
        protocol=protocol,
        options=options,
        trained=results["trained"],
        untrained=results.get("untrained"),
        train={"name": train.name, "size": train.size},
        test={"name": test.name, "size": test.size},
        encoder_hash=weights_hash(encoder),
        seconds=seconds,
        versions=versions(),
    )
    if path is not None:
        write_json(path, evaluation.to_dict())
    return evaluation


def transfer(
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    name: str,
    path: str | pathlib.Path | None = None,
    compare_untrained: bool = True,
    cache: pathlib.Path | None = None,
) -> list[Evaluation]:
    """k-NN and linear accuracy on images that the encoder has not learned from.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: A labelled Source or (images, labels).
        test: Likewise.
        name: Of the data.
        path: A JSON file for the numbers, such as RUN_DIR/eval/transfer_NAME.json.
        compare_untrained: Whether the same network is judged untrained, too.
        cache: A folder where representations are kept.

    Reference: Kornblith, Shlens, Le 2019, "Do better ImageNet models transfer better?",
        section 3 (logistic regression, its penalty chosen on a part of the train set).
    """
    train, test = open_source(train), open_source(test)
    options = {"compare_untrained": compare_untrained, "cache": cache}
    found = {
        protocol: evaluate(protocol, encoder, train, test, **options)
        for protocol in ("knn", "linear")
    }
    if path is not None:
        judged = {protocol: one.to_dict() for protocol, one in found.items()}
        write_json(path, {"protocol": "transfer", "data": name, **judged})
    return list(found.values())


def evaluate_classifier(
    classifier: keras.Model,
    test: Any,
    *,
    class_names: tuple[str, ...] | None = None,
    path: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """`classifier_accuracy`, with what was judged on what, as plain values.

    Args:
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C).
        test: A labelled Source or (images, labels).
        class_names: What the logits mean.
        path: A JSON file for the numbers, such as RUN_DIR/eval/accuracy.json.
    """
    test = open_source(test)
    start = time.perf_counter()
    result = classifier_accuracy(classifier, test, class_names=class_names)
    evaluation = {
        "protocol": "accuracy",
        "trained": result.to_dict(),
        "test": {"name": test.name, "size": result.num_test},
        "classifier_hash": weights_hash(classifier),
        "seconds": round(time.perf_counter() - start, 2),
        "versions": versions(),
    }
    if path is not None:
        write_json(path, evaluation)
    return evaluation


def format_accuracy(evaluation: dict[str, Any]) -> str:
    """One line: accuracy on 10000 of cifar10:test: top-1 61.20 %, top-5 95.31 %."""
    found = evaluation["trained"]
    low, high = found["top_1_interval"]
    line = (
        f"accuracy on {found['num_test']} of {evaluation['test']['name']}: "
        f"top-1 {100 * found['top_1']:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
    )
    if found["top_5"] is not None:
        line += f", top-5 {100 * found['top_5']:.2f} %"
    return line


def format_table(evaluation: Evaluation) -> str:
    """The numbers as lines of text for a terminal.

    ```
    knn (k=200, temperature=0.1): 50000 images of cifar10/train judge 10000 of ...
                   top-1     top-5
    trained      50.48 %   94.11 %
    untrained    29.83 %   82.77 %
    gain          +20.65    +11.34  points
    With other test images the gain in top-1 would be within +19.80 and +21.50 (95 %).
    ```
    """
    options = ", ".join(
        f"{name}={getattr(evaluation.trained, name)}"
        for name in _SHOWN[evaluation.protocol]
    )
    train, test = evaluation.train, evaluation.test
    trained, untrained = evaluation.trained, evaluation.untrained
    columns = trained.columns()
    lines = [
        f"{evaluation.protocol} ({options}): {train['size']} images of {train['name']}"
        f" judge {test['size']} of {test['name']}",
        f"{'':9}" + "".join(f"{name:>12}" for name in columns),
        _row("trained", columns),
    ]
    if untrained is not None:
        before = untrained.columns()
        lines.append(_row("untrained", before))
        gains = [
            f"{'':12}"
            if value is None or before[name] is None
            else f"{100 * (value - before[name]):+12.2f}"
            for name, value in columns.items()
        ]
        lines.append(f"{'gain':9}{''.join(gains)}  points")
        low, high = evaluation.gain_interval
        lines.append(
            f"With other test images the gain in {next(iter(columns))} would be within "
            f"{low:+.2f} and {high:+.2f} (95 %)."
        )
    return "\n".join(lines)


_SHOWN = {
    "knn": ("k", "temperature"),
    "linear": ("optimizer",),
    "retrieval": ("gallery",),
    "robustness": ("classifier",),
}


def _row(name: str, columns: dict[str, float | None]) -> str:
    cells = ["-" if x is None else f"{100 * x:.2f} %" for x in columns.values()]
    return f"{name:9}" + "".join(f"{cell:>12}" for cell in cells)


def _all_options(run: Callable, given: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(run).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
    del defaults["cache"]  # changes nothing
    for name in given:
        check(
            name in defaults,
            f"an option of {run.__name__}",
            repr(name),
            nearest(name, defaults),
        )
    return defaults | given


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on."""
    return {**environment.versions(), "scikit-learn": sklearn.__version__}
