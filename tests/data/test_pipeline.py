"""Datasets of views: exact resumption, epochs, padding."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.data import pipeline, random, views
from selfsup_tf.data.indexed import IndexedSource
from selfsup_tf.errors import InputError


class _Settings(Config):
    method = "none"


def _source(images, labels=None):
    """A source of images in a list, of one size or of several."""
    files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
    shapes = {image.shape for image in images}
    shape = shapes.pop() if len(shapes) == 1 else None

    def image_at(index):
        image = tf.io.decode_png(tf.gather(files, index), channels=3)
        return tf.ensure_shape(image, shape or (None, None, 3))

    return IndexedSource(
        "test", len(images), image_at, str, labels=labels, class_names=("0", "1"),
        image_shape=shape,
    )  # fmt: skip


def _images(number, shapes):
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, size=(*shapes[i % len(shapes)], 3), dtype=np.uint8)
        for i in range(number)
    ]


SHAPES = [(16, 20)], [(16, 20), (30, 12), (9, 9)]
IMAGES = {_source(images): images for images in (_images(19, s) for s in SHAPES)}
UNIFORM, MIXED = IMAGES
SECOND = ViewConfig(blur=0.1, blur_size=0.3, solarize=0.2, brightness_mode="add")
CONFIG = _Settings(
    image_size=12,
    batch_size=4,
    seed=7,
    views=(ViewConfig(blur_size=0.3), SECOND),
)
PLAIN = dataclasses.replace(CONFIG, views=(ViewConfig(jitter=0.0, blur=0.0),) * 2)
"""With views that are traced in a moment."""
ROUNDED = 0.5 / 255 + 1e-6
"""How far views without colour jitter may lie apart where crops are in whole levels:
flip leaves that distance, grey and solarize don't enlarge it."""
SOURCES = pytest.mark.parametrize("source", [UNIFORM, MIXED], ids=["uniform", "mixed"])


def _read(source, config=CONFIG, **steps):
    dataset = pipeline.training_dataset(source, config, **steps)
    return [{k: v.numpy() for k, v in batch.items()} for batch in dataset]


@pytest.fixture(scope="module")
def whole():
    """Eleven steps: two epochs of four batches of four, and most of a third."""
    return {source: _read(source, total_steps=11) for source in IMAGES}


@SOURCES
def test_each_epoch_takes_whole_batches_of_different_images(source, whole):
    batches = whole[source]
    assert len(batches) == 11
    epochs = [
        np.concatenate([b["index"] for b in batches[i : i + 4]]) for i in (0, 4, 8)
    ]
    assert [len(set(e)) for e in epochs] == [16, 16, 12]
    assert (epochs[0] != epochs[1]).any()
    for batch in batches:
        assert set(batch) == {"view_1", "view_2", "index"}
        for name in ("view_1", "view_2"):
            assert batch[name].shape == (4, 12, 12, 3)
            assert batch[name].dtype == np.float32
            assert batch[name].min() >= 0 and batch[name].max() <= 1
            assert batch[name].std() > 0.05


@SOURCES
@pytest.mark.parametrize("start", [4, 10])
def test_a_resumed_dataset_equals_an_uninterrupted_one_to_the_bit(source, whole, start):
    resumed = _read(source, start_step=start, total_steps=11)
    assert len(resumed) == 11 - start
    for expected, actual in zip(whole[source][start:], resumed, strict=True):
        for name in expected:
            np.testing.assert_array_equal(actual[name], expected[name])


@SOURCES
def test_views_are_those_of_their_keys(source, whole):
    """Whatever the batching: image i of epoch 1 is drawn from (seed, 1, i, view)."""
    batch = whole[source][5]
    for number, config in enumerate(CONFIG.views):
        view = views.View(config, 12)
        keys = random.image_keys(7, 1, tf.constant(batch["index"]), number)
        for place, index in enumerate(batch["index"]):
            expected = view(
                tf.constant(IMAGES[source][index])[None], keys[place : place + 1]
            )
            actual = batch[f"view_{number + 1}"][place]
            np.testing.assert_allclose(actual, expected[0], atol=1e-4)


@SOURCES
def test_the_two_views_of_one_distribution_differ(source):
    config = dataclasses.replace(CONFIG, views=CONFIG.views[:1] * 2)
    (batch,) = _read(source, config, total_steps=1)
    apart = np.abs(batch["view_1"] - batch["view_2"]).max(axis=(1, 2, 3))
    assert (apart > 0.05).all()


def test_a_run_that_is_over_yields_nothing():
    assert _read(UNIFORM, start_step=4, total_steps=4) == []


def test_a_batch_larger_than_the_data_is_refused():
    config = dataclasses.replace(CONFIG, batch_size=20)
    with pytest.raises(InputError, match="batch_size=20"):
        pipeline.training_dataset(UNIFORM, config, total_steps=1)


@pytest.mark.parametrize("labels", [None, np.arange(19) % 2])
@SOURCES
def test_evaluation_reads_every_example_once(source, labels):
    images = IMAGES[source]
    source = _source(images, labels)
    dataset = pipeline.evaluation_dataset(source, size=12, batch_size=8)
    assert dataset.element_spec["image"].shape == (8, 12, 12, 3)
    batches = [{k: v.numpy() for k, v in batch.items()} for batch in dataset]
    assert [b["valid"].sum() for b in batches] == [8, 8, 3]
    index = np.concatenate([b["index"][b["valid"]] for b in batches])
    np.testing.assert_array_equal(index, np.arange(19))
    assert ("label" in batches[0]) == (labels is not None)
    if labels is not None:
        read = np.concatenate([b["label"][b["valid"]] for b in batches])
        np.testing.assert_array_equal(read, labels)
    assert not batches[-1]["image"][3:].any()
    expected = views.evaluation_view(tf.constant(images[17]), 12)
    np.testing.assert_allclose(batches[2]["image"][1], expected, atol=1e-6)


