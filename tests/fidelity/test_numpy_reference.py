"""The reference is held against itself: its gradients are those of its own losses.

Both are NumPy, so that the proofs of this folder do not rest on a mistake that the
reference shares with the package.
"""

import functools

import numpy as np
import numpy_reference as reference
import pytest

# A central difference of step 1e-5 is off by some 1e-10 times the third derivative, and
# by the rounding of the loss over the step, 1e-11.
ATOL = 2e-8

HEADS = {
    "simclr_all": ("simclr", reference.simclr_head(3, "all"), (7, 6, 5)),
    "simclr_hidden": ("simclr", reference.simclr_head(2, "hidden"), (7, 5)),
    "simclr_none": ("simclr", reference.simclr_head(2, "none"), (7, 5)),
    "byol": ("byol", reference.BYOL_HEAD, (7, 5)),
}


def make_parameters(networks):
    """Random values for networks {name: (layers, input size, widths)}."""
    generator = np.random.default_rng(0)
    parameters = {}
    for network, (layers, size, widths) in networks.items():
        widths = iter(widths)
        for kind, name in layers:
            at = f"{network}/{name}"
            if kind in ("dense", "affine"):
                width = next(widths)
                parameters[f"{at}/kernel"] = generator.normal(size=(size, width))
                size = width
            if kind == "affine":
                parameters[f"{at}/bias"] = generator.normal(size=width)
            if kind in ("norm", "scale"):
                parameters[f"{at}/gamma"] = generator.uniform(0.5, 1.5, size)
            if kind == "norm":
                parameters[f"{at}/beta"] = generator.normal(size=size)
    return parameters


@pytest.mark.parametrize("case", HEADS)
def test_gradients_of_the_networks(case):
    """Every parameter of the online networks, through the whole loss."""
    method, layers, widths = HEADS[case]
    networks = {
        "encoder": (reference.ENCODER, 3, (5, 6)),
        "projector": (layers, 6, widths),
    }
    if method == "byol":
        networks["predictor"] = (layers, 5, widths)
        networks["target_encoder"] = networks["encoder"]
        networks["target_projector"] = networks["projector"]
        gradients_of = functools.partial(reference.byol_gradients, directions="sum")
    else:
        gradients_of = functools.partial(
            reference.simclr_gradients, head=layers, temperature=0.5, directions="mean"
        )
    parameters = make_parameters(networks)
    views = np.random.default_rng(1).uniform(size=(2, 4, 2, 2, 3))
    _, gradients, _ = gradients_of(parameters, *views)
    # The target is a constant to the loss, whatever the loss depends on.
    assert set(gradients) == {n for n in parameters if not n.startswith("target_")}
    for name, gradient in gradients.items():

        def loss(value, name=name):
            return gradients_of(parameters | {name: value}, *views)[0]

        np.testing.assert_allclose(
            gradient,
            reference.numeric_gradient(loss, parameters[name]),
            rtol=1e-6,
            atol=ATOL,
            err_msg=name,
        )
