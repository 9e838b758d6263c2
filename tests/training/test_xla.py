"""The whole step compiles under XLA, and its loss is that of the uncompiled one.

XLA on the CPU stands in for a TPU, which asks the same of a step: shapes that are known
when it is compiled, and nothing that needs the host. `benchmarks/xla.py` says how far
two losses may be apart; without words it compares both methods with every family of
encoders in every precision, which takes too long for here. The cases below are
our two kinds of networks in the precisions that round.
"""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

PROGRAM = pathlib.Path(__file__).parents[2] / "benchmarks" / "xla.py"

CASES = [
    "byol:ResNet:mixed_float16",
    "simclr:ViT:mixed_bfloat16",
]


def test_compiled_loss_is_the_uncompiled_one(run_program):
    pytest.importorskip("keras_hub", reason="pip install '.[hub]'")
    # In one process of its own, whose compiler leaves the polish out.
    done = run_program(PROGRAM, *CASES, check=False, timeout=1800)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    rows = [row.split() for row in done.stdout.splitlines()[-len(CASES) :]]
    assert [":".join(row[:3]) for row in rows] == CASES
    for row in rows:
        # Or the tolerance would hide a step that computes something else.
        tolerance, mispaired = map(float, row[-2:])
        assert 10 * tolerance < mispaired, done.stdout


def test_compiled_dropout_draws_new_masks():
    """They are others than uncompiled, of the same seeds (see `benchmarks/xla.py`)."""
    layer = keras.layers.Dropout(0.25, seed=3)
    x = tf.ones([64, 64])
    layer.build(x.shape)
    state = layer.seed_generator.state
    start, ends, masks = state.numpy(), [], []
    for compiled in (False, True):
        state.assign(start)
        call = tf.function(lambda: layer(x, training=True), jit_compile=compiled)
        masks.append([call().numpy() for _ in range(3)])
        ends.append(state.numpy())
        for mask in masks[-1]:
            # Four standard deviations of the share that 64 * 64 draws keep.
            assert np.mean(mask > 0) == pytest.approx(0.75, abs=4 * 0.433 / 64)
        assert (masks[-1][0] != masks[-1][1]).any()
        assert (masks[-1][1] != masks[-1][2]).any()
    np.testing.assert_array_equal(ends[0], ends[1])
