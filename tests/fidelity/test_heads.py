"""The heads as the methods build them: values, gradients, parameters, first weights."""

import keras
import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf

from selfsup_tf.methods import find_method

SIZE = 6

SIMCLR_HEADS = {
    "v1": ((7, 5), "all"),
    "v2": ((7, 6, 5), "all"),
    "hidden": ((7, 6, 5), "hidden"),
    "none": ((7, 5), "none"),
    "linear": ((5,), "all"),
}


def build(tiny_config, name, *, size=SIZE, precision="float64", **values):
    """The networks of a method on an encoder of `size` features, by their names."""
    encoder = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(size),
        ]
    )
    config = tiny_config(name, image_size=4, precision=precision, **values)
    method = find_method(name).load()(config, encoder=encoder)
    method.build()
    return {n.name: n for n in method.model.layers if isinstance(n, keras.Model)}


def build_simclr_head(tiny_config, case, **options):
    """The projector of SIMCLR_HEADS[case]."""
    widths, norm = SIMCLR_HEADS[case]
    values = {"projector": widths, "projector_norm": norm}
    return build(tiny_config, "simclr", **values, **options)["projector"]


def parameters_of(head):
    """Its variables as `numpy_reference` names them, scrambled first."""
    generator = np.random.default_rng(0)
    parameters = {}
    for layer in head.layers:
        for variable in layer.variables:
            value = generator.uniform(0.5, 1.5, variable.shape)
            if not variable.name.endswith(("gamma", "variance")):
                value = generator.normal(size=variable.shape)
            variable.assign(value)
            parameters[f"{head.name}/{layer.name}/{variable.name}"] = value
    return parameters


