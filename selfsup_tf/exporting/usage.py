"""Programs that call the artefacts of an export, for its model card."""

import string
from typing import Any

_SAVED_MODEL = """\
import tensorflow as tf

loaded = tf.saved_model.load("$path")
with open("image.jpg", "rb") as file:
    contents = tf.constant([file.read()])
found = loaded.signatures["serve_bytes"](image_bytes=contents)
representation = found["representation"].numpy()"""
_CLASSIFY = """
found = loaded.signatures["classify_bytes"](image_bytes=contents)
label = found["label"].numpy()[0].decode()"""
_VIEW = '''\
${import_json}import numpy as np
$import_runtime
from PIL import Image


def view(path):
    """What the encoder sees of an image: (1, $size, $size, 3) float32 in [0, 1]."""
    image = Image.open(path).convert("RGB")
$crop    channels = [
        channel.convert("F").resize(($size, $size), Image.Resampling.BICUBIC)
        for channel in image.split()
    ]
    pixels = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return np.clip(pixels / np.float32(255), 0, 1)[None]


images = view("image.jpg")'''
_CROP = """\
    side = round($share * min(image.size))
    left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2
    image = image.crop((left, top, left + side, top + side))
"""
_LITERT = """\
runner = Interpreter(model_path="$path").get_signature_runner()
found = runner($name=images)"""
_LABEL = """\
with open("manifest.json") as file:
    class_names = json.load(file)["classifier"]["class_names"]
label = class_names[probabilities[0].argmax()]"""
_ONNX = """\
session = onnxruntime.InferenceSession("$path")
names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(names, {"$name": images})))"""


def usage(manifest: dict) -> str:
    """Markdown with a program for each way of calling the files of an export.

    The programs read image.jpg and run in the export directory. Files that are called
    alike share one.

    Args:
        manifest: See `manifest.describe`.
    """
    called_alike: dict[str, list[str]] = {}
    for artefact in manifest["artefacts"]:
        program = _program(artefact, manifest["preprocessing"])
        called_alike.setdefault(program, []).append(artefact["path"])
    parts = []
    for program, (path, *others) in called_alike.items():
        heading = f"`{path}`"
        if others:
            heading += ", and likewise " + ", ".join(f"`{name}`" for name in others)
        code = string.Template(program).substitute(path=path)
        parts.append(f"{heading}:\n\n```python\n{code}\n```")
    return "\n\n".join(parts)


def _program(artefact: dict[str, Any], preprocessing: dict[str, Any]) -> str:
    """A program with $path for the artefact's."""
    if artefact["format"] == "saved_model":
        return _SAVED_MODEL + (_CLASSIFY if artefact["class_names"] else "")
    (signature,) = artefact["signatures"].values()
    ((name, taken),) = signature["inputs"].items()
    onnx = artefact["format"] == "onnx"
    share = preprocessing["central_crop"]
    lines = [
        _fill(
            _VIEW,
            import_runtime="import onnxruntime"
            if onnx
            else "from ai_edge_litert.interpreter import Interpreter",
            import_json="import json\n\n" if artefact["class_names"] else "",
            size=preprocessing["size"][0],
            crop=_fill(_CROP, share=share) if share else "",
        )
    ]
    if taken["dtype"] != "float32":
        scale, zero_point = taken.get("scale", 1 / 255), taken.get("zero_point", 0)
        lines.append(
            f"images = np.rint(images / {scale!r} + {zero_point})"
            f'.astype("{taken["dtype"]}")'
        )
    batch = taken["shape"][0] or 1
    if batch > 1:
        lines.append(f"images = np.repeat(images, {batch}, axis=0)  # takes {batch}")
    lines.append(_fill(_ONNX if onnx else _LITERT, name=name))
    for output in ("representation", "probabilities"):
        if details := signature["outputs"].get(output):
            lines.append(_result(output, details))
            if output == "probabilities":
                lines.append(_LABEL)
    return "\n".join(lines)


def _result(output: str, details: dict[str, Any]) -> str:
    line = f'{output} = found["{output}"]'
    if "scale" in details:
        line += (
            f"\n{output} = {details['scale']!r} * "
            f'({output}.astype("float32") - {details["zero_point"]})'
        )
    return line


def _fill(template: str, **values: Any) -> str:
    """The template with values for all but $path."""
    return string.Template(template).safe_substitute(values)
