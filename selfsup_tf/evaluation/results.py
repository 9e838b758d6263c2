"""A protocol run for an encoder and for its untrained copy, kept and shown."""

import dataclasses
import inspect
import pathlib
import platform
import time
from typing import Any

import keras
import numpy as np
import sklearn
import tensorflow as tf

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import check, nearest
from selfsup_tf.evaluation.classifier import classifier_accuracy
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.evaluation.knn import KnnResult, knn
from selfsup_tf.evaluation.linear import LinearResult, linear_probe
from selfsup_tf.json_files import write_json
from selfsup_tf.models.untrained import untrained_copy

PROTOCOLS = {"knn": knn, "linear": linear_probe}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One protocol's numbers for an encoder and for the same network untrained.

    Attributes:
        protocol: knn or linear.
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
    trained: KnnResult | LinearResult
    untrained: KnnResult | LinearResult | None
    train: dict[str, Any]
    test: dict[str, Any]
    encoder_hash: str
    seconds: dict[str, float]
    versions: dict[str, str]

    @property
    def gain(self) -> float | None:
        """Points of top-1 accuracy above the same network with fresh weights."""
        if self.untrained is None:
            return None
        return 100 * (self.trained.top_1 - self.untrained.top_1)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, and the gain as `gain_top_1_points`."""
        return {**dataclasses.asdict(self), "gain_top_1_points": self.gain}


def evaluate(
    protocol: str,
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    path: str | pathlib.Path | None = None,
    compare_untrained: bool = True,
    **options: Any,
) -> Evaluation:
    """Runs a protocol for the encoder and for its untrained copy.

    Args:
        protocol: knn or linear.
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: A labelled Source or (images, labels).
        test: Likewise.
        path: A JSON file for the numbers, such as RUN_DIR/eval/knn.json.
        compare_untrained: Whether the same network is judged untrained, too.
        **options: Of `knn` or `linear_probe`.

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
        results[name] = run(make(), train, test, **options)
        seconds[name] = round(time.perf_counter() - start, 2)
    evaluation = Evaluation(
        protocol=protocol,
        options=options,
        trained=results["trained"],
        untrained=results.get("untrained"),
        train={"name": train.name, "size": results["trained"].num_train},
        test={"name": test.name, "size": results["trained"].num_test},
        encoder_hash=weights_hash(encoder),
        seconds=seconds,
        versions=_versions(),
    )
    if path is not None:
        write_json(path, evaluation.to_dict())
    return evaluation


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
        **result.to_dict(),
        "test": {"name": test.name, "size": result.num_test},
        "classifier_hash": weights_hash(classifier),
        "seconds": round(time.perf_counter() - start, 2),
        "versions": _versions(),
    }
    if path is not None:
        write_json(path, evaluation)
    return evaluation


def format_accuracy(evaluation: dict[str, Any]) -> str:
    """One line: accuracy on 10000 of cifar10:test: top-1 61.20 %, top-5 95.31 %."""
    line = (
        f"accuracy on {evaluation['num_test']} of {evaluation['test']['name']}: "
        f"top-1 {100 * evaluation['top_1']:.2f} %"
    )
    if evaluation["top_5"] is not None:
        line += f", top-5 {100 * evaluation['top_5']:.2f} %"
    return line


def format_table(evaluation: Evaluation) -> str:
    """The numbers as lines of text for a terminal.

    ```
    knn (k=200, temperature=0.1): 50000 images of cifar10/train judge 10000 of ...
                   top-1     top-5
    trained      50.48 %   94.11 %
    untrained    29.83 %   82.77 %
    gain          +20.65    +11.34  points
    ```
    """
    shown = {"knn": ("k", "temperature"), "linear": ("optimizer",)}
    options = ", ".join(
        f"{name}={getattr(evaluation.trained, name)}"
        for name in shown[evaluation.protocol]
    )
    train, test = evaluation.train, evaluation.test
    lines = [
        f"{evaluation.protocol} ({options}): {train['size']} images of {train['name']}"
        f" judge {test['size']} of {test['name']}",
        f"{'':9}{'top-1':>10}{'top-5':>10}",
        _row("trained", evaluation.trained),
    ]
    if evaluation.untrained is not None:
        lines.append(_row("untrained", evaluation.untrained))
        top_5 = f"{'':10}"
        if evaluation.trained.top_5 is not None:
            difference = evaluation.trained.top_5 - evaluation.untrained.top_5
            top_5 = f"{100 * difference:+10.2f}"
        lines.append(f"{'gain':9}{evaluation.gain:+10.2f}{top_5}  points")
    return "\n".join(lines)


def _row(name: str, result: KnnResult | LinearResult) -> str:
    top_5 = "-" if result.top_5 is None else f"{100 * result.top_5:.2f} %"
    return f"{name:9}{100 * result.top_1:8.2f} %{top_5:>10}"


def _all_options(run: Any, given: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(run).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
    for name in given:
        check(
            name in defaults,
            f"an option of {run.__name__}",
            repr(name),
            nearest(name, defaults),
        )
    return defaults | given


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
