"""The page for people beside an export: what it is, its limits, how it is called.

Its text is `card.md.jinja`; the programs in it are those of the formats.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from selfsup_tf.config.encoder import PRETRAINED
from selfsup_tf.exporting.formats import find_formats
from selfsup_tf.exporting.usage import template

MODEL_CARD = "MODEL_CARD.md"
# Stands in programs for the path of the file, so that equal ones are shown once.
_PATH = "{PATH}"


def format_model_card(manifest: dict) -> str:
    """The model card as Markdown.

    Args:
        manifest: See `manifest.describe`.
    """
    programs = list(format_programs(manifest).items())
    card = template("card.md.jinja").render(
        manifest,
        title=_text(_title(manifest)),
        programs=programs,
        values=_values,
        text=_text,
    )
    return card + "\n"


def _text(value: Any) -> str:
    """A value, such as the name of a folder, in which nothing is taken for Markdown."""
    line = " ".join(str(value).splitlines())
    return re.sub(r"[\\`*\[\]<>]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def _title(manifest: dict) -> str:
    """What sets this encoder apart: its network, its images, how it learned them."""
    training = manifest["training"]
    config = training.get("config", {})
    network = config.get("start") or config.get("encoder", {}).get("name", "")
    if not network or network == PRETRAINED or network.startswith("("):
        network = manifest["encoder"]["name"]
    title = "Image encoder" if network == "encoder" else f"Image encoder {network}"
    if training.get("data") and training.get("method"):
        title += f" of {training['data']}, learned by {training['method']}"
    if training.get("epochs"):
        title += f" in {_length(training)} epochs"
    return title


def _length(training: Mapping[str, Any]) -> str:
    """How long it has learned: 100, or 5 of 100 where the run hasn't come further."""
    asked = training["epochs"]
    steps, learned = (training.get(f"{n}_learned") for n in ("steps", "epochs"))
    # What is left of an epoch after its last whole batch is not learned from.
    if steps is None or learned * (steps + 1) > (asked - 0.01) * steps > 0:
        return f"{asked:g}"
    return f"{learned:g} of {asked:g}"


def format_programs(manifest: dict) -> dict[str, str]:
    """A program for each way of calling the files of an export, by its heading.

    The programs read image.jpg, or image.npy, and run in the export directory. Files
    that are called alike share one.

    Args:
        manifest: Its artefacts and preprocessing are read, see `manifest.describe`.
    """
    formats, called_alike = find_formats(), {}
    for entry in manifest["artefacts"]:
        of = formats[entry["format"]]
        program = of.code({**entry, "path": _PATH}, manifest["preprocessing"])
        called_alike.setdefault(program, []).append(entry["path"])
    programs = {}
    for program, (path, *others) in called_alike.items():
        heading = f"`{path}`"
        if others:
            heading += ", and likewise " + ", ".join(f"`{name}`" for name in others)
        programs[heading] = program.replace(_PATH, path)
    return programs


def _values(values: Mapping[str, Any], otherwise: str) -> str:
    """Plain values as a list, and structures below it as JSON."""
    if not values:
        return otherwise
    plain = {n: v for n, v in values.items() if not isinstance(v, Mapping | list)}
    blocks = ["\n".join(f"- {_text(n)}: {_text(v)}" for n, v in plain.items())]
    blocks += [
        f"{name}:\n\n```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
        for name, value in values.items()
        if name not in plain
    ]
    return "\n\n".join(block for block in blocks if block)
