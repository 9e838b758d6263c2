"""Rematerialisation: the same numbers as the plain model's, and nothing kept.

As a program, the comparison on two replicas; a process has one set of devices.
"""

import collections
import functools
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import EncoderConfig
from selfsup_tf.methods import find_method
from selfsup_tf.models import resnet
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.models.encoders import adopt_encoder, build_encoder
from selfsup_tf.models.rematerialisation import Rematerialised, rematerialised
from selfsup_tf.models.vit import VisionTransformer

BLOCKS, CONVOLUTIONS = 2, 1


def make_encoder(precision="float32"):
    """Residual blocks with BatchNorm and dropout."""
    keras.utils.set_random_seed(0)
    x = images = keras.Input((16, 16, 3))
    # Without a bias, which some processors fuse with it under another name.
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    for _ in range(BLOCKS):
        y = x
        for _ in range(CONVOLUTIONS):
            y = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(y)
            y = keras.layers.BatchNormalization()(y)
            y = keras.layers.ReLU()(y)
        y = keras.layers.Dropout(0.3)(y)
        x = keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return adopt_encoder(keras.Model(images, x), 16, precision=precision)


def make_model(encoder, views=1):
    """One view or two through one encoder, one after the other."""
    shape = encoder.input_shape[1:]
    views = [keras.Input(shape, name=f"view_{i + 1}") for i in range(views)]
    outputs = {f"representation_{i}": encoder(x) for i, x in enumerate(views, 1)}
    return keras.Model({x.name: x for x in views}, outputs, name="model")


def make_batch(size=4):
    values = np.random.default_rng(0).uniform(size=(2, size, 16, 16, 3))
    return {f"view_{i}": tf.constant(v, tf.float32) for i, v in enumerate(values, 1)}


def part_of(batch, model):
    return {name: batch[name] for name in model.input}


