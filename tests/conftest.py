"""What all tests share: two gears, a tiny config for any method, real images.

`make quick` takes the tests in QUICK, but for those that ask for the fixture
start_python and those marked `slow`. In both gears they fail when they start Python
anew or take more than QUICK_SECONDS of CPU time. All other places are slow by default.
"""

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from selfsup_tf.config import Config, EncoderConfig, OptimizerConfig, ViewConfig
from selfsup_tf.methods import find_method

ROOT = pathlib.Path(__file__).parent.parent

# What is kept of folders that no longer exist would be left in the user's cache.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

QUICK = (
    "tests/byol",
    "tests/data/test_layers.py",
    "tests/data/test_random.py",
    "tests/data/test_views.py",
    "tests/distribution/test_cluster.py",
    "tests/distribution/test_strategy.py",
    "tests/fidelity",
    "tests/simclr/test_loss.py",
    "tests/test_cli.py",
    "tests/test_config.py",
    "tests/test_contract.py",
    "tests/test_recipes.py",
    "tests/test_security.py",
    "tests/training/test_optimizers.py",
)
"""The contract, losses, operations, the config and the command line."""
assert all((ROOT / place).exists() for place in QUICK), "a place of QUICK has moved"
QUICK_SECONDS = 20.0

LONGEST = (
    "tests/training/test_topologies.py",
    "tests/test_whole_path.py",
    "tests/test_doors.py",
    "tests/test_contract.py",
    "tests/training/test_workers.py",
    "tests/training/test_run.py",
    "tests/training/test_xla.py",
    "tests/simclr/test_checkpoints.py",
    "tests/test_docs_programs.py",
    "tests/exporting/test_plain_keras.py",
)
"""Files that begin, so that no worker is left alone with one of them at the end."""
assert all((ROOT / place).exists() for place in LONGEST), "a place of LONGEST has moved"

_quick_test = None  # the one that runs, as an audit hook can't be taken back


def _is_quick_place(path):
    return path.is_relative_to(ROOT) and str(path.relative_to(ROOT)).startswith(QUICK)


def pytest_ignore_collect(collection_path, config):
    """Spares `make quick` the imports of what it leaves out."""
    if config.option.markexpr == "not slow" and collection_path.is_file():
        return None if _is_quick_place(collection_path) else True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks what is slow by its place or its fixtures; the longest files come first."""
    places = {ROOT / place: turn for turn, place in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
    for item in items:
        starts = "start_python" in item.fixturenames
        if starts or not _is_quick_place(item.path):
            item.add_marker(pytest.mark.slow)


@contextlib.contextmanager
def _held(item):
    """Holds a quick test to what makes it one."""
    global _quick_test
    if item.get_closest_marker("slow"):
        yield
        return
    _quick_test, start = item.nodeid, time.process_time()
    try:
        yield
    finally:
        _quick_test = None
    seconds = time.process_time() - start
    if seconds > QUICK_SECONDS:
        pytest.fail(f"{seconds:.0f} s of CPU time: make it smaller, or mark it slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Guards what a test's fixtures do."""
    with _held(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Guards what a test does."""
    with _held(item):
        return (yield)


def _refuse_processes(event, arguments):
    # What libraries ask of the system, such as matplotlib of fc-list, is no matter.
    python = event == "subprocess.Popen" and "python" in str(arguments[0])
    if _quick_test and (python or event == "os.fork"):
        pytest.fail(f"{_quick_test} starts a process: mark it slow")


sys.addaudithook(_refuse_processes)

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
    views = recipe().views
    if all((v.size, v.count, v.layers) == (None, 1, ()) for v in views):
        values["views"] = (CROP_AND_FLIP,) * len(views)
    fields = {field.name for field in dataclasses.fields(package.config_class)}
    for head in ("projector", "predictor"):
        # As many layers, of no more numbers than a tiny batch can tell apart.
        if isinstance(widths := getattr(recipe(), head, None), tuple):
            values[head] = tuple(min(64, width) for width in widths)
    if "prototypes" in fields:
        values |= {"prototypes": 64, "frozen_epochs": 0.0}
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
def plain_sgd():
    """A step of it moves the weights by the gradient and nothing else."""
    return OptimizerConfig(
        name="sgd",
        learning_rate=1.0,
        scaling="none",
        schedule="constant",
        warmup_epochs=0.0,
        momentum=0.0,
        weight_decay=0.0,
    )


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
    from selfsup_tf.data.sources.shapes import make_shapes

    return make_shapes("train", size=64)


@pytest.fixture(scope="session")
def free_addresses():
    """`count` addresses of this machine that nobody listens at."""

    def find(count):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for listener in sockets:
                listener.bind(("127.0.0.1", 0))
            return ["{}:{}".format(*listener.getsockname()) for listener in sockets]

    return find


@pytest.fixture(scope="session")
def has_test():
    """Whether "path::test" names a test of ours, as documents do."""

    def has_test(name):
        path, _, function = name.partition("::")
        file = ROOT / path
        pattern = rf"^def {re.escape(function)}\("
        return file.is_file() and bool(re.search(pattern, file.read_text(), re.M))

    return has_test


@pytest.fixture(scope="session")
def start_python():
    """Starts Python in a process of its own, `worker` of `cluster` where there is one.

    What still runs at the end of all tests is killed.
    """
    started = []

    def start(*words, cluster=None, worker=0, env=(), **options):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            **dict(env),
        }
        if cluster:
            task = {"type": "worker", "index": worker}
            config = {"cluster": {"worker": cluster}, "task": task}
            environment["TF_CONFIG"] = json.dumps(config)
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        options = {"cwd": ROOT, "text": True} | options
        words = [sys.executable, *map(str, words)]
        started.append(subprocess.Popen(words, env=environment, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def run_program(start_python):
    """Runs one of the top-level programs in a process of its own, to its end."""

    def run(*words, check=True, timeout=300, **options):
        process = start_python(*words, **options)
        output = process.communicate(timeout=timeout)
        done = subprocess.CompletedProcess(words, process.returncode, *output)
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stderr[-3000:]}")
        return done

    return run
