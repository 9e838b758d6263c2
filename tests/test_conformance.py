"""`python -m selfsup_tf.conformance`: what is right holds, planted faults are named."""

import os
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "training"))
from dummy_methods import write_methods

from selfsup_tf.conformance.checks import compare_runs

FILES = {
    "faulty_tf/__init__.py": '"""A SimCLR with faults."""\n',
    "faulty_tf/config.py": '''"""Its config."""

import dataclasses
from typing import ClassVar

from simclr_tf import SimCLRConfig


@dataclasses.dataclass(frozen=True)
class FaultyConfig(SimCLRConfig):
    method: ClassVar[str] = "faulty"
''',
    "faulty_tf/recipes.py": '''"""Its recipes."""

import dataclasses

from faulty_tf.config import FaultyConfig
from selfsup_tf.config import ViewConfig


def shapes(**overrides):
    """The one recipe there is."""
    config = FaultyConfig(views=(ViewConfig(),) * 2, projector=(8, 8))
    return dataclasses.replace(config, **overrides)
''',
    "faulty_tf/method.py": '''
"""Negatives of its own replica alone, in what precision comes."""

import tensorflow as tf

from faulty_tf.config import FaultyConfig
from simclr_tf.method import SimCLR


class Faulty(SimCLR):
    config_class = FaultyConfig

    def compute_loss(self, outputs):
        z_1, z_2 = (
            tf.math.l2_normalize(outputs[f"projection_{i}"], axis=1) for i in (1, 2)
        )
        if self.config.precision == "mixed_bfloat16":
            z_1, z_2 = tf.cast(z_1, tf.bfloat16), tf.cast(z_2, tf.bfloat16)
        logits = 10 * tf.matmul(z_1, tf.stop_gradient(z_2), transpose_b=True)
        return tf.reduce_logsumexp(logits, axis=1) - tf.linalg.diag_part(logits)
''',
    "slow.py": '''"""Losses in NumPy."""

import numpy as np


def nt_xent(outputs, config):
    z = np.concatenate([outputs["projection_1"], outputs["projection_2"]])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    count = len(z) // 2
    losses = np.zeros(2 * count)
    for i in range(2 * count):
        others = [k for k in range(2 * count) if k != i]
        positive = (i + count) % (2 * count)
        similar = z[others] @ z[i] / config.temperature
        losses[i] = np.log(np.exp(similar).sum())
        losses[i] -= z[i] @ z[positive] / config.temperature
    return (losses[:count] + losses[count:]) / 2
''',
}


@pytest.fixture
def conform(tmp_path, start_python):
    """Runs the program in a folder that holds the files; its code and its lines."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    root = pathlib.Path(__file__).parents[1]
    path = os.pathsep.join([str(root), str(tmp_path)])

    def run(*words):
        command = ["-m", "selfsup_tf.conformance", *words]
        process = start_python(*command, cwd=tmp_path, env={"PYTHONPATH": path})
        printed, errors = process.communicate(timeout=900)
        assert process.returncode in (0, 1), errors[-2000:]
        return process.returncode, printed.splitlines()

    return run


@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_a_number_that_is_none_is_no_agreement(places):
    right = {"losses": np.ones(2), "0 kernel": np.ones(3), "1 bias": np.ones(3)}
    names = list(right)[1:]
    wrong = right | {names[places[0]]: np.array([1.0, np.nan, 1.0])}
    check = compare_runs("runs", wrong, right)
    assert not check.passed and "inf" in check.found
    assert compare_runs("runs", right, right).passed


def failed(lines):
    return {line[4:].split("  ")[1] for line in lines if line.startswith("FAIL")}


@pytest.mark.slow
def test_a_method_that_is_right_holds(conform):
    code, lines = conform("simclr", "--reference=slow:nt_xent")
    assert (code, failed(lines)) == (0, set())
    assert sum(line.startswith("ok") for line in lines) == 9
    assert "simclr: 9 of 9 hold." in lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"), [("queued", ()), ("centred", ("--partly", "z_1", "z_2"))]
)
def test_a_method_with_state_holds(name, words, conform, tmp_path):
    """Views of two sizes, too."""
    write_methods(tmp_path)
    code, lines = conform(name, *words, "--config", "image_size=32")
    assert (code, failed(lines)) == (0, set()), lines


@pytest.mark.slow
def test_planted_faults_are_named(conform):
    words = ("--reference=slow:nt_xent", "--still", "projection_1")
    code, lines = conform("faulty", *words)
    assert code == 1
    assert failed(lines) == {
        "2 replicas are 1",
        "the loss is that of its reference",
        "no gradient flows into projection_1",
        "a gradient flows into all others",
        "in mixed bfloat16 the loss is float32",
    }, lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simclir"], "Perhaps you meant: simclr"),
        (["simclr", "--reference=slow:none"], "a function of slow"),
        (["simclr", "--reference=none:f"], "to be imported from here"),
        (["simclr", "--config", "temperature"], "expected FIELD=VALUE"),
        (["simclr", "--config", "temprature=1"], "Perhaps you meant: temperature"),
        (["simclr", "--reference=:f"], "expected MODULE:FUNCTION"),
    ],
)
def test_what_can_not_be_asked_is_refused(words, message, tmp_path, start_python):
    (tmp_path / "slow.py").write_text("")
    process = start_python("-m", "selfsup_tf.conformance", *words, cwd=tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert message in errors
