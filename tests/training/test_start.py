"""Runs that go on from an encoder that exists: stages, rates, and what came of it."""

import dataclasses
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf.config import OptimizerConfig, make_plan
from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.models.started import find_stages, freeze
from selfsup_tf.training.optimizers import build_optimizer, build_schedule
from selfsup_tf.training.step import build


def make_encoder(size=24, seed=3):
    """Three stages, the second and the third begun by a stride; BatchNorm in each."""
    keras.utils.set_random_seed(seed)
    images = x = keras.Input((size, size, 3), name="image")
    for number, (filters, stride) in enumerate(((6, 1), (8, 2), (12, 2)), 1):
        x = keras.layers.Conv2D(filters, 3, stride, name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
    h = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, h)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """An encoder of 24 px in a file."""
    path = tmp_path_factory.mktemp("start") / "start.keras"
    make_encoder().save(path)
    return path


@pytest.fixture
def train(start, tiny_config, few_images, tmp_path):
    """Trains from the start; the method and the run."""

    def run(name="simclr", *, data=few_images[0], run_dir=tmp_path / "run", **changes):
        values = {"start": str(start), "image_size": 16} | changes
        method = find_method(name).load()(tiny_config(name, **values))
        return method, selfsup.train(method, data, run_dir=run_dir, progress=False)

    return run


def test_a_stage_ends_where_the_maps_become_smaller():
    encoder = make_encoder()
    names = [[layer.name for layer in stage] for stage in find_stages(encoder)]
    assert [stage[0] for stage in names] == ["image", "conv2", "conv3"]
    wide = keras.applications.MobileNetV3Small(
        input_shape=(96, 96, 3), include_top=False, weights=None
    )
    assert len(find_stages(wide)) == 6  # 96, 48, 24, 12, 6, 3


@pytest.mark.parametrize(("name", "upto"), [("simclr", "1"), ("byol", "norm1")])
def test_frozen_stages_stay_and_the_rest_learns(name, upto, start, train):
    """Whether by number or by name; statistics of BatchNorm stay, too."""
    method, run = train(name, freeze=upto)
    before = {
        layer.name: layer for layer in leaf_layers(keras.saving.load_model(start))
    }
    stayed = []
    for layer in leaf_layers(method.encoder):
        if layer.weights:
            pairs = zip(
                layer.get_weights(), before[layer.name].get_weights(), strict=True
            )
            same = [np.array_equal(a, b) for a, b in pairs]
            assert len(set(same)) == 1, layer.name
            stayed += [layer.name] * same[0]
    assert stayed == ["conv1", "norm1"]
    again = keras.saving.load_model(run.run_dir / "encoder.keras")
    assert all(layer.trainable for layer in leaf_layers(again))
    images = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(
        again(images), method.encoder(images, training=False), rtol=1e-5, atol=1e-6
    )


def test_what_follows_a_frozen_network_may_learn_in_the_next_run(train):
    _, run = train("dino", freeze="1")
    for name in ("encoder", "target_encoder"):
        kept = keras.saving.load_model(run.run_dir / f"{name}.keras")
        assert all(layer.trainable for layer in leaf_layers(kept)), name


def test_the_start_is_the_best_until_training_is_better(
    train, few_images, start, tmp_path, caplog
):
    """A rate that is far too high spoils it; what is handed over says so."""
    logging.getLogger("selfsup_tf").propagate = True
    spoilt = OptimizerConfig(name="sgd", learning_rate=1e5, warmup_epochs=0.0)
    changes = {"held_out": 6, "knn_epochs": 1.0, "steps": 12, "image_size": 24}
    _, run = train(data=few_images, optimizer=spoilt, **changes)
    scored = [r for r in run.log if "eval/knn_top_1" in r]
    assert scored[0]["step"] == 0
    scores = [r["eval/knn_top_1"] for r in scored]
    assert scores[0] == max(scores)
    assert "NOTHING GAINED" in caplog.text
    best = keras.saving.load_model(run.run_dir / "encoder_best.keras")
    images = np.random.default_rng(0).uniform(size=(2, 24, 24, 3)).astype(np.float32)
    given = keras.saving.load_model(start)
    np.testing.assert_allclose(best(images), given(images), rtol=1e-5, atol=1e-6)
    _, again = train(data=few_images, optimizer=spoilt, **changes)
    assert again.log == run.log  # measured once


def test_another_file_of_that_name_is_not_resumed_with(
    start, train, tmp_path, monkeypatch
):
    other = tmp_path / "other.keras"
    other.write_bytes(start.read_bytes())
    train(start=str(other), steps=2)
    make_encoder(seed=4).save(other)
    with pytest.raises(InputError, match="other: start"):
        train(start=str(other), steps=2)
    # Another Keras may write the same network otherwise.
    monkeypatch.setattr(keras, "__version__", "3.99")
    train(start=str(other), steps=2)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "lamb", "lars", "adamw"])
