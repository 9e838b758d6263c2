"""The page for people beside an export: what it is, its limits, how it is called."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from selfsup_tf.exporting.manifest import MANIFEST
from selfsup_tf.exporting.usage import usage
from selfsup_tf.files import write_atomically

MODEL_CARD = "MODEL_CARD.md"


def write_model_card(directory: str | pathlib.Path, manifest: dict) -> pathlib.Path:
    """Writes the model card of an export.

    Args:
        directory: Where to.
        manifest: See `manifest.describe`.
    """
    path = pathlib.Path(directory) / MODEL_CARD
    write_atomically(path, format_model_card(manifest))
    return path


def format_model_card(manifest: dict) -> str:
    """The model card as Markdown."""
    sections = {
        "What it is": _purpose(manifest),
        "Intended use and limits": _limits(manifest),
        "How to call it": usage(manifest),
        "How close each file is to the encoder": _parity(manifest),
        "What is known of the encoder's quality": _values(
            manifest["metrics"], "No evaluation was recorded with this export."
        ),
        "How it was trained": _values(
            manifest["training"], "Nothing was recorded with this export."
        ),
        "Files": _files(manifest),
        "Made with": _environment(manifest),
    }
    title = f"# Image encoder {manifest['encoder']['name']}"
    parts = [f"## {name}\n\n{text}" for name, text in sections.items()]
    return "\n\n".join([title, *parts]) + "\n"


def _purpose(manifest: dict) -> str:
    encoder = manifest["encoder"]
    size, length = encoder["input_size"], encoder["representation_size"]
    names = _class_names(manifest)
    if names is None:
        classes = " It was exported without a classifier."
    else:
        kind = manifest["classifier"]["kind"]
        kind = f" ({kind})" if kind else ""
        classes = (
            f" The classifier that was exported with it{kind} tells {len(names)} "
            f"classes: {', '.join(names)}."
        )
    return (
        f"A neural network with {encoder['num_parameters']:,} parameters that turns an "
        f"image of {size} x {size} pixels into a representation: a vector of {length} "
        "numbers that lies near, by cosine, to those of images with similar contents."
        f"{classes} All files here hold the same encoder, whose weights have the "
        f"SHA-256 `{encoder['weights_sha256']}`."
    )


def _limits(manifest: dict) -> str:
    proof = manifest["proof"]["images"]
    lines = [
        "Intended for search by example, for grouping images, for finding duplicates, "
        "and as the beginning of a classifier, on images like those it learned from.",
        "It has not been evaluated for fairness, nor for images unlike those; what it "
        "finds similar follows from its training images and their distortions, not "
        "from anybody's judgement. Do not let it decide about people.",
        f"The numbers below come from {proof['count']} images of {proof['source']}. "
        "They say how well each file does what the encoder does there, and nothing of "
        "other images.",
        "The licence of the training images may bind what is made of them.",
    ]
    if _class_names(manifest) is not None:
        lines.insert(
            2,
            "The classifier answers with one of its classes whatever it is shown, and "
            "its probabilities are not calibrated.",
        )
    return "\n".join(f"- {line}" for line in lines)


def _parity(manifest: dict) -> str:
    proof, rows = manifest["proof"], manifest["parity"]
    text = [
        f"Measured on {proof['images']['count']} images of "
        f"{proof['images']['source']}, each file in its own runtime: cosine of its "
        "representations with the encoder's, largest difference of two numbers, "
        "milliseconds for each image (median; of a whole batch, shared out, where the "
        "file fixes one), size, peak memory."
    ]
    if proof["bank"]:
        text.append(
            f"k-NN and linear accuracy read the labels from {proof['bank']['count']} "
            f"images of {proof['bank']['source']}, with each file's own "
            f"representations: {_protocols(manifest['accuracy_protocols'])}."
        )
    if proof["num_shrunk"]:
        text.append(
            f"The SavedModel's signatures for whole images got "
            f"{proof['num_shrunk']} of the images shrunk, to save memory, and "
            "are compared with the encoder's answers to those."
        )
    if proof["calibration"]:
        text.append(
            f"Integers are calibrated on {proof['calibration']['count']} images of "
            f"{proof['calibration']['source']}."
        )
    if any(row["agreement"] is not None for row in rows):
        text.append(
            "Of 'agree %' of the images a file gives the class of the encoder's "
            "classifier, or one that it finds as probable to within .05."
        )
    runtimes = sorted({row["runtime"] for row in rows})
    text.append(f"Runtimes: {', '.join(runtimes)}.")
    return f"{' '.join(text)}\n\n{manifest['parity_table']}"


def _protocols(judges: dict[str, Any]) -> str:
    knn, linear = judges["knn"], judges["linear"]
    return (
        f"{knn['k']} neighbours by cosine, whose votes weigh exp(cosine / "
        f"{knn['temperature']:g}); {linear['classifier']}, C = "
        f"{linear['inverse_penalty']:g}"
    )


def _values(values: Mapping[str, Any], otherwise: str) -> str:
    """Plain values as a list, and structures below it as JSON."""
    if not values:
        return otherwise
    plain = {n: v for n, v in values.items() if not isinstance(v, Mapping | list)}
    blocks = ["\n".join(f"- {name}: {value}" for name, value in plain.items())]
    blocks += [
        f"{name}:\n\n```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
        for name, value in values.items()
        if name not in plain
    ]
    return "\n\n".join(block for block in blocks if block)


def _files(manifest: dict) -> str:
    lines = ["| file | bytes | SHA-256 |", "| --- | ---: | --- |"]
    lines += [
        f"| {name} | {file['bytes']} | `{file['sha256']}` |"
        for name, file in manifest["files"].items()
    ]
    return (
        "\n".join(lines) + f"\n\n`{MANIFEST}` holds the same and more for programs; "
        "`python export.py --verify=DIRECTORY` compares."
    )


def _environment(manifest: dict) -> str:
    found = manifest["versions"].items()
    lines = [f"- {name} {version}" for name, version in found]
    machine = manifest["hardware"]
    return "\n".join(lines) + f"\n- {machine['cpus']} cores of {machine['cpu']}"


def _class_names(manifest: dict) -> list[str] | None:
    classifier = manifest["classifier"]
    return None if classifier is None else classifier["class_names"]