@pytest.mark.parametrize("shapes", [[(16, 20)], [(16, 20), (9, 9)]])
def test_labels_stay_with_their_images(shapes):
    """In batches of equal images, and one by one."""
    images = _images(16, shapes)
    labels = np.arange(16) * 3 % 7
    source = _source(images, labels)
    wanted = {"view_1", "label"}
    dataset = pipeline.training_dataset(source, PLAIN, total_steps=6, inputs=wanted)
    for batch in dataset.as_numpy_iterator():
        assert set(batch) == {*wanted, "index"}
        np.testing.assert_array_equal(batch["label"], labels[batch["index"]])
        assert batch["label"].dtype == np.int64


def _shared(source, config, workers, replicas):
    """By worker, then step and replica: what a run of 8 images a step gives each."""
    datasets = [
        pipeline.training_dataset(
            source,
            config,
            start_step=1,
            total_steps=5,
            context=tf.distribute.InputContext(workers, worker, replicas),
        )
        for worker in range(workers)
    ]
    here = replicas // workers
    read = [list(dataset.as_numpy_iterator()) for dataset in datasets]
    assert {len(elements) for elements in read} == {4 * here}
    return [[e[i : i + here] for i in range(0, 4 * here, here)] for e in read]


@pytest.mark.parametrize(
    ("source", "accumulate", "workers", "replicas"),
    [(UNIFORM, 1, 1, 2), (UNIFORM, 2, 2, 4), (MIXED, 1, 2, 2), (MIXED, 2, 1, 2)],
)
def test_every_topology_reads_the_same_steps(source, accumulate, workers, replicas):
    """To the bit; micro-batch k of all replicas is micro-batch k of one."""
    config = dataclasses.replace(PLAIN, batch_size=8, accumulate=accumulate)
    whole = _read(source, config, start_step=1, total_steps=5)
    shared = _shared(source, config, workers, replicas)
    for step, expected in enumerate(whole):
        parts = [part for worker in shared for part in worker[step]]
        for name, values in expected.items():
            micro = [np.split(part[name], accumulate) for part in parts]
            found = np.concatenate([m[k] for k in range(accumulate) for m in micro])
            # A batch of one image takes only the branches it needs, compiled apart.
            atol = 1e-5 if accumulate * replicas == 8 else 0
            np.testing.assert_allclose(found, values, rtol=0, atol=atol)


@pytest.mark.parametrize(("source", "accumulate"), [(UNIFORM, 2), (MIXED, 1)])
def test_views_drawn_on_the_device_are_those_of_the_host(source, accumulate):
    """From uint8 images, to the bit, or where sizes differ from crops in uint8."""
    # Jitter takes long to trace: once is enough.
    drawn = dataclasses.replace(
        CONFIG if source is UNIFORM else PLAIN, accumulate=accumulate
    )
    config = dataclasses.replace(drawn, augment_on="device")
    host = _read(source, drawn, total_steps=5)
    spec = pipeline.training_dataset(source, config, total_steps=5).element_spec
    if source is UNIFORM:
        assert spec["image"] == tf.TensorSpec((4, 16, 20, 3), tf.uint8)
    else:
        assert spec["crop_2"] == tf.TensorSpec((4, 12, 12, 3), tf.uint8)
    assert not {"view_1", "view_2"} & set(spec)

    @tf.function
    def draw(batch):
        return views.draw_views(batch, config.drawn_views, seed=config.seed)

    dataset = pipeline.training_dataset(source, config, total_steps=5)
    for batch, expected in zip(dataset, host, strict=True):
        np.testing.assert_array_equal(batch["index"], expected["index"])
        for name, view in draw(batch).items():
            atol = 0 if source is UNIFORM else ROUNDED
            np.testing.assert_allclose(view, expected[name], rtol=0, atol=atol)


@SOURCES
def test_views_of_several_sizes_are_one_mechanism(source):
    """Two large and three small, of images or of crops, on the host or the device."""
    (plain, _) = PLAIN.views
    large, small = ({"count": 2}, {"size": 8, "count": 3})
    many = tuple(dataclasses.replace(plain, **sizes) for sizes in (large, small))
    config = dataclasses.replace(CONFIG, views=many, accumulate=2)
    (host,) = _read(source, config, total_steps=1)
    sizes = [host[f"view_{i}"].shape[1:3] for i in range(1, 6)]
    assert sizes == [(12, 12)] * 2 + [(8, 8)] * 3
    for number, view in enumerate(config.drawn_views.values()):
        keys = random.image_keys(7, 0, tf.constant(host["index"]), number)
        first = tf.constant(IMAGES[source][host["index"][0]])[None]
        expected = views.View(view)(first, keys[:1])
        np.testing.assert_allclose(host[f"view_{number + 1}"][:1], expected, atol=1e-4)
    device = dataclasses.replace(config, augment_on="device")
    (sent,) = pipeline.training_dataset(source, device, total_steps=1)
    drawn = views.draw_views(sent, config.drawn_views, seed=config.seed)
    for name, view in drawn.items():
        atol = 0 if source is UNIFORM else ROUNDED
        np.testing.assert_allclose(view, host[name], rtol=0, atol=atol)
