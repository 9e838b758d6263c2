"""The target network: how it starts, what moves it, what does not.

That it moves by the right amount at the right time is held in tests/fidelity.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from byol_tf import BYOL
from selfsup_tf.config import Plan
from selfsup_tf.models.copies import leaf_layers

PLAN = Plan(10, 10, 0, 0.5, 10, 10)


@pytest.fixture
def method(tiny_config, tiny_method):
    """A small BYOL, built."""
    method = tiny_method(tiny_config("byol", projector=(8, 4), predictor=(8, 4)))
    method.build()
    return method


def statistics(network):
    """The running averages of a network's BatchNorms."""
    return [
        variable
        for layer in leaf_layers(network)
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def test_it_starts_as_a_copy_and_shares_nothing(tiny_config):
    # An encoder of the config is drawn anew for each network; a given one is copied.
    method = BYOL(tiny_config("byol", projector=(8, 4), predictor=(8, 4)))
    method.build()
    for ours, theirs in zip(method.online, method.target, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        before = theirs.numpy()
        ours.assign_add(np.ones(ours.shape))
        np.testing.assert_array_equal(theirs, before)


def test_the_predictor_has_no_target(method):
    predictor = method.model.get_layer("predictor").trainable_variables
    online = method.encoder.trainable_variables
    online = online + method.model.get_layer("projector").trainable_variables
    assert [id(v) for v in method.online] == [id(v) for v in online]
    assert {id(v) for v in method.trainable_variables} == {
        id(v) for v in (*online, *predictor)
    }
    assert len(method.target) == len(online)


def test_its_batchnorm_uses_and_keeps_its_own_statistics(method):
    names = ("target_encoder", "target_projector")
    for name in names:
        assert all(layer.trainable for layer in method.model.get_layer(name).layers)
    theirs = [v for n in names for v in statistics(method.model.get_layer(n))]
    ours = statistics(method.encoder) + statistics(method.model.get_layer("projector"))
    before = [v.numpy() for v in theirs]
    # Unlike the online network from here on, its statistics must differ too.
    method.target[0].assign_add(np.ones(method.target[0].shape))
    views = tf.random.stateless_uniform([8, 16, 16, 3], [0, 1])
    method.model({"view_1": views, "view_2": views}, training=True)
    assert all((v.numpy() != b).any() for v, b in zip(theirs, before, strict=True))
    assert any(
        (a.numpy() != b.numpy()).any() for a, b in zip(theirs, ours, strict=True)
    )
    # An update of the target leaves both as they are.
    kept = [v.numpy() for v in (*theirs, *ours)]
    method.after_update(tf.constant(3, tf.int64), PLAN, {})
    for variable, value in zip((*theirs, *ours), kept, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_an_update_moves_all_of_it_and_nothing_else(method):
    for variable in method.online:
        variable.assign_add(np.ones(variable.shape))
    before = {id(v): v.numpy() for v in method.model.variables}
    method.after_update(tf.constant(0, tf.int64), PLAN, {})
    target = {id(v) for v in method.target}
    for variable in method.model.variables:
        moved = (variable.numpy() != before[id(variable)]).all()
        assert moved == (id(variable) in target)


def test_the_target_is_not_differentiated(method):
    trained = {id(v) for v in method.trainable_variables}
    assert not trained & {id(v) for v in method.target}
    views = tf.random.stateless_uniform([8, 16, 16, 3], [0, 1])
    target = [v.value for v in method.target]
    with tf.GradientTape() as tape:
        outputs = method.model({"view_1": views, "view_2": views}, training=True)
        loss = tf.reduce_sum(method.compute_loss(outputs))
    assert tape.gradient(loss, target) == [None] * len(target)
