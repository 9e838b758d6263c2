"""The range test: on a problem whose losses are known, on planted curves, on runs."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

import selfsup_tf as selfsup
from selfsup_tf.config import OptimizerConfig
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.methods import Method, find_method
from selfsup_tf.training.lr_curve import (
    DIVERGED,
    format_lr_find,
    local_lines,
    read_curve,
)
from selfsup_tf.training.lr_find import lr_find

PLAIN = OptimizerConfig(
    name="sgd", learning_rate=0.7, momentum=0.0, weight_decay=0.0, warmup_epochs=1.0
)


class Parabola(Method):
    """Three weights w, whatever the image: the loss is (sum of w)^2 / 2."""

    config_class = find_method("simclr").config_class

    def build(self):
        views = {
            name: keras.Input((16, 16, 3), name=name)
            for name in self.config.drawn_views
        }
        ones = keras.layers.Average()(list(views.values()))
        ones = keras.layers.Rescaling(0.0, offset=1.0)(ones)
        ones = keras.layers.GlobalAveragePooling2D()(ones)
        layer = keras.layers.Dense(
            1,
            use_bias=False,
            kernel_initializer="ones",
            dtype="float64" if self.config.precision == "float64" else "float32",
        )
        self.model = keras.Model(views, {"representation_1": layer(ones)})

    def compute_loss(self, outputs):
        return outputs["representation_1"][:, 0] ** 2 / 2


@pytest.mark.parametrize(
    ("precision", "scaling", "scale"),
    [
        ("float64", "linear", 16 / 256),
        ("float32", "sqrt", 1 / 4),
        ("mixed_float16", "none", 1.0),
    ],
)
def test_rates_rise_exponentially_and_are_per_256_images(
    precision, scaling, scale, tiny_config, few_images
):
    """Each update multiplies the sum of w by 1 - 3 times the batch's own rate."""
    config = tiny_config(
        "simclr",
        optimizer=dataclasses.replace(PLAIN, scaling=scaling),
        precision=precision,
        steps=8,
        steps_per_call=7,
    )
    lowest, highest, steps = 0.01 / scale, 0.3 / scale, 30
    found = lr_find(
        Parabola(config),
        open_source(few_images[0]),
        lowest=lowest,
        highest=highest,
        steps=steps,
    )
    rates = np.geomspace(lowest, highest, steps)
    np.testing.assert_allclose(found.rates, rates, rtol=1e-12)
    total = 3 * np.cumprod([1.0, *(1 - 3 * scale * rates[:-1])])
    # 1 - 3 rate is at worst 0.1, which magnifies the rounding of the rate, of some
    # 6e-8, tenfold; the square doubles it, and a step adds as much to those before.
    # Keras computes the rate in float32 whatever the precision.
    tolerance = 2 * np.sum(2e-7 * 3 * scale * rates / (1 - 3 * scale * rates))
    np.testing.assert_allclose(
        found.losses, total**2 / 2, rtol=tolerance + 1e-6 * steps
    )
    assert found.stopped_at is None and found.reason is None
    assert found.lowest_at == found.rates[-1]


def test_the_end_of_a_parabola(tiny_config, few_images):
    """A rate beyond 2/3 is too high for it: the sum of w swings ever further."""
    config = tiny_config("simclr", optimizer=dataclasses.replace(PLAIN, scaling="none"))
    found = lr_find(
        Parabola(config),
        open_source(few_images[0]),
        lowest=0.01,
        highest=100.0,
        steps=100,
    )
    assert 2 / 3 < found.stopped_at < 3
    # Only what has been computed is told, to the step that the test stopped at.
    assert found.rates[-1] == found.stopped_at
    assert len(found.losses) == len(found.smoothed) == len(found.rates) < 100
    assert f"{DIVERGED:g} times its best" in found.reason
    assert 0.01 < found.suggestion < 1 / 3
    assert f"ended at {found.stopped_at:.2g}: the mean of" in format_lr_find(found)


def logistic(rates, centre, width=0.7):
    """Falls from 5 to 1, fastest at `centre` by the logarithm of the rate."""
    return 5 - 4 / (1 + np.exp(-np.log(rates / centre) / width))


@pytest.mark.parametrize("steps", [50, 201])
@pytest.mark.parametrize("at", [0.4, 0.5, 0.6])
def test_the_suggestion_of_a_planted_curve(steps, at):
    rates = np.geomspace(1e-4, 10, steps)
    centre = rates[int(at * steps)]
    losses = logistic(rates, centre)
    found = read_curve(rates, losses.tolist(), steps=steps)
    assert found.suggestion == pytest.approx(centre)
    assert found.lowest_at == rates[-1]
    # A blow-up by powers of ten after it changes nothing.
    late = rates > 2.0
    losses[late] += 1e6 * np.arange(1, late.sum() + 1)
    found = read_curve(rates, losses.tolist(), steps=steps, reason="test")
    assert found.suggestion == pytest.approx(centre)
    assert found.stopped_at == rates[-1]
    assert max(found.smoothed) < 4 * losses[0]


