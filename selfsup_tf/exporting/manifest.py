"""The manifest of an export directory: what lies there, from what, and how good it is.

Legend: N images, S height and width of the encoder's input, D length of the
representation h.
"""

import contextlib
import importlib.metadata
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras

from selfsup_tf.data.views import evaluation_crop
from selfsup_tf.distribution.environment import hardware, versions
from selfsup_tf.errors import InputError, check
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.exporting.format import Artefact, name_channels
from selfsup_tf.exporting.formats import find_formats
from selfsup_tf.exporting.parity import Parity, format_table
from selfsup_tf.exporting.proof import Proof
from selfsup_tf.exporting.reference import Reference, describe_judges
from selfsup_tf.files import OF_NOBODY, digest, read_object, write_json

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
# Where things lie on the machine that trained tells strangers of it and helps nobody.
_LOCAL = ("data_dir", "run_dir")
_DAMAGED = (
    "It is damaged: copy the directory again from where it was written, or export "
    "again."
)
_PARTS = {
    **dict.fromkeys(("encoder", "preprocessing", "proof", "encoder_accuracy"), dict),
    **dict.fromkeys(("training", "metrics", "versions", "hardware", "files"), dict),
    **dict.fromkeys(("artefacts", "parity"), list),
}


def describe(
    directory: str | pathlib.Path,
    *,
    encoder: keras.Model,
    artefacts: Sequence[Artefact],
    parities: Sequence[Parity],
    reference: Reference,
    proof: Proof,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What is known of an export, as plain values.

    Args:
        directory: Where the artefacts lie.
        encoder: What was exported, float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        artefacts: What was written, each within the directory.
        parities: Their measurements.
        reference: The encoder's own answers.
        proof: What it was proven on.
        training: How the encoder came about: method, recipe, data, config, whatever
            is known, as plain values; `classifier` says of which kind that is.
            Directories of the machine are left out, see `without_places`.
        metrics: What evaluations of it found, likewise.

    Returns:
        The manifest, with the files that lie in the directory now.
    """
    directory, accuracy = pathlib.Path(directory), reference.accuracy
    training = dict(training or {})
    names = artefacts[0].class_names
    classifier = None  # of encoders alone
    if names is not None:
        classifier = {"class_names": list(names), "kind": training.get("classifier")}
    return {
        "format_version": FORMAT_VERSION,
        "encoder": {
            "name": encoder.name,
            "weights_sha256": weights_hash(encoder),
            "num_parameters": int(encoder.count_params()),
            "input_size": int(encoder.input_shape[1]),
            "representation_size": int(encoder.output_shape[-1]),
        },
        "preprocessing": _preprocessing(
            encoder.input_shape[1:], artefacts[0].options.exif
        ),
        "artefacts": [
            _describe_artefact(artefact, parities, directory) for artefact in artefacts
        ],
        "classifier": classifier,
        "training": without_places(training),
        "metrics": without_places(dict(metrics or {})),
        "proof": proof.to_dict(),
        "encoder_accuracy": {
            "knn_top_1": accuracy and accuracy.knn_top_1,
            "linear_top_1": accuracy and accuracy.linear_top_1,
            "classifier_top_1": reference.classifier_top_1,
        },
        "accuracy_protocols": describe_judges(reference, proof),
        # Inputs and outputs stand with the artefact's signatures.
        "parity": [
            {n: v for n, v in vars(p).items() if n not in ("inputs", "outputs")}
            for p in parities
        ],
        "parity_table": format_table(parities, reference),
        "versions": {**versions(), **_package_versions()},
        "hardware": hardware(),
        "files": list_files(directory),
    }


def write_manifest(directory: str | pathlib.Path, manifest: dict) -> None:
    """Writes the manifest, with the size and hash of every file of the directory.

    Call it last: a file that comes later is unknown to it.

    Args:
        directory: What it describes.
        manifest: See `describe`.
    """
    directory = pathlib.Path(directory)
    files = manifest["files"] | list_files(directory, manifest["files"])
    write_json(directory / MANIFEST, {**manifest, "files": files})


def read_manifest(directory: str | pathlib.Path) -> dict[str, Any]:
    """The manifest of an export directory.

    Raises:
        InputError: There is none, it is damaged, or not of a version that is known
            here.
    """
    path = pathlib.Path(directory).expanduser() / MANIFEST
    check(
        path.is_file(),
        f"an export directory with a {MANIFEST}",
        directory,
        "Name a directory that export.py has written.",
    )
    manifest = read_object(path, advice=_DAMAGED)
    known = manifest.get("format_version")
    check(
        known == FORMAT_VERSION,
        f"a {MANIFEST} of format_version {FORMAT_VERSION}",
        known or "none",
        "Use the version of this package that wrote it.",
    )
    wrong = [n for n, kind in _PARTS.items() if not isinstance(manifest.get(n), kind)]
    if not wrong and not isinstance(manifest["encoder"].get("weights_sha256"), str):
        wrong = ["weights_sha256 of its encoder"]
    if wrong:
        received = f"no {', no '.join(wrong)}"
        raise InputError(f"{path} as an export writes it", received, _DAMAGED)
    return manifest


def check_manifest(directory: str | pathlib.Path) -> dict[str, Any]:
    """Compares every file of an export directory with its manifest.

    Args:
        directory: The export.

    Returns:
        The manifest.

    Raises:
        InputError: There is no manifest; files were changed, are missing, or are not
            of the export.
    """
    directory = pathlib.Path(directory).expanduser()
    manifest = read_manifest(directory)
    expected, received = manifest["files"], list_files(directory)
    wrong = {
        "changed": [
            n for n in expected if n in received and expected[n] != received[n]
        ],
        "missing": [name for name in expected if name not in received],
        "not of this export": [name for name in received if name not in expected],
    }
    named = [f"{what}: {', '.join(names)}" for what, names in wrong.items() if names]
    if named:
        raise InputError(
            f"{directory} as it was exported ({len(expected)} files)",
            "; ".join(named),
            "Copy it again from where it was written, or export again.",
        )
    return manifest


def without_places(values: Any) -> Any:
    """Plain values without the directories of the machine that they come from.

    `data_dir` and `run_dir` are left out; of another path, such as that of a folder of
    images, the last part stays.
    """
    if isinstance(values, Mapping):
        return {
            name: without_places(value)
            for name, value in values.items()
            if name not in _LOCAL
        }
    if isinstance(values, list | tuple):
        return [without_places(value) for value in values]
    if isinstance(values, pathlib.PurePath) or _is_path(values):
        return pathlib.PurePath(str(values).replace("\\", "/")).name
    return values


_PATH = re.compile(r"[~.][^\s/\\]*[/\\]")
"""How the path of a file begins that is no whole one: ~/, ../, .cache/"""


def _is_path(value: Any) -> bool:
    if not isinstance(value, str) or not set("/\\") & set(value):
        return False
    if pathlib.PureWindowsPath(value).anchor or _PATH.match(value):
        return True
    # TFDS has names with a slash, such as imagenet_v2/topimages; they exist nowhere.
    with contextlib.suppress(OSError):  # a text that is too long for a name
        return pathlib.Path(value).exists()
    return False


def list_files(
    directory: pathlib.Path, known: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """{path within the directory: {"bytes", "sha256"}}, without the manifest itself.

    Args:
        directory: What is listed.
        known: Paths that are left out, since they are listed already.
    """
    paths = {p.relative_to(directory).as_posix(): p for p in directory.rglob("*")}
    return {
        name: {"bytes": path.stat().st_size, "sha256": digest(path)}
        for name, path in sorted(paths.items())
        if path.is_file()
        and name not in (MANIFEST, *known)
        and path.name not in OF_NOBODY
    }


def _preprocessing(shape: tuple[int, int, int], exif: bool) -> dict[str, Any]:
    """What comes between an image of any size and the encoder's input."""
    size, _, channels = map(int, shape)
    return {
        "channels": name_channels(channels),
        "range": [0.0, 1.0],
        "size": [size, size],
        "central_crop": evaluation_crop(size),
        "resize": "bicubic, antialiased, clipped to the range",
        "normalisation": "inside the encoder",
        "exif_orientation": "applied" if exif else "not applied",
    }


def _describe_artefact(artefact, parities, directory) -> dict[str, Any]:
    own = [p for p in parities if p.artefact == artefact.path.name]
    return {
        "path": artefact.path.relative_to(directory).as_posix(),
        "format": artefact.format.word,
        "precision": artefact.format.precision,
        "bytes": artefact.size_bytes,
        "options": {n: getattr(artefact.options, n) for n in artefact.format.heeds},
        "class_names": artefact.class_names,
        "signatures": {
            p.signature: {"inputs": p.inputs, "outputs": p.outputs} for p in own
        },
    }


def _package_versions() -> dict[str, str]:
    """Versions of this package and of those that write and run the formats."""
    found = {}
    formats = find_formats().values()
    packages = [name for one in formats for name in one.packages]
    for name in dict.fromkeys(("selfsup-tf", *packages)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
