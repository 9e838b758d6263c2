"""DINO against its equations in NumPy: loss, gradient, centre, ten whole steps."""

import functools

import keras
import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from ten_steps import IMAGES, STEPS, check_ten_steps, set_up, usual_rate

import dino_tf
import selfsup_tf as selfsup
from selfsup_tf.config import Plan, ViewConfig
from selfsup_tf.errors import InputError
from selfsup_tf.models.copies import at_size
from selfsup_tf.models.prototypes import UnitDense
from selfsup_tf.training.schedules import stair

TEMPERATURE = 0.3
PLAN = Plan(10, 10, 0, 0.5, 10, 10)
PLAIN = [("affine", "dense1"), ("gelu", ""), ("affine", "dense2")]
NORMED = [("dense", "dense1"), ("norm", "norm1"), ("gelu", ""), ("affine", "dense2")]
LAST = [("unit", ""), ("directions", "directions")]


def softmax(x):
    """Of one row."""
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def loss_of(views, targets, centre, warmth):
    """Algorithm 1, image by image and pair by pair: H(t, s) of unlike views."""
    losses = []
    for n in range(len(views[0])):
        terms = []
        for i, target in enumerate(targets):
            answer = softmax((target[n] - centre) / warmth)
            for j, view in enumerate(views):
                if i != j:
                    shares = softmax(view[n] / TEMPERATURE)
                    terms.append(-np.sum(answer * np.log(shares)))
        losses.append(sum(terms) / len(terms))
    return np.array(losses)


def gradient_of(views, targets, centre, warmth):
    """Of the mean of `loss_of` by the scores of each view: softmax less the answer."""
    pairs = sum(i != j for i in range(len(targets)) for j in range(len(views)))
    by_view = [np.zeros_like(view) for view in views]
    for n in range(len(views[0])):
        for i, target in enumerate(targets):
            answer = softmax((target[n] - centre) / warmth)
            for j, view in enumerate(views):
                if i != j:
                    change = softmax(view[n] / TEMPERATURE) - answer
                    by_view[j][n] += change / TEMPERATURE / pairs / len(view)
    return by_view


@pytest.mark.parametrize("count", [2, 5])
def test_loss_and_gradient_equal_the_paper(count):
    generator = np.random.default_rng(0)
    views = list(generator.normal(size=(count, 7, 6)))
    targets = list(generator.normal(size=(2, 7, 6)))
    centre = generator.normal(size=6)
    given = [tf.constant(v) for v in views], [tf.constant(t) for t in targets]
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = dino_tf.dino_loss(*given, tf.constant(centre), 0.2, TEMPERATURE)
        mean = tf.reduce_mean(loss)
    by_views, by_targets = tape.gradient(mean, given)
    expected = loss_of(views, targets, centre, 0.2)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    gradients = gradient_of(views, targets, centre, 0.2)
    for found, wanted in zip(by_views, gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-13)
    assert by_targets == [None, None]
    numeric = reference.numeric_gradient(
        lambda x: loss_of([x, *views[1:]], targets, centre, 0.2).mean(), views[0]
    )
    np.testing.assert_allclose(by_views[0], numeric, atol=1e-8)
    halves = [[tf.cast(v, tf.float16) for v in each] for each in given]
    assert dino_tf.dino_loss(*halves, centre, 0.04, 0.1).dtype == tf.float32


def test_a_stair_is_numpys_linspace_between_epochs():
    for epochs in (1, 2, 5):
        schedule = [*np.linspace(0.04, 0.07, epochs), *([0.07] * 3)]
        found = [stair(epoch, epochs, 0.04, 0.07) for epoch in range(epochs + 3)]
        np.testing.assert_allclose(found, schedule, rtol=1e-6)
    assert float(stair(0, 0, 0.04, 0.07)) == pytest.approx(0.07)


class Reenacted:
    """Steps of DINO in NumPy, with the centre and the temperature that they leave."""

    def __init__(self, head, momentum, temperatures):
        self.head, self.momentum = head, momentum
        self.centre, self.temperatures = 0.0, list(temperatures)

    def scores(self, prefix, parameters, views):
        """Of both views as one batch, and the tapes, the last network first."""
        networks = (
            ("encoder", reference.ENCODER),
            ("projector", self.head),
            ("prototypes", LAST),
        )
        x, tapes = np.concatenate(views), []
        for name, layers in networks:
            x, tape = reference.forward(f"{prefix}{name}", layers, parameters, x)
            tapes.insert(0, tape)
        return x, tapes

    def gradients(self, parameters, *views):
        """Loss, gradients and tapes; the centre moves after the loss."""
        online, tapes = self.scores("", parameters, views)
        target, target_tapes = self.scores("target_", parameters, views)
        halves = np.split(online, 2), np.split(target, 2)
        given = *halves, self.centre, self.temperatures.pop(0)
        dy, found = np.concatenate(gradient_of(*given)), {}
        for tape in tapes:
            dy = reference.backward(tape, parameters, dy, found)
        loss, keep = loss_of(*given).mean(), self.momentum
        self.centre = keep * self.centre + (1 - keep) * target.mean(axis=0)
        return loss, found, [*tapes, *target_tapes]


