"""Networks and configs that a stranger wrote: loading them runs nothing of theirs."""

import json
import sys
import zipfile

import keras
import numpy as np
import pytest

from selfsup_tf.data.own_layers import find_own_layer
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.kept_arrays import read_arrays
from selfsup_tf.models.saved import load_encoder


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that notes that it was imported, and is found by Python."""
    name = "planted_by_a_stranger"
    code = "import keras\nclass Blot(keras.layers.Layer):\n    pass\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def write_network(path, **changes):
    """A network of one layer, whose entry in the file's config is changed."""
    images = keras.Input((4, 4, 3))
    whole = path.with_name("whole.keras")
    keras.Model(images, keras.layers.Flatten()(images)).save(whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            contents = old.read(name)
            if name == "config.json":
                config = json.loads(contents)
                config["config"]["layers"][1] |= changes
                contents = json.dumps(config).encode()
            new.writestr(name, contents)
    return path


def test_code_in_a_network_is_not_run(tmp_path):
    images = keras.Input((4, 4, 3))
    layer = keras.layers.Lambda(lambda x: keras.ops.mean(x, axis=(1, 2)))
    keras.Model(images, layer(images)).save(tmp_path / "a.keras")
    with pytest.raises(InputError, match=r"`Lambda` layer.*Python lambda"):
        load_encoder(tmp_path / "a.keras")


def test_a_network_loads_no_saved_model_beside_it(tmp_path):
    """One could read and write files."""
    reference = {"module": "keras.layers", "class_name": "TFSMLayer"}
    reference["config"] = {"name": "a", "filepath": str(tmp_path)}
    with pytest.raises(InputError, match="`TFSMLayer`, which loads an external"):
        load_encoder(write_network(tmp_path / "a.keras", **reference))


def test_a_network_imports_no_module(tmp_path, module):
    """Not even one that is there."""
    load_encoder(write_network(tmp_path / "a.keras"))
    names = {"module": module, "class_name": "Blot", "registered_name": None}
    with pytest.raises(InputError, match="a readable Keras model"):
        load_encoder(write_network(tmp_path / "a.keras", **names))
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("place", "name", "config"),
    [
        ("os", "mkdir", {"path": "{made}"}),
        (
            "keras.utils",
            "get_file",
            {"fname": "a", "origin": "x", "cache_dir": "{made}"},
        ),
        ("builtins", "open", {"file": "{made}", "mode": "w"}),
    ],
)
def test_a_network_calls_no_function(tmp_path, place, name, config):
    made = tmp_path / "made"
    config = json.loads(json.dumps(config).replace("{made}", str(made)))
    named = {"module": place, "class_name": name, "registered_name": name}
    with pytest.raises(InputError, match="a readable Keras model"):
        load_encoder(write_network(tmp_path / "a.keras", **named, config=config))
    assert not made.exists()


def test_a_config_imports_from_the_path_and_not_from_its_run(tmp_path, module):
    beside = tmp_path / "run"
    beside.mkdir()
    (beside / "module_of_the_run.py").write_text("raise SystemExit")
    with pytest.raises(InputError, match=r"registered as 'module_of_the_run>Blot'"):
        find_own_layer("module_of_the_run>Blot")
    with pytest.raises(InputError, match="registered"):
        find_own_layer(f"{module}>Blot")
    assert module in sys.modules, "docs/security.md says that it is imported"


def test_a_cache_holds_no_objects(tmp_path):
    np.savez(tmp_path / "a.npz", features=np.array([print], object))
    assert read_arrays(tmp_path, "a") is None
