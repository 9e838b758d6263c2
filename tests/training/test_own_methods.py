"""Methods of a user's own that keep state: resumed, accumulated, refused."""

import sys

import keras
import numpy as np
import pytest
from dummy_methods import NAMES, write_methods

from selfsup_tf.config import OptimizerConfig, ViewConfig
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method
from selfsup_tf.training import loop


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory):
    """The packages, in a folder of the path while these tests run."""
    folder = write_methods(tmp_path_factory.mktemp("packages"))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture
def train(tiny_config, few_images):
    """Trains a dummy on a network without BatchNorm; the method and the run's log."""

    def run(name, run_dir, monitor=None, **options):
        sgd = OptimizerConfig(name="sgd", learning_rate=0.5, warmup_epochs=0.0)
        values = {"image_size": 32, "precision": "float64", "optimizer": sgd}
        config = tiny_config(name, **(values | options))
        keras.utils.set_random_seed(3)
        encoder = keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                keras.layers.Conv2D(6, 3, strides=2, activation="relu"),
                keras.layers.Conv2D(8, 3, strides=2),
                keras.layers.GlobalAveragePooling2D(),
            ]
        )
        method = find_method(name).load()(config, encoder=encoder)
        source = open_source(few_images)
        options = {"run_dir": run_dir, "monitor": monitor, "progress": False}
        return method, loop.train(method, source, **options).log

    return run


def assert_same(method, other):
    """All that is kept is equal, but for sums of float64 in another order."""
    assert set(method.state) == set(other.state)
    for name in method.state:
        np.testing.assert_allclose(method.state[name], other.state[name], rtol=1e-9)
    for one, two in zip(method.model.variables, other.model.variables, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_state_is_restored(train, tmp_path):
    options = {"steps": 6, "checkpoint_epochs": 0.5, "knn_epochs": 0.75}

    def power_cut(networks):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("queued", tmp_path / "cut", power_cut, **options)
    resumed, _ = train("queued", tmp_path / "cut", lambda networks: {}, **options)
    whole, log = train("queued", tmp_path / "whole", lambda networks: {}, **options)
    assert "train/queue" in log[-1]
    assert log[-1]["train/length"] > 0
    assert_same(resumed, whole)
    queue = whole.state["queue"]
    start = keras.random.normal(queue.shape, seed=3)
    assert np.abs(np.subtract(queue, start)).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_are_watched_as_one_batch(name, train, tmp_path):
    """In two passes, of which the first keeps the outputs, and in the single one.

    The views are drawn on the device in parts, and on the host for the whole.
    """
    whole, log = train(name, tmp_path / "whole", steps=3)
    options = {"accumulate": 4, "augment_on": "device"}
    parts, other = train(name, tmp_path / "parts", steps=3, **options)
    assert_same(parts, whole)
    lengths = [records[-1]["train/length"] for records in (other, log)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-9)


def test_views_that_the_model_does_not_take_are_refused(tiny_config, tmp_path):
    class Blind(find_method("queued").load()):
        def build(self):
            super().build()
            x = keras.Input((32, 32, 3), name="view_1")
            self.model = keras.Model({"view_1": x}, {"representation_1": x})

    blind = Blind(tiny_config("queued", image_size=32))
    with pytest.raises(InputError, match=r"inputs view_1, view_2.*one with view_1"):
        loop.train(blind, open_source("shapes"), run_dir=tmp_path / "x")


@pytest.mark.parametrize("views", [(ViewConfig(size=12),) * 2, (ViewConfig(),) * 3])
def test_methods_of_two_views_refuse_others(views, tiny_config):
    with pytest.raises(InputError, match="for simclr"):
        tiny_config("simclr", views=views)