def gradients_of(model, variables, batch):
    """What the model gives, and the gradients of a sum of cubes."""
    weights = [v.value for v in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        outputs = model(part_of(batch, model), training=True)
        loss = tf.add_n([tf.reduce_sum(v**3) for v in outputs.values()])
    gradients = tape.gradient(
        loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return outputs, [tf.convert_to_tensor(g) for g in gradients]


def run_of(model):
    """From a network of the model's variables to what it gives for a batch."""
    return lambda network: gradients_of(
        network, model.trainable_variables, make_batch()
    )


def assert_equal(model, run, tolerance):
    """That `run(twin)` gives what `run(model)` does, and leaves the same state."""
    twin = rematerialised(model)
    assert any(isinstance(layer, Rematerialised) for layer in leaf_layers(twin))
    start = [v.numpy() for v in model.variables]
    found = []
    for network in (model, twin):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        outputs, gradients = run(network)
        after = [v.numpy() for v in model.variables]
        found.append([*map(np.asarray, [*outputs.values(), *gradients, *after])])
    moved = [np.any(a != b) for a, b in zip(start, after, strict=True)]
    assert sum(moved) == len(model.non_trainable_variables)
    assert all(np.isfinite(value).all() for value in found[0])
    scale = max(np.max(np.abs(g)) for g in map(np.asarray, gradients))
    for plain, again in zip(*found, strict=True):
        assert plain.dtype == again.dtype
        if np.issubdtype(plain.dtype, np.integer):
            np.testing.assert_array_equal(again, plain)
        else:
            np.testing.assert_allclose(
                again, plain, rtol=tolerance, atol=tolerance * max(scale, 1)
            )


@pytest.mark.parametrize("name", ["simclr", "byol"])
def test_methods_learn_the_same(name, tiny_config, monkeypatch):
    # Traced in a moment; BYOL brings an encoder of its own.
    monkeypatch.setitem(resnet.BLOCKS, "resnet18", (1, 1, 0, 0))
    keras.utils.set_random_seed(0)
    encoder = make_encoder() if name == "byol" else None
    config = tiny_config(name, precision="float64")
    method = find_method(name).load()(config, encoder=encoder)
    method.build()
    for variable in method.model.trainable_variables:
        if variable.name == "gamma":  # zeros would hide what lies behind them
            variable.assign(np.linspace(0.5, 1.5, variable.shape[0]))

    @tf.function
    def run(model):
        return gradients_of(model, method.model.trainable_variables, make_batch())

    assert_equal(method.model, run, 1e-12)


@pytest.mark.parametrize("way", ["eager", "xla"])
def test_dropout_and_statistics(way):
    model = make_model(make_encoder("float64"))
    run = run_of(model)
    if way == "xla":
        run = tf.function(run, jit_compile=True)
    assert_equal(model, run, 1e-12)


def test_half_precision_in_a_graph():
    model = make_model(make_encoder("mixed_bfloat16"))
    assert_equal(model, tf.function(run_of(model)), 0.02)


def test_within_a_stateless_call():
    model = make_model(make_encoder("float64"))

    @tf.function
    def run(network):
        weights = [tf.identity(v.value) for v in model.trainable_variables]
        state = [tf.identity(v.value) for v in model.non_trainable_variables]
        before = [v + 0 for v in model.non_trainable_variables]
        total = 0.0
        # Two parts of a batch, each starting from the state that the last one left.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            for _ in range(2):
                outputs, state = network.stateless_call(
                    weights, state, part_of(make_batch(), model), training=True
                )
                total += tf.add_n([tf.reduce_sum(v**3) for v in outputs.values()])
        for variable, value in zip(model.non_trainable_variables, before, strict=True):
            tf.debugging.assert_equal(variable.value, value)
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        return outputs, tape.gradient(total, weights)

    assert_equal(model, run, 1e-12)


def test_vision_transformer_block_by_block():
    pytest.importorskip("keras_hub", reason="pip install '.[hub]'")
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3))
    transformer = VisionTransformer(8, 2, 2, 16, name="transformer")
    network = keras.Model(images, transformer(images))
    model = make_model(adopt_encoder(network, 16, precision="float32"))
    blocks = [v for v in leaf_layers(rematerialised(model)) if _is_block(v)]
    assert len(blocks) == 2

    assert_equal(model, tf.function(run_of(model)), 1e-5)


def test_on_two_replicas(run_program):
    done = run_program(__file__)
    assert "equal on 2 replicas" in done.stdout


def test_a_ready_made_network_is_cut_all_over():
    model = make_model(build_encoder(EncoderConfig(name="MobileNetV3Small"), 32))
    twin = rematerialised(model)
    blocks = [v.block for v in leaf_layers(twin) if _is_block(v)]
    inside = sum(len(block.layers) - 1 for block in blocks)
    (network,) = [v for v in model.get_layer("encoder").layers if _is_network(v)]
    assert inside > 0.9 * len(network.layers)
    assert max(len(block.layers) for block in blocks) < 20


def test_the_plain_model_stays_as_it_is(tmp_path):
    encoder = make_encoder()
    model = make_model(encoder)
    before = encoder.to_json()
    twin = rematerialised(model)
    assert encoder.to_json() == before
    assert (set(twin.input), set(twin.output)) == (set(model.input), set(model.output))
    assert {id(v) for v in twin.variables} == {id(v) for v in model.variables}
    encoder.save(tmp_path / "encoder.keras")
    again = keras.models.load_model(tmp_path / "encoder.keras")
    images = make_batch()["view_1"]
    np.testing.assert_array_equal(again(images), encoder(images))
    # Nothing is to be trained without training=True, so nothing is recomputed.
    batch = part_of(make_batch(), model)
    plain, other = model(batch), twin(batch)
    for name, value in plain.items():
        np.testing.assert_array_equal(other[name], value)


def test_a_network_called_with_more_than_its_input_is_left_alone():
    images = keras.Input((16, 16, 3))
    for extra, cut in (({}, True), ({"training": True}, False)):
        model = make_model(keras.Model(images, make_encoder()(images, **extra)))
        blocks = [v for v in leaf_layers(rematerialised(model)) if _is_block(v)]
        assert bool(blocks) == cut


