"""Our parts beside those of tensorflow-addons, an implementation of others.

It runs in a process of its own, with Keras 2, and computes in float64 what it can.
docs/addons.md has what is found here. U is the unit roundoff of float32.
"""

import functools
import importlib
import importlib.machinery
import os
import pathlib
import re
import sys

import keras
import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from ways import run_each_way

from selfsup_tf.config import OptimizerConfig, Plan
from selfsup_tf.data import colour, layers
from selfsup_tf.training.optimizers import build_optimizer
from simclr_tf.loss import nt_xent_loss

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "addons.md").read_text()
# Where `make test` puts it: beside typeguard as tyro wants it, it can't be installed.
FOLDER = pathlib.Path(sys.prefix, "addons")
U = 2.0**-24

PEAK, WARMUP, STEPS, DECAY = 0.1, 3, 10, 1 / 16
PLAN = Plan(10, STEPS, WARMUP, PEAK, 10, 10)
SIGMAS = np.array([0.1, 0.8, 2.0], np.float32)
DEGREES = np.array([10, 45, -30, 170], np.float32)
ACTIVATIONS = {
    "gelu": functools.partial(keras.activations.gelu, approximate=True),
    "hardshrink": keras.activations.hard_shrink,
    "mish": keras.activations.mish,
    "softshrink": keras.activations.soft_shrink,
    "tanhshrink": keras.activations.tanh_shrink,
}


def noise(number, *shape):
    """Random images in [0, 1] that are float32 numbers, in float64."""
    random = np.random.default_rng(number)
    return random.random(shape, np.float32).astype(float)


def lamb_arrays():
    """A matrix, a kernel, a vector, a scalar and zeros; gradients of .1 to 1."""
    random, arrays = np.random.default_rng(3), {}
    for i, shape in enumerate([(3, 4), (2, 3, 2, 5), (5,), (), (2, 2)]):
        sizes = random.uniform(0.1, 1, (STEPS, *shape))
        arrays[f"gradient_{i}"] = sizes * random.choice([-1, 1], sizes.shape)
        arrays[f"weight_{i}"] = random.normal(size=shape) * (i < 4)
    rates = [
        reference.learning_rate(k, peak=PEAK, warmup=WARMUP, total=STEPS)
        for k in range(STEPS)
    ]
    return {"rates": rates, "epsilon": 1e-7, **arrays}


def given():
    """The arguments of each call, by its name."""
    z_1, z_2 = np.random.default_rng(4).normal(size=(2, 6, 5))
    primaries = np.eye(3)[np.newaxis, np.newaxis]
    greys = noise(5, 2, 8, 8, 1) * np.ones(3)
    neutral = {"turns": 0.0, "saturation": 1.0, "value": 1.0}
    decays = {"none": (0, 0), "decoupled": (DECAY, 1), "adapted": (DECAY, 0)}
    return {
        **{
            f"blur-{side}": {
                "images": noise(side, 3, side, side, 3),
                "sigmas": SIGMAS,
                "taps": layers.RandomGaussianBlur().taps(side),
            }
            for side in (32, 96)
        },
        "rotation": {"images": noise(1, 4, 24, 24, 3), "degrees": DEGREES},
        "colours-value": {**neutral, "images": noise(2, 2, 8, 8, 3), "value": 1.4},
        "colours-grey": {**neutral, "images": noise(2, 2, 8, 8, 3), "saturation": 0.0},
        "colours-hue_of_greys": {**neutral, "images": greys, "turns": 0.3},
        "colours-hue": {**neutral, "images": primaries, "turns": 1 / 3},
        "colours-saturation": {**neutral, "images": primaries, "saturation": 0.5},
        "activations": {
            "x": np.linspace(-4, 4, 60).reshape(4, 15),
            "names": list(ACTIVATIONS),
        },
        **{
            f"nt_xent-{t}": {"z_1": z_1, "z_2": z_2, "temperature": t}
            for t in (0.1, 0.5)
        },
        **{
            f"lamb-{name}": {**lamb_arrays(), "decay": decay, "decoupled": decoupled}
            for name, (decay, decoupled) in decays.items()
        },
        "lookup": {"names": re.findall(r"tfa\.\w+\.\w+", PAGE)},
    }


