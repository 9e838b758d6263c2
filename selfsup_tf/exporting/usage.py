"""Programs that call an artefact, for the model card: program.py.jinja, filled in."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2


def image_program(
    entry: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    *,
    imports: str,
    call: str,
) -> str:
    """A program that prepares an image with NumPy and Pillow and calls a file.

    Args:
        entry: The artefact's, of the manifest; it has one signature with one input.
        preprocessing: The manifest's.
        imports: The line that imports the runtime.
        call: The lines that give `found`, {output: array}, of the array `images`;
            {path} and {name} in them stand for the file and its input.
    """
    (signature,) = entry["signatures"].values()
    ((name, images),) = signature["inputs"].items()
    return template("program.py.jinja").render(
        class_names=entry["class_names"],
        imports=imports,
        size=preprocessing["size"][0],
        share=preprocessing["central_crop"],
        images=images,
        in_files=images["shape"][-1] in (1, 3),
        exif=preprocessing["exif_orientation"] == "applied",
        outputs=signature["outputs"],
        call=call.format(path=entry["path"], name=name),
    )


def template(name: str) -> jinja2.Template:
    """A Jinja2 template that lies beside this module."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> jinja2.Environment:
    # Neither is HTML: nothing is escaped.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        undefined=jinja2.ChainableUndefined,
    )
