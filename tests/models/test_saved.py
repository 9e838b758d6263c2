"""Damaged .keras files, and those that would read what is not theirs."""

import io
import random
import zipfile

import h5py
import keras
import numpy as np
import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.models.saved import load_network


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """The entries of a small network's .keras file."""
    path = tmp_path_factory.mktemp("saved") / "m.keras"
    inputs = keras.Input((4, 4, 3))
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(inputs))
    keras.Model(inputs, h).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, contents in entries.items():
            archive.writestr(name, contents)
    return stream.getvalue()


def damaged(entries, rng):
    """The file with a few bytes changed, within an entry or anywhere."""
    name = rng.choice([*entries, "config.json", None])
    contents = bytearray(packed(entries) if name is None else entries[name])
    for _ in range(rng.randrange(1, 6)):
        contents[rng.randrange(len(contents))] = rng.randrange(32, 127)
    return bytes(contents) if name is None else packed(entries | {name: contents})


def test_a_damaged_network_is_one_line(entries, tmp_path):
    """KeyError, RuntimeError, BadZipFile, AttributeError: whatever Keras raises."""
    path, rng = tmp_path / "m.keras", random.Random(0)
    refused = 0
    for _ in range(150):
        path.write_bytes(damaged(entries, rng))
        try:
            load_network(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 75


def test_a_network_nested_without_end_is_one_line(entries, tmp_path):
    path = tmp_path / "m.keras"
    deep = b"[" * 100_000 + b"]" * 100_000
    path.write_bytes(packed(entries | {"config.json": deep}))
    with pytest.raises(InputError, match=r"readable Keras model .* RecursionError"):
        load_network(path)


def test_a_network_reads_no_other_file(entries, tmp_path):
    """HDF5 lets a weight lie in any file of the one who opens it."""
    (tmp_path / "secret").write_bytes(np.arange(2, dtype=np.float32).tobytes())
    stream = io.BytesIO(entries["model.weights.h5"])
    with h5py.File(stream, "r+") as weights:
        names = []
        weights.visit(names.append)
        (bias,) = [n for n in names if getattr(weights[n], "shape", None) == (2,)]
        del weights[bias]
        places = [(str(tmp_path / "secret"), 0, 8)]
        weights.create_dataset(bias, (2,), np.float32, external=places)
    path = tmp_path / "m.keras"
    path.write_bytes(packed(entries | {"model.weights.h5": stream.getvalue()}))
    with pytest.raises(InputError) as refused:
        load_network(path)
    assert "external" in str(refused.value.__cause__).lower()
