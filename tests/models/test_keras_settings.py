"""Keras set otherwise than this package needs it is one message, before any layer."""

import json

import keras
import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method
from selfsup_tf.models.encoders import build_encoder
from selfsup_tf.models.saved import load_network


@pytest.mark.parametrize(
    ("name", "value", "restored"),
    [
        ("image_data_format", "channels_first", "channels_last"),
        ("floatx", "float64", "float32"),
        ("dtype_policy", "mixed_float16", "float32"),
    ],
)
def test_settings_are_checked(name, value, restored, tiny_config):
    config = tiny_config("simclr")
    change = getattr(keras.config, f"set_{name}")
    change(value)
    try:
        for make in (
            lambda: find_method(config.method).load()(config),
            lambda: build_encoder(config.encoder, 16),
            lambda: load_network("nowhere"),
        ):
            with pytest.raises(InputError, match=f"{restored}; received {value}") as e:
                make()
            assert f'keras.config.set_{name}("{restored}")' in str(e.value)
    finally:
        change(restored)


def test_commands_say_it(run_program, tmp_path):
    words = ["train.py", "simclr", "shapes", f"--run_dir={tmp_path / 'run'}"]
    keras_json = tmp_path / "keras.json"
    keras_json.write_text(json.dumps({"image_data_format": "channels_first"}))
    for env, said in (
        ({"KERAS_BACKEND": "no_such"}, "Set KERAS_BACKEND to tensorflow"),
        ({"KERAS_HOME": str(tmp_path)}, "channels_last; received channels_first"),
    ):
        ended = run_program(*words, env=env, check=False)
        assert ended.returncode == 2 and not (tmp_path / "run").exists()
        assert ended.stderr.startswith("error: expected Keras") and said in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