@pytest.fixture(scope="module")
def environment():
    """That of a process in which tensorflow-addons is found."""
    if sys.version_info >= (3, 12):
        pytest.skip("tensorflow-addons has no wheel for Python 3.12 or newer")
    find = importlib.machinery.PathFinder.find_spec
    if find("tensorflow_addons", [str(FOLDER), *sys.path]) is None:
        pytest.skip("tensorflow-addons is not there: make test, or docs/addons.md")
    places = [FOLDER, ROOT, os.environ.get("PYTHONPATH")]
    return {"PYTHONPATH": os.pathsep.join(str(place) for place in places if place)}


@pytest.fixture(scope="module")
def theirs(environment, start_python, tmp_path_factory):
    """What tensorflow-addons gives, by the name of the call."""
    given_folder, found_folder = map(tmp_path_factory.mktemp, ("given", "found"))
    for name, arguments in given().items():
        np.savez(given_folder / name, **arguments)
    program = pathlib.Path(__file__).with_name("addons_reference.py")
    process = start_python(program, given_folder, found_folder, env=environment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    found = {}
    for path in found_folder.iterdir():
        with np.load(path) as arrays:
            found[path.stem] = dict(arrays)
    return found


@pytest.mark.parametrize("side", [32, 96])
def test_blur_is_theirs_with_zeros_beyond_the_border(theirs, side):
    call = given()[f"blur-{side}"]
    layer = layers.RandomGaussianBlur()

    def blur(images, sigma):
        return layer.apply(tf.cast(images, tf.float32), {"sigma": sigma})

    expected = theirs[f"blur-{side}"]["images"]
    # As many products and sums as taps, twice, of weights good to 8 U.
    bound = (2 * call["taps"] + 16) * U
    for way, actual in run_each_way(blur, call["images"], SIGMAS).items():
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound, err_msg=way)


def test_rotation_is_theirs_bilinear_and_mirrored(theirs):
    """Both compute places in float32.

    An angle up to pi is good to 10 U, at a radius of 16 pixels to 160 U; its sine and
    cosine, products and sums of up to 28 pixels add 90 U. In ours and theirs that is
    500 U in height and as much in width, where images change by 1 at most.
    """
    layer = layers.RandomRotation(180)

    def rotate(images, degrees):
        return layer.apply(tf.cast(images, tf.float32), {"degrees": degrees})

    images, expected = given()["rotation"]["images"], theirs["rotation"]["images"]
    for way, actual in run_each_way(rotate, images, DEGREES).items():
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e3 * U, err_msg=way)


def test_value_is_brightness(theirs):
    call = given()["colours-value"]
    factor = tf.fill([2], np.float32(1.4))
    ours = colour.scale_brightness(tf.cast(call["images"], tf.float32), factor)
    # Their two matrices are inverse to 1e-7.
    bound = 1.4e-7 + 4 * U
    expected = theirs["colours-value"]["images"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=bound)


def test_no_saturation_is_grayscale(theirs):
    ours = colour.to_grayscale(tf.constant(given()["colours-grey"]["images"]))
    # TensorFlow's weight of red is .2989, theirs .299.
    expected = theirs["colours-grey"]["images"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 + 4 * U)


