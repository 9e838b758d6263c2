"""Configs: what they refuse in Python, what they write and read, plans."""

import dataclasses
import json
import math

import pytest

from selfsup_tf import config as configs
from selfsup_tf.config import (
    Config,
    EncoderConfig,
    OptimizerConfig,
    ViewConfig,
    layer,
    make_plan,
)
from selfsup_tf.errors import InputError
from simclr_tf import SimCLRConfig


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerConfig(name="sdg"), "one of lars, sgd"),
        (lambda: OptimizerConfig(schedule="linear"), "one of cosine, constant"),
        (lambda: OptimizerConfig(learning_rate="1"), "of type float"),
        (lambda: ViewConfig(brightness_mode="additive"), "one of multiply, add"),
        (lambda: ViewConfig(interpolation="lanczos"), "one of bilinear, bicubic"),
        (lambda: ViewConfig(crop_area=(0.5, 0.1)), "two rising numbers"),
        (lambda: ViewConfig(hue=0.7), "hue"),
        (lambda: EncoderConfig(stem="x"), "one of imagenet, small"),
        (lambda: EncoderConfig(width=float("nan")), "width above 0"),
        (lambda: SimCLRConfig(precision="half"), "one of float32"),
        (lambda: SimCLRConfig(batch_size=1), "batch_size of 2 or more"),
        (lambda: SimCLRConfig(batch_size=True), "of type int"),
        (lambda: SimCLRConfig(temperature=math.inf), "temperature above 0 and finite"),
        (lambda: SimCLRConfig(encoder=EncoderConfig(name="pretrained")), "or --start"),
        (lambda: OptimizerConfig(momentum=1.0), "momentum of 0 or more, below 1"),
        (lambda: SimCLRConfig(epochs=None), "one of epochs and steps"),
        (lambda: SimCLRConfig(projector=()), "one or more layers"),
        (lambda: SimCLRConfig(views=(ViewConfig(),)), "2 views of each image"),
        (lambda: SimCLRConfig(views=(ViewConfig(size=9),) * 2), "image_size=224"),
        (lambda: SimCLRConfig(views=ViewConfig()), "views to be of type tuple"),
        (lambda: SimCLRConfig(encoder="resnet18"), "encoder to be of type Encoder"),
        (lambda: EncoderConfig(mean=(0.5, 0.5)), "mean to be 3 values"),
        (lambda: OptimizerConfig(name="adam", momentum=0.5), "lars, sgd, rmsprop take"),
        (lambda: OptimizerConfig(name="lars", nesterov=True), "Only sgd take"),
        (lambda: OptimizerConfig(name="sgd", trust_clip=True), "trust_clip=False"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_json_is_strict():
    values = configs.to_dict(SimCLRConfig())
    assert configs.read_config(SimCLRConfig, values) == SimCLRConfig()
    with pytest.raises(InputError, match="Perhaps you meant: temperature"):
        configs.read_config(SimCLRConfig, {"temprature": 0.1})
    with pytest.raises(InputError, match=r"optimizer\.momentum to be of type float"):
        configs.read_config(SimCLRConfig, {"optimizer": {"momentum": "high"}})


def test_differences_name_what_changes_a_run():
    stored = configs.to_dict(SimCLRConfig())
    other = SimCLRConfig(
        temperature=0.5, optimizer=OptimizerConfig(momentum=0.5), data_dir="elsewhere"
    )
    assert configs.differences(other, stored) == [
        "optimizer.momentum: 0.9 there, 0.5 here",
        "temperature: 0.1 there, 0.5 here",
    ]


def test_plan_turns_epochs_into_steps_and_scales_the_rate():
    config = SimCLRConfig(batch_size=1024, epochs=20.0)
    plan = make_plan(config, 10_300)
    assert (plan.steps_per_epoch, plan.total_steps, plan.warmup_steps) == (10, 200, 100)
    assert plan.learning_rate == pytest.approx(0.3 * 4)
    roots = SimCLRConfig(batch_size=1024, optimizer=OptimizerConfig(scaling="sqrt"))
    assert make_plan(roots, 10_300).learning_rate == pytest.approx(0.3 * 2)
    # A moment's try of a recipe has a warm-up of its own.
    short = make_plan(SimCLRConfig(batch_size=1024, epochs=5.0), 10_300)
    assert (short.total_steps, short.warmup_steps) == (50, 5)
    assert (
        make_plan(SimCLRConfig(batch_size=1024, epochs=0.1), 10_300).warmup_steps == 0
    )


class Crops(Config):
    method = "crops"


def test_views_and_their_layers_are_compared_and_read_back():
    own = (layer("mine>Posterize", bits=4, levels=[1, 2], before="blur"),)
    config = Crops(views=[ViewConfig(layers=own), ViewConfig(size=96, count=6)])
    hash(config)
    stored = json.loads(json.dumps(configs.to_dict(config)))
    assert configs.read_config(Crops, stored) == config
    assert configs.differences(config, stored) == []
    other = dataclasses.replace(config, views=config.views[:1])
    found = configs.differences(other, stored)
    assert "view_2.size: 96 there, absent here" in found