CASES = {
    "as published": {"projector_norm": "none", "final_tau": 1.0, "frozen_epochs": 3.0},
    "of CIFAR-10": {
        "projector_norm": "hidden",
        "final_tau": 0.95,
        "frozen_epochs": 0.0,
        "learn_lengths": True,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_equal_numpy(case, tiny_config):
    fields = CASES[case]
    run = set_up(
        tiny_config,
        "dino",
        form="popular",
        temperature=TEMPERATURE,
        target_temperature=0.5,
        target_temperature_start=0.2,
        target_temperature_epochs=4,
        centre_momentum=0.8,
        projector=(7, 5),
        prototypes=9,
        base_tau=0.9,
        **fields,
    )
    final = fields["final_tau"]
    # An epoch is a step here.
    stairs = [0.2, 0.3, 0.4, *([0.5] * STEPS)]
    head = PLAIN if fields["projector_norm"] == "none" else NORMED
    acted = Reenacted(head, 0.8, stairs)

    slow = {"base": 0.9, "total": STEPS, "final": final}

    def rate(step, name):
        frozen = name.startswith("prototypes/") and step < fields["frozen_epochs"]
        return 0.0 if frozen else usual_rate(step, name)

    def logged(step):
        state = {name: v.numpy() for name, v in run.method.state.items()}
        np.testing.assert_allclose(state["centre"], acted.centre, rtol=0, atol=1e-9)
        assert state["target_temperature"] == pytest.approx(
            acted.temperatures[0], rel=1e-12
        )
        return {"train/tau": reference.tau(step, **slow)}

    check_ten_steps(
        run,
        acted.gradients,
        rate=rate,
        after=functools.partial(reference.move_target, **slow),
        logged=logged,
    )


def test_views_of_one_size_are_one_batch(tiny_config, tiny_method):
    """Each size passes the encoder by itself, all of them the head together."""
    views = ViewConfig(), ViewConfig(), ViewConfig(size=12, count=3)
    fields = {"projector": (8, 4), "projector_norm": "hidden", "prototypes": 5}
    method = tiny_method(tiny_config("dino", views=views, **fields))
    method.build()
    sizes = (16, 16, 12, 12, 12)
    generator = np.random.default_rng(0)
    given = {
        f"view_{i}": generator.uniform(size=(IMAGES, s, s, 3)).astype(np.float32)
        for i, s in enumerate(sizes, 1)
    }
    assert set(method.model.input) == set(given)
    start = [v.numpy() for v in method.model.variables]
    outputs = method.model(given, training=True)
    moved = [v.numpy() for v in method.model.variables]
    for variable, value in zip(method.model.variables, start, strict=True):
        variable.assign(value)
    images = list(given.values())
    small = at_size(method.encoder, 12)
    h = tf.concat(
        [
            method.encoder(np.concatenate(images[:2]), training=True),
            small(np.concatenate(images[2:]), training=True),
        ],
        axis=0,
    )
    heads = "projector", "prototypes"
    projector, prototypes = (method.networks[name] for name in heads)
    scores = prototypes(projector(h, training=True), training=True)
    t = method.model.get_layer("target_encoder")(
        np.concatenate(images[:2]), training=True
    )
    for name in heads:
        t = method.model.get_layer(f"target_{name}")(t, training=True)
    for i in range(1, 6):
        rows = slice((i - 1) * IMAGES, i * IMAGES)
        close = {"rtol": 1e-4, "atol": 1e-5}
        np.testing.assert_allclose(outputs[f"representation_{i}"], h[rows], **close)
        np.testing.assert_allclose(outputs[f"scores_{i}"], scores[rows], **close)
        if i < 3:
            np.testing.assert_allclose(outputs[f"target_scores_{i}"], t[rows], **close)
    np.testing.assert_allclose(
        outputs["target_mean"][0], tf.reduce_mean(t, axis=0), rtol=1e-4, atol=1e-5
    )
    # Its statistics moved as often: once for each size, in the same order.
    for variable, value in zip(method.model.variables, moved, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-5)


def test_the_centre_keeps_the_rest_of_itself(tiny_config, tiny_method):
    """The means of replicas and micro-batches, which are of equal size, count alike."""
    method = tiny_method(tiny_config("dino", prototypes=3, centre_momentum=0.75))
    method.build()
    method.state["centre"].assign([4.0, 0.0, -4.0])
    means = tf.constant([[0.0, 1.0, 2.0], [4.0, 1.0, 6.0]])
    method.after_update(tf.constant(0, tf.int64), PLAN, {"target_mean": means})
    expected = 0.75 * np.array([4.0, 0.0, -4.0]) + 0.25 * np.array([2.0, 1.0, 4.0])
    np.testing.assert_allclose(method.state["centre"], expected, rtol=1e-6)


@pytest.mark.slow
def test_the_target_is_kept_and_read_in_a_new_process(
    tiny_config, tiny_method, few_images, tmp_path, run_program
):
    """And with it what else is kept, layers of the house included."""
    config = tiny_config("dino", base_tau=0.5, final_tau=0.5)
    method = tiny_method(config)
    run = selfsup.train(method, few_images, run_dir=tmp_path, progress=False)
    x = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)
    target = method.model.get_layer("target_encoder")(x, training=False)
    assert np.abs(target - run.encoder(x)).max() > 1e-4
    np.save(tmp_path / "images.npy", x)
    run_program(
        "-c",
        "import numpy as np; from selfsup_tf.models.saved import load_network as load;"
        "h = load('.', 'target_encoder')(np.load('images.npy')); np.save('h.npy', h);"
        "assert load('.', 'prototypes').output_shape == (None, 64)",
        cwd=tmp_path,
    )
    np.testing.assert_allclose(np.load(tmp_path / "h.npy"), target, atol=1e-5)


@pytest.mark.parametrize("rate_is_tried", [False, True])
def test_a_short_run_and_a_range_test_move_the_prototypes(
    rate_is_tried, tiny_config, tiny_method
):
    """Frozen for an epoch, but for no more than a tenth of a run, as a warm-up is."""
    method = tiny_method(tiny_config("dino", frozen_epochs=1.0))
    method.build()

    def peak(step):
        return 0.5

    rate = peak if rate_is_tried else (lambda step: 0.25)
    for total, frozen in ((40, 10), (5, 0), (20, 10), (10, 1)):
        plan = Plan(10, total, 0, 0.5, 10, 10)
        ((variables, own),) = method.own_rates(plan, rate, peak)
        assert [v.path for v in variables] == [
            v.path for v in method.prototypes.trainable_variables
        ]
        rates = [float(own(tf.constant(k, tf.int64))) for k in range(12)]
        waits = 0 if rate_is_tried else frozen
        assert rates == [0.0] * waits + [rate(0)] * (12 - waits)


def test_prototypes_are_directions_and_can_be_saved(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    layer = UnitDense(3)
    network = keras.Sequential([keras.Input((4,)), layer])
    kernel = layer.kernel.numpy()
    cosines = x @ (kernel / np.linalg.norm(kernel, axis=0))
    np.testing.assert_allclose(network(x), cosines, rtol=1e-5, atol=1e-6)
    layer.kernel.assign(7 * kernel)
    np.testing.assert_allclose(network(x), cosines, rtol=1e-5, atol=1e-6)
    network.save(tmp_path / "prototypes.keras")
    loaded = keras.saving.load_model(tmp_path / "prototypes.keras")
    np.testing.assert_array_equal(loaded(x), network(x))
    low = UnitDense(3, learn_lengths=True, dtype="mixed_bfloat16")
    low.build((None, 4))
    low.kernel.assign(kernel)
    low.lengths.assign([[1.0, 2.0, 3.0]])
    unit, lengths = np.abs(kernel) / np.linalg.norm(kernel, axis=0), [1.0, 2.0, 3.0]
    error = np.abs(tf.cast(low(x), tf.float32) - cosines * lengths)
    # bfloat16 rounds both factors and the sum, each by 2^-8 of itself at most.
    assert (error <= 3 * 2**-8 * (np.abs(x) @ unit) * lengths).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "temperature above 0"),
        ({"target_temperature": 0.0}, "target_temperature above 0"),
        ({"prototypes": 0}, "prototypes above 0"),
        ({"centre_momentum": 2.0}, "centre_momentum to be a probability"),
        ({"base_tau": 0.9, "final_tau": 0.5}, "a final_tau of base_tau or more"),
        ({"frozen_epochs": -1.0}, "frozen_epochs of 0 or more"),
        ({"target_temperature_start": 0.02}, "target_temperature_epochs where"),
        ({"views": (ViewConfig(),)}, "two views for dino of image_size=16"),
        ({"views": (ViewConfig(), ViewConfig(size=8))}, "received views of 16, 8"),
    ],
)
def test_what_means_nothing_is_refused(fields, message, tiny_config):
    with pytest.raises(InputError, match=message):
        tiny_config("dino", **fields)
