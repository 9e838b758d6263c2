"""Configs: what they refuse in Python, what they write and read, plans."""

import pytest

from selfsup_tf import config as configs
from selfsup_tf.config import EncoderConfig, OptimizerConfig, ViewConfig, make_plan
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
        (lambda: SimCLRConfig(epochs=None), "one of epochs and steps"),
        (lambda: SimCLRConfig(projector=()), "one or more layers"),
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
    with pytest.raises(InputError, match="a warm-up shorter than the run"):
        make_plan(SimCLRConfig(batch_size=1024, epochs=5.0), 10_300)