def test_variables_have_rates_of_their_own(name, tiny_config):
    """One optimizer with another rate for one variable, and two of these two rates."""
    config = OptimizerConfig(name=name, learning_rate=0.5, warmup_epochs=0.0)
    config = dataclasses.replace(config, weight_decay=0.0)
    plan = make_plan(tiny_config("simclr", optimizer=config, steps=5), 64)
    slow = dataclasses.replace(plan, learning_rate=plan.learning_rate * 0.1)

    def updated(plan, factor):
        generator = np.random.default_rng(0)
        variables = [
            keras.Variable(generator.normal(size=(4, 3)), dtype="float64")
            for _ in range(2)
        ]
        rate = build_schedule(config, plan, dtype="float64")
        own = {id(variables[0]): lambda step: factor * rate(step)} if factor else None
        optimizer = build_optimizer(config, plan, variables, own_rates=own)
        for _ in range(3):
            gradients = [tf.constant(generator.normal(size=(4, 3))) for _ in variables]
            optimizer.apply(gradients, variables)
        return [v.numpy() for v in variables]

    found, at_full, at_slow = (
        updated(plan, 0.1),
        updated(plan, None),
        updated(slow, None),
    )
    np.testing.assert_allclose(found[0], at_slow[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], at_full[1], rtol=1e-12)
    assert np.abs(at_full[0] - at_slow[0]).max() > 1e-5


def test_the_heads_have_the_full_rate(train, start, tmp_path):
    """The first update of plain descent is the gradient times the rate."""
    plain = OptimizerConfig(
        name="sgd", learning_rate=1.0, momentum=0.0, weight_decay=0.0, warmup_epochs=0.0
    )
    given = keras.saving.load_model(start).get_layer("conv3").kernel.numpy()
    kernels, heads = [], []
    for factor in (1.0, 0.25):
        method, _ = train(
            start_rate=factor, optimizer=plain, steps=1, run_dir=tmp_path / str(factor)
        )
        (last,) = (
            layer for layer in leaf_layers(method.encoder) if layer.name == "conv3"
        )
        kernels.append(last.kernel.numpy() - given)
        heads.append(method.networks["projector"].get_weights())
    # A difference of two float32 numbers of size 1 has an error of 1e-7.
    np.testing.assert_allclose(kernels[1], 0.25 * kernels[0], atol=2e-7)
    assert np.abs(kernels[0]).max() > 1e-4
    for one, other in zip(*heads, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-7)


def test_what_can_not_be_started_from_is_refused(train, start, tmp_path, tiny_config):
    exported = tmp_path / "exported"
    keras.saving.load_model(start).export(exported, verbose=False)
    for changes, said in (
        ({"start": str(exported)}, "images of the 24 pixels"),
        ({"start": str(exported), "image_size": 24}, "which brings none"),
        ({"start": f"{start}@32"}, "leave @SIZE out"),
        ({"start": "resnet18"}, "an encoder that exists"),
        ({"freeze": "9"}, "freeze of 1 to 2"),
        ({"freeze": "conv9"}, "the name of a layer"),
    ):
        with pytest.raises(InputError) as caught:
            train(**changes)
        assert said in str(caught.value), changes
        assert not (tmp_path / "run").exists()
    for changes in ({"freeze": "1"}, {"start_rate": 0.1}):
        with pytest.raises(InputError, match="--start, whose"):
            tiny_config("byol", **changes)
    config = tiny_config("simclr", start=str(start), image_size=24)
    method = find_method("simclr").load()(config, encoder=make_encoder())
    with pytest.raises(InputError, match="one encoder to start from"):
        selfsup.train(
            method, np.zeros((20, 24, 24, 3), np.uint8), run_dir=tmp_path / "r"
        )
    with pytest.raises(InputError, match="freeze of 1 to 2"):
        freeze(make_encoder(), "0")


@pytest.mark.parametrize("tried", [None, 0.25])
def test_a_methods_own_rate_and_that_of_the_start(tried, start, tiny_config):
    """The start slows what it brings, whose rate is the method's own or the run's.

    In a range test everything follows the rate that is tried.
    """
    sgd = OptimizerConfig(
        name="sgd", learning_rate=0.1, scaling="none", warmup_epochs=0.0
    )
    config = tiny_config(
        "barlow",
        start=str(start),
        start_rate=0.5,
        bias_rate=0.01,
        optimizer=sgd,
        image_size=24,
    )
    method = find_method("barlow").load()(config)
    rate = None if tried is None else (lambda step: tried)
    optimizer = build(method, make_plan(config, 64), rate)
    brought = {id(v) for v in method.encoder.trainable_variables}
    rates = zip(method.trainable_variables, optimizer._own_rates, strict=True)
    for variable, own in rates:
        factor = 0.5 if id(variable) in brought else 1.0
        factor *= 0.1 if len(variable.shape) <= 1 else 1.0
        assert (own is None) == (factor == 1)
        if own is not None:
            found = float(own(tf.constant(0, tf.int64)))
            assert found == pytest.approx(factor * (tried or 0.1)), variable.path


@pytest.mark.parametrize("tried", [None, 0.25])
def test_a_fixed_rate_is_the_peak_of_the_run_or_what_is_tried(tried, tiny_config):
    config = tiny_config("simsiam", steps=6)
    method = find_method("simsiam").load()(config)
    plan = make_plan(config, 64)
    rate = None if tried is None else (lambda step: tried)
    optimizer = build(method, plan, rate)
    rates = zip(method.trainable_variables, optimizer._own_rates, strict=True)
    fixed = [float(own(5)) for _, own in rates if own is not None]
    assert len(fixed) == len(method.predictor_variables) > 0
    assert fixed == pytest.approx([tried or plan.learning_rate] * len(fixed))
