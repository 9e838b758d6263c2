"""Networks of which only the shapes and names of the weights matter."""

import gc
import pathlib
import sys

import keras
import pytest

from selfsup_tf.models.resnet import BLOCKS

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture
def one_block_a_stage(monkeypatch):
    """ResNets of the usual layers, and as few of them as can be."""
    for name in BLOCKS:
        monkeypatch.setitem(BLOCKS, name, (1, 1, 1, 1))


@pytest.fixture
def owners(monkeypatch):
    """The layer of each variable made, by the variable's id; variables are zeros."""
    owners = {}
    add_weight = keras.layers.Layer.add_weight

    def add_zeros(layer, *args, **given):
        # Random numbers for 300 million weights take seconds.
        variable = add_weight(layer, *args, **(given | {"initializer": "zeros"}))
        owners[id(variable)] = layer
        return variable

    monkeypatch.setattr(keras.layers.Layer, "add_weight", add_zeros)
    yield owners
    # The largest network has 350 million weights.
    owners.clear()
    gc.collect()