def test_hue_and_saturation_meet_on_greys_alone(theirs):
    """HSV and YIQ turn and fade colours otherwise, as the page says."""

    def ours(operation, name, value):
        images = tf.cast(given()[name]["images"], tf.float32)
        return operation(images, tf.fill([len(images)], np.float32(value))).numpy()

    for operation, name, value in (
        (colour.adjust_hue, "colours-hue", 1 / 3),
        (colour.adjust_saturation, "colours-saturation", 0.5),
    ):
        difference = ours(operation, name, value) - theirs[name]["images"]
        assert np.abs(difference).max() > 0.2, name
    greys = "colours-hue_of_greys"
    np.testing.assert_allclose(
        ours(colour.adjust_hue, greys, 0.3), theirs[greys]["images"], atol=1e-7 + 4 * U
    )


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_an_n_pairs_loss_of_both_views(theirs, temperature):
    call = given()[f"nt_xent-{temperature}"]
    z_1, z_2 = tf.constant(call["z_1"]), tf.constant(call["z_2"])
    with tf.GradientTape() as tape:
        tape.watch([z_1, z_2])
        loss = tf.reduce_mean(nt_xent_loss(z_1, z_2, temperature))
    gradients = tape.gradient(loss, [z_1, z_2])
    found = theirs[f"nt_xent-{temperature}"]
    # As tests/fidelity/test_losses.py: sums of a few numbers, divided by temperatures.
    np.testing.assert_allclose(loss, found["loss"], rtol=1e-12)
    np.testing.assert_allclose(gradients, found["gradients"], rtol=1e-12, atol=1e-13)


def lamb_of_a_run(decay):
    """The weights after each of ten steps."""
    arrays = lamb_arrays()
    variables = [
        keras.Variable(arrays[f"weight_{i}"], dtype="float64") for i in range(5)
    ]
    config = OptimizerConfig(name="lamb", weight_decay=decay)
    optimizer = build_optimizer(config, PLAN, variables)
    for step in range(STEPS):
        gradients = [tf.constant(arrays[f"gradient_{i}"][step]) for i in range(5)]
        optimizer.apply(gradients, variables)
        yield [variable.numpy() for variable in variables]


@pytest.mark.parametrize(("decay", "name"), [(0.0, "none"), (DECAY, "decoupled")])
def test_ten_steps_of_lamb_are_theirs(theirs, decay, name):
    """With a decay theirs is told to shrink the weights before each step.

    Keras takes .9 and .999 for float32 numbers where it corrects the moments, which
    are then wrong by U / .001, and their square root by half of that. The trust ratio
    takes that out again, but for the share that epsilon has beside gradients of .1 and
    more. Zeros, whose first step has a trust of 1, keep it.
    """
    error = U / 0.001 / 2
    rest = error * 1e-7 / 0.1 * STEPS * PEAK
    for step, weights in enumerate(lamb_of_a_run(decay)):
        for i, weight in enumerate(weights):
            expected = theirs[f"lamb-{name}"][f"weight_{i}"][step]
            bound = np.linalg.norm(expected) * (error if i == 4 else rest)
            np.testing.assert_allclose(weight, expected, rtol=1e-13, atol=bound)


def test_their_decay_of_lamb_is_another(theirs):
    """Theirs passes through the trust ratio, as in the paper; Keras's goes beside it.

    Vectors, which are not decayed, are the same.
    """
    *_, weights = lamb_of_a_run(DECAY)
    found = theirs["lamb-adapted"]
    assert np.abs(weights[0] - found["weight_0"][-1]).max() > 1e-3
    np.testing.assert_allclose(weights[2], found["weight_2"][-1], rtol=1e-9)


def test_activations_are_those_of_keras(theirs):
    x = given()["activations"]["x"]
    for name, ours in ACTIVATIONS.items():
        expected = theirs["activations"][name]
        # A few operations on numbers up to 4, in float64.
        np.testing.assert_allclose(ours(x), expected, rtol=1e-12, atol=1e-14)


def test_the_page_names_what_there_is(theirs):
    """Theirs in a process of theirs, and what takes its place here."""
    assert len(given()["lookup"]["names"]) > 30
    assert theirs["lookup"]["missing"].tolist() == []
    for name in re.findall(r"`((?:keras|selfsup_tf|simclr_tf|sklearn)\.[\w.]+)", PAGE):
        module, _, part = name.rpartition(".")
        assert hasattr(importlib.import_module(module), part), name


def test_the_program_of_the_page_runs(environment, run_program):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "(8, 32, 32, 3)" in run_program("-c", program, env=environment).stdout
