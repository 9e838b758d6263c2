"""Pairs of views to judge by: the same every time, each image once, any source."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.data import random, views
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.streamed import StreamSource
from selfsup_tf.data.view_pairs import view_pairs

# Colour jitter is what XLA compiles for seconds; it is tested with the pipeline.
VIEW_1 = ViewConfig(jitter=0.0, grayscale=0.5, blur=0.0)
VIEW_2 = ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0)
CONFIG = Config(image_size=12, views=(VIEW_1, VIEW_2))
STILL = ViewConfig(
    crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.0, jitter=0.0, grayscale=0.0,
    blur=0.0,
)  # fmt: skip


def images(count, height=16, width=20, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, height, width, 3), np.uint8)


def collect(source, config=CONFIG, *, count=10**6, batch_size=8, seed=0):
    """All elements by name, and the sizes of the batches."""
    options = {"count": count, "batch_size": batch_size, "seed": seed}
    batches = list(view_pairs(source, config, **options).as_numpy_iterator())
    sizes = [len(batch["index"]) for batch in batches]
    return {n: np.concatenate([b[n] for b in batches]) for n in batches[0]}, sizes


def test_each_image_comes_once_with_the_views_of_its_own_keys():
    x = images(70)  # more than one group of 64
    found, sizes = collect(open_source(x), batch_size=32, seed=5)
    assert sizes == [32, 32, 6]
    np.testing.assert_array_equal(found["index"], np.arange(70))
    for number, (name, view) in enumerate((("view_1", VIEW_1), ("view_2", VIEW_2))):
        keys = random.image_keys(5, -1, tf.range(70), number)
        expected = views.View(view, 12)(tf.constant(x), keys)
        # XLA and TensorFlow's own kernels round float32 differently.
        np.testing.assert_allclose(found[name], expected, atol=2e-5)
    np.testing.assert_array_equal(
        found["image"], views.evaluation_view(tf.constant(x), 12)
    )


def test_a_view_depends_on_its_image_and_the_seed_alone():
    source = open_source(images(40))
    whole, _ = collect(source)
    part, _ = collect(source, count=9, batch_size=4)
    assert len(part["index"]) == 9
    for name in ("view_1", "view_2", "image"):
        np.testing.assert_array_equal(part[name], whole[name][part["index"]])
    other, _ = collect(source, seed=1)
    assert np.abs(other["view_1"] - whole["view_1"]).max() > 0.1
    np.testing.assert_array_equal(other["image"], whole["image"])
    device = dataclasses.replace(CONFIG, augment_on="device")
    np.testing.assert_array_equal(collect(source, device)[0]["view_1"], whole["view_1"])


def test_some_of_a_sorted_folder_are_of_all_classes():
    source = open_source((images(300), np.repeat([0, 1, 2], 100)))
    found, _ = collect(source, count=30)
    assert set(found["index"] // 100) == {0, 1, 2}


@pytest.mark.parametrize("shapes", [[(30, 20), (14, 50), (40, 40)], [(110, 120)]])
def test_images_of_many_sizes_and_large_ones(shapes, tmp_path):
    """These are drawn one by one."""
    for i in range(6):
        png = tf.io.encode_png(images(1, *shapes[i % len(shapes)], seed=i)[0])
        (tmp_path / f"{i}.png").write_bytes(png.numpy())
    source = open_source(tmp_path)
    config = dataclasses.replace(CONFIG, views=(VIEW_2, VIEW_2))
    found, sizes = collect(source, config, batch_size=4)
    assert sizes == [4, 2]
    assert found["view_1"].shape == found["image"].shape == (6, 12, 12, 3)
    assert np.abs(found["view_1"] - found["view_2"]).max() > 0.1
    assert found["view_2"].min() >= 0 and found["view_2"].max() <= 1
    again, _ = collect(source, config, batch_size=3)
    np.testing.assert_array_equal(again["view_1"], found["view_1"])


def test_of_a_stream_no_more_is_read_than_wanted():
    read = []

    def elements():
        for i in range(5000):
            read.append(i)
            yield {"image": np.full((16, 16, 3), i % 256, np.uint8)}

    def stream(with_images, with_labels):
        signature = {"image": tf.TensorSpec((16, 16, 3), tf.uint8)}
        return tf.data.Dataset.from_generator(elements, output_signature=signature)

    source = StreamSource(
        "stream", stream, lambda image: image, total=5000, buffer=10, labelled=False,
        image_shape=(16, 16, 3),
    )  # fmt: skip
    found, _ = collect(source, count=20)
    np.testing.assert_array_equal(found["index"], np.arange(20))
    assert len(read) < 100  # what is read ahead is a few


def test_a_run_of_one_view_is_drawn_twice(tiny_config):
    config = tiny_config("distill", image_size=16, views=(STILL,))
    x = images(5, 16, 16)
    found, _ = collect(open_source(x), config)
    for name in ("view_1", "view_2"):
        np.testing.assert_allclose(found[name], x / np.float32(255), atol=1e-6)
    flipped = dataclasses.replace(STILL, flip=0.5)
    config = tiny_config("distill", image_size=16, views=(flipped,))
    found, _ = collect(open_source(images(40, 16, 16)), config)
    differ = np.abs(found["view_1"] - found["view_2"]).max(axis=(1, 2, 3)) > 0.01
    assert 5 < differ.sum() < 35  # half of them, up to chance


def test_of_views_of_several_sizes_the_first_two_large_ones_are_drawn():
    small, large = ViewConfig(size=6, count=2), ViewConfig(jitter=0.0, blur=0.0)
    source = open_source(images(5))
    found, _ = collect(source, dataclasses.replace(CONFIG, views=(small, large)))
    same, _ = collect(source, dataclasses.replace(CONFIG, views=(large,)))
    for name in ("view_1", "view_2"):
        np.testing.assert_array_equal(found[name], same[name])