def test_the_smoothing_is_a_least_squares_line():
    generator = np.random.default_rng(0)
    x, y = np.sort(generator.normal(size=20)), generator.normal(size=20)
    levels, slopes = local_lines(x, y, 3)
    for i in range(20):
        near = slice(max(0, i - 3), min(20, i + 4))
        slope, intercept = np.polyfit(x[near], y[near], 1)
        assert slopes[i] == pytest.approx(slope)
        assert levels[i] == pytest.approx(intercept + slope * x[i])


@pytest.mark.parametrize("kind", ["flat", "rising", "noise"])
def test_no_suggestion_where_the_loss_does_not_fall(kind):
    rates = np.geomspace(1e-4, 10, 200)
    for seed in range(50):
        losses = 5 + np.zeros(200)
        if kind == "rising":
            losses += np.log(rates / rates[0])
        if kind == "noise":
            losses += np.random.default_rng(seed).normal(size=200)
        found = read_curve(rates, losses.tolist(), steps=200)
        assert found.suggestion is None, seed
    words = format_lr_find(found)
    assert "no rate to suggest" in words and "--optimizer" not in words


def test_a_fall_in_noise_is_found():
    """Noise of an eighth of the fall moves the suggestion by less than a decade."""
    rates = np.geomspace(1e-4, 10, 200)
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(0, 0.5, 200)
        losses = logistic(rates, 0.05) + noise
        found = read_curve(rates, losses.tolist(), steps=200)
        assert abs(math.log10(found.suggestion / 0.05)) < 1, seed


def test_the_picture_and_the_words(tmp_path):
    rates = np.geomspace(1e-4, 10, 101)
    losses = logistic(rates, rates[60])
    losses[95:] = 1e5
    found = read_curve(rates, losses.tolist(), steps=101, reason="test")
    path = tmp_path / "a" / "curve.svg"
    found.draw(path)
    assert list(path.parent.iterdir()) == [path]
    picture = path.read_text()
    # Matplotlib leaves each text as a comment beside its outlines.
    assert f"<!--  suggestion {rates[60]:.2g}  -->" in picture
    assert f"<!--  diverges {rates[-1]:.2g}  -->" in picture
    assert "<!-- above " in picture
    assert f"--optimizer.learning_rate={rates[60]:.2g}" in format_lr_find(found)


def test_a_run_begins_with_the_steps_that_were_tested(
    tiny_config, tiny_method, few_images, tmp_path
):
    """At rates of next to nothing both see the same losses."""
    still = OptimizerConfig(name="sgd", learning_rate=1e-12, warmup_epochs=0.0)
    config = tiny_config("simclr", optimizer=still, steps=10, steps_per_call=1)
    method = tiny_method(config)
    found = lr_find(
        method,
        open_source(few_images[0]),
        path=tmp_path,
        lowest=1e-12,
        highest=2e-12,
        steps=10,
    )
    assert {p.name for p in tmp_path.iterdir()} == {"lr_find.json", "lr_find.png"}
    assert json.loads((tmp_path / "lr_find.json").read_text()) == found.to_dict()
    assert (tmp_path / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    run = selfsup.train(
        tiny_method(config), few_images[0], run_dir=tmp_path, progress=False
    )
    losses = [r["train/loss"] for r in run.log if "train/loss" in r]
    # The order of float32 sums on several cores is all that may differ.
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4)
    assert (tmp_path / "lr_find.json").exists()


def test_a_rate_that_breaks_a_method_is_told(tiny_config, tiny_method, few_images):
    method = tiny_method(tiny_config("finetune"))
    source = open_source(few_images)
    found = lr_find(method, source, lowest=1e-3, highest=1e35, steps=20)
    assert 1 < found.stopped_at < 1e35
    assert np.isfinite(found.losses).all()
    assert found.reason in format_lr_find(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_nonsense_is_refused(tiny_config, tiny_method, few_images, tmp_path):
    method = tiny_method(tiny_config("simclr"))
    source = open_source(few_images[0])
    for wrong, words in [
        ({"lowest": 1.0, "highest": 1.0}, "lowest=1.0, highest=1.0"),
        ({"lowest": 0.0}, "lowest=0.0"),
        ({"highest": math.inf}, "highest=inf"),
        ({"highest": math.nan}, "highest=nan"),
        ({"steps": 9}, "steps of 10 or more"),
    ]:
        with pytest.raises(InputError, match=words):
            lr_find(method, source, path=tmp_path / "run", **wrong)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a run_dir that can be written"):
        lr_find(method, source, path=tmp_path / "file" / "run")
    (tmp_path / "file").unlink()
    with pytest.raises(InputError, match="batch_size=65"):
        lr_find(tiny_method(tiny_config("simclr", batch_size=65)), source)
    with pytest.raises(InputError, match="before the first update"):
        read_curve(np.ones(1), [], steps=10, reason="not finite")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_more_than_a_range_test_is_refused(
    tiny_config, tiny_method, few_images, tmp_path
):
    (tmp_path / "lr_find.json").write_text("{}")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="choose another"):
        selfsup.train(
            tiny_method(tiny_config("simclr")), few_images[0], run_dir=tmp_path
        )
    # Nor does a test write among them: a folder of images would count as a run.
    (tmp_path / "lr_find.json").unlink()
    source = open_source(few_images[0])
    with pytest.raises(InputError, match="choose another"):
        lr_find(tiny_method(tiny_config("simclr")), source, path=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