def check_against_numpy(head, layers):
    """Output, running averages and gradients of one pass in training mode."""
    parameters = parameters_of(head)
    size, width = head.input_shape[-1], head.output_shape[-1]
    # float64 to the last digit: float32 would keep the first seven.
    h = 10 + np.random.default_rng(1).normal(size=(9, size))
    dz = np.random.default_rng(2).normal(size=(9, width))
    z, tape = reference.forward(head.name, layers, parameters, h)
    gradients = {}
    dh = reference.backward(tape, parameters, dz, gradients)
    named = {
        f"{head.name}/{layer.name}/{v.name}": v
        for layer in head.layers
        for v in layer.variables
    }
    trained = [name for name in named if "moving_" not in name]
    assert set(trained) == set(gradients)
    x = tf.Variable(h)
    with tf.GradientTape() as watch:
        received = head(x, training=True)
        weighted = tf.reduce_sum(received * dz)
    got = watch.gradient(weighted, [x, *(named[name].value for name in trained)])
    # Inputs near 10 with a variance of 1: Keras's E[x^2] - E[x]^2 loses two digits of
    # sixteen in the first BatchNorm, and each layer adds some roundings.
    limits = {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(received, z, **limits)
    np.testing.assert_allclose(got[0], dh, **limits)
    for name, gradient in zip(trained, got[1:], strict=True):
        np.testing.assert_allclose(gradient, gradients[name], err_msg=name, **limits)
    reference.move_statistics(tape, parameters)
    for name, variable in named.items():
        np.testing.assert_allclose(variable, parameters[name], err_msg=name, **limits)


@pytest.mark.parametrize("case", SIMCLR_HEADS)
def test_simclr_heads_equal_numpy(case, tiny_config):
    widths, norm = SIMCLR_HEADS[case]
    head = build_simclr_head(tiny_config, case)
    check_against_numpy(head, reference.simclr_head(len(widths), norm))


@pytest.mark.parametrize("name", ["projector", "predictor", "target_projector"])
def test_byol_heads_equal_numpy(name, tiny_config):
    networks = build(tiny_config, "byol", projector=(7, 5), predictor=(7, 5))
    check_against_numpy(networks[name], reference.BYOL_HEAD)


def variables_of(head):
    """Its variables in order, as "layer/variable"."""
    return [f"{layer.name}/{v.name}" for layer in head.layers for v in layer.variables]


def batch_norm(index, *, center=True):
    """The variables of norm `index`."""
    names = ["gamma", *(["beta"] if center else []), "moving_mean", "moving_variance"]
    return [f"norm{index}/{name}" for name in names]


def test_which_layers_have_biases_and_centres(tiny_config):
    expected = {
        "v1": ["dense1/kernel", *batch_norm(1), "dense2/kernel"],
        "v2": ["dense1/kernel", *batch_norm(1), "dense2/kernel", *batch_norm(2)],
        "hidden": ["dense1/kernel", *batch_norm(1), "dense2/kernel", *batch_norm(2)],
        "none": ["dense1/kernel", "dense1/bias", "dense2/kernel", "dense2/bias"],
    }
    expected["v1"] += batch_norm(2, center=False)
    expected["v2"] += ["dense3/kernel", *batch_norm(3, center=False)]
    expected["hidden"] += ["dense3/kernel", "dense3/bias"]
    for case, names in expected.items():
        assert variables_of(build_simclr_head(tiny_config, case)) == names, case
    networks = build(tiny_config, "byol", projector=(7, 5), predictor=(7, 5))
    names = ["dense1/kernel", "dense1/bias", *batch_norm(1), "dense2/kernel"]
    for name in ("projector", "predictor", "target_projector"):
        assert variables_of(networks[name]) == names, name
    for network in networks.values():
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def trainable_count(head):
    """Numbers that follow the gradient."""
    return sum(int(np.prod(v.shape)) for v in head.trainable_variables)


def check_normal(kernel, std):
    """Mean and standard deviation as those of so many draws, within five sigmas."""
    n = kernel.size
    assert abs(kernel.mean()) < 5 * std / n**0.5
    assert kernel.std() == pytest.approx(std, rel=5 / (2 * n) ** 0.5)


def test_the_papers_simclr_heads(tiny_config):
    """On ResNet-50's 2048 features: parameters counted by hand, N(0, .01) kernels."""
    hidden, last = 2048 * 2048 + 2 * 2048, 2048 * 128 + 128
    for widths, count in (
        ((2048, 128), hidden + last),
        ((2048, 2048, 128), 2 * hidden + last),
    ):
        head = build(
            tiny_config,
            "simclr",
            size=2048,
            precision="float32",
            projector=widths,
            projector_norm="all",
        )["projector"]
        assert trainable_count(head) == count
        kernels = [v.numpy() for v in head.variables if v.name == "kernel"]
        for kernel in kernels:
            check_normal(kernel, 0.01)
            # Normal and not cut at two sigmas: 4.55 % lie beyond.
            beyond = (np.abs(kernel) > 0.02).mean()
            assert beyond == pytest.approx(0.0455, abs=0.002)
        # Each layer draws its own.
        assert not np.array_equal(kernels[0][:, :128], kernels[1][:, :128])
        for variable in head.variables:
            if variable.name in ("gamma", "moving_variance"):
                assert (variable.numpy() == 1).all()
            elif variable.name in ("beta", "moving_mean"):
                assert (variable.numpy() == 0).all()


def test_the_papers_byol_heads(tiny_config):
    """4096 and 256: parameters counted by hand, a variance of 1 / fan in."""
    networks = build(
        tiny_config,
        "byol",
        size=2048,
        precision="float32",
        projector=(4096, 256),
        predictor=(4096, 256),
    )
    hidden = 4096 + 2 * 4096
    counts = {"projector": 2048 * 4096, "predictor": 256 * 4096}
    for name, first in counts.items():
        assert trainable_count(networks[name]) == first + hidden + 4096 * 256
        for variable in networks[name].variables:
            if variable.name == "kernel":
                check_normal(variable.numpy(), variable.shape[0] ** -0.5)
            elif variable.name == "bias":
                assert (variable.numpy() == 0).all()