def test_the_backward_pass_keeps_no_activation():
    """In the graph that runs, after TensorFlow has simplified it."""
    model = make_model(make_encoder())
    plain, twin = (_kept(*_executed(m)) for m in (model, rematerialised(model)))
    # A convolution's output is what BatchNorm's gradient wants; the first convolution's
    # that of the second.
    assert plain["Conv2D"] == 1 + BLOCKS * CONVOLUTIONS
    # Inputs, sums after a block, and seeds that are counted up.
    assert set(twin) <= {"_Arg", "Const", "AddV2"}
    assert twin["AddV2"] <= 2 * BLOCKS


def test_xla_computes_the_activations_twice():
    run, arguments = _forward_backward(rematerialised(make_model(make_encoder())))
    run = tf.function(run, jit_compile=True)
    hlo = run.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    convolutions = 1 + BLOCKS * CONVOLUTIONS
    # Forward, again, and the gradients of the kernels and of all inputs but the image.
    assert len(re.findall(r" convolution\(", hlo)) == 4 * convolutions - 1


def _is_block(layer):
    return isinstance(layer, Rematerialised)


def _is_network(layer):
    return isinstance(layer, keras.Model)


def _forward_backward(model):
    """A function without variables, and its arguments."""

    def run(upstream, batch, weights, state):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs, after = model.stateless_call(weights, state, batch, training=True)
            h = tf.stack([*outputs.values()])
        return tape.gradient(h, weights, upstream), after

    upstream = tf.ones((1, 4, 8))
    weights = [tf.constant(v.numpy()) for v in model.trainable_variables]
    state = [tf.constant(v.numpy()) for v in model.non_trainable_variables]
    return run, (upstream, part_of(make_batch(), model), weights, state)


def _executed(model):
    """The nodes that TensorFlow executes, and the first ones of the backward pass."""
    run, arguments = _forward_backward(model)
    concrete = tf.function(run).get_concrete_function(*arguments)
    values = tf.nest.flatten(arguments)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(concrete.graph.as_graph_def(), name="")
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        metadata = tf.compat.v1.RunMetadata()
        names = [t.name for t in concrete.inputs]
        with tf.compat.v1.Session(graph=graph) as session:
            session.run(
                [t.name for t in concrete.outputs],
                dict(zip(names, map(np.asarray, values), strict=True)),
                options,
                metadata,
            )
    nodes = {n.name: n for part in metadata.partition_graphs for n in part.node}
    return nodes, {name for name in nodes if "upstream" in name}


def _kept(nodes, backward):
    """The kinds of the nodes of the forward pass that the backward pass reads."""
    assert backward

    def inputs(node):
        return {i.partition(":")[0] for i in node.input if not i.startswith("^")}

    @functools.cache
    def is_backward(name):
        return name in backward or any(is_backward(i) for i in inputs(nodes[name]))

    sys.setrecursionlimit(10_000)
    read = set()
    for name, node in nodes.items():
        if is_backward(name):
            read |= {i for i in inputs(node) if not is_backward(i)}
    # oneDNN's kernels have names of their own.
    kinds = (re.sub("^_MklNative(Fused)?", "", nodes[name].op) for name in read)
    return collections.Counter(kinds)


def _compare_on_two_replicas():
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = make_model(make_encoder("float64"))
    batches = iter(
        strategy.experimental_distribute_dataset(
            tf.data.Dataset.from_tensor_slices(make_batch(8)).batch(8).repeat()
        )
    )
    batch = next(batches)

    @tf.function
    def run(network):
        def on_a_replica(batch):
            return gradients_of(network, model.trainable_variables, batch)

        values = strategy.run(on_a_replica, args=(batch,))
        return tf.nest.map_structure(
            lambda v: tf.stack(strategy.experimental_local_results(v)), values
        )

    assert_equal(model, run, 1e-12)
    print("equal on 2 replicas")


if __name__ == "__main__":
    _compare_on_two_replicas()
