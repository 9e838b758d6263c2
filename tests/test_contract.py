"""What every method must do, run for each that is found."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf import config as configs
from selfsup_tf.data.sources import open_source
from selfsup_tf.methods import find_method, list_methods
from selfsup_tf.training import loop

METHODS = list_methods()


def test_the_methods_are_found():
    assert {"byol", "distill", "finetune", "simclr"} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_recipe_round_trips_through_json(name):
    package = find_method(name)
    assert package.recipes
    for recipe in package.recipes.values():
        assert recipe.__doc__
        config = recipe(seed=3)
        assert config.seed == 3
        values = json.loads(json.dumps(configs.to_dict(config)))
        assert configs.read_config(package.config_class, values) == config
        assert configs.differences(config, values) == []


@pytest.mark.parametrize("name", METHODS)
def test_model_has_named_inputs_and_float32_outputs(
    name, tiny_config, tiny_method, few_images
):
    method = tiny_method(tiny_config(name, precision="mixed_bfloat16"))
    method.prepare(open_source(few_images))
    method.build()
    views = tf.random.stateless_uniform([4, 16, 16, 3], [0, 1])
    batch = {
        "view_1": views,
        "view_2": views[::-1],
        "label": tf.range(4, dtype="int64"),
    }
    assert "view_1" in method.model.input and set(method.model.input) <= set(batch)
    inputs = {name: batch[name] for name in method.model.input}
    outputs = method.model(inputs, training=True)
    for view in method.model.input:
        if view.startswith("view_"):
            assert f"representation_{view[-1]}" in outputs
    loss = method.compute_loss(outputs)
    assert loss.shape == (4,)
    assert loss.dtype == tf.float32
    assert all(v.dtype == "float32" for v in method.model.variables)
    assert all(v.dtype == "float32" for v in method.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "mixed_float16") for name in METHODS), ("byol", "mixed_bfloat16")],
)
def test_training_lowers_the_loss(
    name, precision, tiny_config, tiny_method, few_images, tmp_path
):
    """As it does in float32, which is seen where a user's encoder is trained."""
    config = tiny_config(name, precision=precision, steps=30, steps_per_call=10)
    method = tiny_method(config)
    run = selfsup.train(method, few_images, run_dir=tmp_path, progress=False)
    losses = [r["train/loss"] for r in run.log if "train/loss" in r]
    assert losses[-1] < losses[0]
    assert run.encoder.compute_dtype == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_equals_an_uninterrupted_one(
    name, tiny_config, tiny_method, few_images, tmp_path
):
    """Resumed from what a power cut leaves between two checkpoints; float64."""
    source = open_source(few_images)
    # With state of its own: moments for one of the networks, momentum for the others.
    optimizer = "adamw" if name == "byol" else "lars"

    def train(run_dir, monitor):
        config = tiny_config(
            name,
            precision="float64",
            steps=8,
            steps_per_call=1,
            checkpoint_epochs=0.5,
            knn_epochs=1.25,
            optimizer=configs.OptimizerConfig(
                name=optimizer, learning_rate=0.05, warmup_epochs=0.0
            ),
        )
        method = tiny_method(config)
        run = loop.train(
            method, source, run_dir=run_dir, monitor=monitor, progress=False
        )
        kept = [*method.model.variables, *method.state.values()]
        return run, [v.numpy() for v in kept]

    def power_cut(networks):
        if not (tmp_path / "cut").exists():
            shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        return {}

    whole, expected = train(tmp_path / "whole", power_cut)
    cut, resumed = train(tmp_path / "cut", lambda networks: {})
    assert [r["step"] for r in cut.log] == [r["step"] for r in whole.log]
    for found, value in zip(resumed, expected, strict=True):
        # float64 sums in another order, carried through eight updates. A bias before
        # a norm has a gradient of noise, some 1e-16, which AdamW divides by its
        # epsilon of 1e-7 and multiplies by the rate, .003: 3e-12 an update.
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=3e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_step_compiles_for_xla(name, tiny_config, tiny_method, few_images, tmp_path):
    runs = []
    for compiled in (False, True):
        config = tiny_config(name, jit_compile=compiled, steps=2)
        folder = tmp_path / f"{compiled}"
        method = tiny_method(config)
        runs.append(selfsup.train(method, few_images, run_dir=folder, progress=False))
    plain, compiled = (r.log[-1]["train/loss"] for r in runs)
    # XLA reorders float32 sums; over two steps that stays below a thousandth.
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_clipping_bounds_the_update(
    name, plain_sgd, tiny_config, tiny_method, few_images, tmp_path
):
    """With plain SGD and rate 1 an update is as long as the clipped gradient."""
    optimizer = dataclasses.replace(plain_sgd, clip_norm=1e-3)
    config = tiny_config(name, optimizer=optimizer, steps=1)
    method = tiny_method(config)
    keras.utils.set_random_seed(config.seed)
    method.prepare(open_source(few_images))
    method.build()
    before = [v.numpy() for v in method.trainable_variables]
    selfsup.train(method, few_images, run_dir=tmp_path, progress=False)
    after = [v.numpy() for v in method.trainable_variables]
    moved = sum(
        ((a - b).astype(np.float64) ** 2).sum()
        for a, b in zip(after, before, strict=True)
    )
    # Weights near 1 keep 2^-24 of themselves when a gradient is subtracted.
    assert moved**0.5 == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_own_encoder_is_trained_as_a_copy(name, tiny_config, few_images, tmp_path):
    own = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    before = own.get_weights()
    config = tiny_config(
        name,
        steps=30,
        steps_per_call=10,
        # All images in each step: what is left of the loss's noise is the views'.
        batch_size=len(few_images[0]),
        optimizer=configs.OptimizerConfig(
            name="sgd", learning_rate=0.1, warmup_epochs=0.0
        ),
    )
    method = find_method(name).load()(config, encoder=own)
    run = selfsup.train(method, few_images, run_dir=tmp_path, progress=False)
    losses = [r["train/loss"] for r in run.log if "train/loss" in r]
    assert losses[-1] < losses[0]
    for a, b in zip(own.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.encoder.output_shape == (None, 4)
    assert any(
        (a != b).any() for a, b in zip(run.encoder.get_weights(), before, strict=True)
    )
