"""Ten real training steps equal ten steps in NumPy, to the last variable."""

import functools

import numpy_reference as reference
import pytest
from ten_steps import STEPS, check_ten_steps, set_up

pytestmark = pytest.mark.slow

CASES = {
    # SimCLR v2: three layers, the last BatchNorm without centre; the paper's loss.
    "simclr_v2": {
        "name": "simclr",
        "temperature": 0.1,
        "projector": (7, 6, 5),
        "projector_norm": "all",
        "directions": "mean",
    },
    # SimCLR v1: two layers; the loss as the authors' code adds it.
    "simclr_v1": {
        "name": "simclr",
        "temperature": 0.5,
        "projector": (7, 5),
        "projector_norm": "all",
        "directions": "sum",
        "as_built": True,
    },
    # As in solo-learn: no BatchNorm in the head, and a clipped LARS.
    "simclr_solo": {
        "name": "simclr",
        "temperature": 0.2,
        "projector": (7, 5),
        "projector_norm": "none",
        "directions": "mean",
        "form": "popular",
        "clip": True,
    },
    "simclr_hidden": {
        "name": "simclr",
        "temperature": 0.2,
        "projector": (7, 6, 5),
        "projector_norm": "hidden",
        "directions": "mean",
        "decay": 0.0,
    },
    # The paper's loss; 0.97 is its base tau for 40 epochs.
    "byol": {"name": "byol", "base_tau": 0.97, "directions": "sum"},
    "byol_as_built": {
        "name": "byol",
        "base_tau": 0.5,
        "directions": "mean",
        "as_built": True,
    },
}

BYOL_HEADS = {"projector": (7, 5), "predictor": (7, 5)}


@pytest.mark.parametrize("case", [case for case in CASES if "simclr" in case])
def test_ten_steps_of_simclr_equal_numpy(case, tiny_config):
    run = set_up(tiny_config, **{"form": "classic", **CASES[case]})
    config = run.config
    gradients_of = functools.partial(
        reference.simclr_gradients,
        head=reference.simclr_head(len(config.projector), config.projector_norm),
        temperature=config.temperature,
        directions=config.directions,
    )
    check_ten_steps(run, gradients_of)


@pytest.mark.parametrize("case", [case for case in CASES if "byol" in case])
def test_ten_steps_of_byol_equal_numpy(case, tiny_config):
    run = set_up(tiny_config, form="popular", **CASES[case], **BYOL_HEADS)
    gradients_of = functools.partial(
        reference.byol_gradients,
        # Keras walks the branches of a functional model from the last to the first:
        # view 1 enters the running averages last, with .1 in place of .09.
        first=2,
        directions=run.config.directions,
    )
    target = {"base": run.config.base_tau, "total": STEPS}
    check_ten_steps(
        run,
        gradients_of,
        after=functools.partial(reference.move_target, **target),
        logged=lambda step: {"train/tau": reference.tau(step, **target)},
    )
