"""What all tests share: quiet logs, a tiny config for any method, real images."""

import atexit
import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from selfsup_tf.config import Config, EncoderConfig, OptimizerConfig, ViewConfig
from selfsup_tf.methods import find_method

ROOT = pathlib.Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


CROP_AND_FLIP = ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0)


@functools.cache
def tiny_teacher() -> str:
    """A classifier of ten classes for 16 px, always the same, in a file."""
    import keras

    keras.utils.set_random_seed(7)
    classifier = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(8, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            # Answers that differ between images, so that there is something to learn.
            keras.layers.Dense(10, kernel_initializer=keras.initializers.Orthogonal(9)),
        ]
    )
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, "classifier.keras")
    classifier.save(path)
    return path


def make_tiny_config(method: str, **overrides) -> Config:
    """A run of a few steps on a network of a few channels, for any method."""
    package = find_method(method)
    recipe = next(iter(package.recipes.values()))
    values = {
        "data": "shapes",
        "image_size": 16,
        "views": (CROP_AND_FLIP,) * (package.config_class.num_views or 2),
        "encoder": EncoderConfig(name="resnet18", width=1 / 16, stem="small_stride2"),
        "optimizer": OptimizerConfig(name="sgd", learning_rate=0.5, warmup_epochs=0.0),
        "batch_size": 16,
        "epochs": None,
        "steps": 6,
        "steps_per_call": 2,
        "held_out": 0,
        "precision": "float32",
        # What the methods of one view need: a network of their own, and a teacher.
        "pretrained": None,
        "head_layer": 0,
        "fraction": 1.0,
        "teacher": tiny_teacher,
    }
    fields = {field.name for field in dataclasses.fields(package.config_class)}
    if "teacher" in fields:
        values["temperature"] = 1.0  # sharper answers want a lower rate
    values = {
        name: value() if callable(value) else value
        for name, value in values.items()
        if name in fields
    }
    return dataclasses.replace(recipe(), **(values | overrides))


def make_tiny_method(config: Config):
    """The method of a config, on an encoder that is traced in a moment."""
    import keras

    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((config.image_size, config.image_size, 3)),
            keras.layers.Conv2D(8, 3, strides=2, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(16, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    return find_method(config.method).load()(config, encoder=encoder)


@pytest.fixture(scope="session")
def teacher():
    """`tiny_teacher`."""
    return tiny_teacher()


@pytest.fixture(scope="session")
def tiny_method():
    """`make_tiny_method`."""
    return make_tiny_method


@pytest.fixture(scope="session")
def tiny_config():
    """`make_tiny_config`."""
    return make_tiny_config


@pytest.fixture(scope="session")
def few_images():
    """64 drawn images, uint8 (64, 32, 32, 3), and their labels."""
    from selfsup_tf.data.shapes import make_shapes

    images, labels = make_shapes("train")
    return images[:64], labels[:64]


@pytest.fixture(scope="session")
def tfds_dir():
    """Where prepared TFDS data lie; skips where they do not."""
    path = SHARED_DATA / "tfds"
    if not path.is_dir():
        pytest.skip(f"no prepared data sets in {path}")
    return path


@pytest.fixture
def run_program():
    """Runs one of the top-level programs in a process of its own."""

    def run(*words, cwd=ROOT, check=True, **options):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        }
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=cwd,
            env=environment | options.pop("env", {}),
            capture_output=True,
            text=True,
            timeout=options.pop("timeout", 300),
            **options,
        )
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stderr[-3000:]}")
        return done

    return run
