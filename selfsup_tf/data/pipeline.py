"""From a source of images to batches of views.

Everything follows from (seed, epoch, image index, view), so that a dataset that starts
at a step yields what an uninterrupted one yields from there on, to the bit, and the
processes of a run read their parts without a word between them.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection

import numpy as np
import tensorflow as tf

from selfsup_tf import config as config_lib
from selfsup_tf.data import random, views
from selfsup_tf.data.source import Share, Source, permutation
from selfsup_tf.errors import check
from selfsup_tf.single_view import SingleViewConfig

PAIR = ("view_1", "view_2")

# Up to this many pixels a batch is augmented whole; larger images one by one, since
# their crops are costly and branches that nobody takes needn't be computed.
_BATCHED_PIXELS = 96 * 96
# Large enough to fill vectors, small enough for the cache.
_GROUP = 64
_PAIRS_EPOCH = -1  # epochs count from 0, so training draws none of these views


def training_dataset(
    source: Source,
    config: config_lib.Config,
    *,
    start_step: int = 0,
    total_steps: int,
    inputs: Collection[str] = PAIR,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """What each replica of a process gets at each step, over so many epochs.

    The remainder of an epoch that fills no batch is dropped; each epoch has another
    order, so that no image is always left out. Labels are read only where asked for.

    A step takes the same images whatever it runs on. Of each of its micro-batches the
    replicas, numbered over all processes, get equal parts one after the other, and a
    process reads no more than the parts of its own replicas.

    Args:
        source: Images, uint8 (H, W, 3), and their indexes.
        config: Views, image size, batch size G (over all replicas), seed, accumulate,
            and where views are drawn.
        start_step: First step to yield, counted from the beginning of the run.
        total_steps: Length of the run.
        inputs: What a batch holds beside the index: "view_1", "view_2", "label".
        context: Which of how many processes this is, and the replicas of all; one of
            one by default.

    Returns:
        For each step one element for each replica of this process, of N = G / replicas
        images, micro-batch after micro-batch: {"view_1", "view_2": (N, S, S, 3) float32
        in [0, 1], "label": (N,) int64, "index": (N,) int64}. With augment_on="device"
        there is "epoch", (N,) int64, and in place of the views what `draw_views` draws
        them from: "image", uint8 (N, H, W, 3), or, for images of several sizes,
        "crop_1", "crop_2", float32 (N, S, S, 3).
    """
    context = context or tf.distribute.InputContext()
    batch_size, accumulate = config.batch_size, config.accumulate
    per_epoch = source.size // batch_size
    check(
        per_epoch > 0,
        f"a batch no larger than the data ({source.size} images)",
        f"batch_size={batch_size}",
        f"Use --batch_size={source.size} or less, or more images.",
    )
    micro = batch_size // accumulate
    on_replica = micro // context.num_replicas_in_sync
    here = micro // context.num_input_pipelines
    first = context.input_pipeline_id * here
    names = [name for name in PAIR if name in inputs]
    pixels = config.image_size**2
    if source.image_shape is not None:
        pixels = max(pixels, source.image_shape[0] * source.image_shape[1])
    whole = source.image_shape is not None
    on_device = config.augment_on == "device"
    batched = whole and (on_device or pixels <= _BATCHED_PIXELS)
    size = 1
    if batched:
        size = on_replica if on_device else _group_size(on_replica)
    dataset = _groups(
        source,
        config.seed,
        size=size,
        steps=(start_step, total_steps, per_epoch),
        batch_size=batch_size,
        share=Share(first, here, every=micro),
        labels="label" in inputs,
    )
    if not batched:
        dataset = _augment_singles(dataset, config, names)
        dataset = dataset.batch(on_replica, drop_remainder=True)
    elif not on_device:
        dataset = _augment_groups(dataset, config, names)
        dataset = _merge(dataset, on_replica // size)
    if accumulate > 1:
        dataset = _by_replica(dataset, accumulate, here // on_replica)
    return dataset.prefetch(tf.data.AUTOTUNE)


def draw_views(
    batch: dict[str, tf.Tensor], config: config_lib.Config, names: Collection[str]
) -> dict[str, tf.Tensor]:
    """The views of a batch, from what `training_dataset` gives the device.

    They are the same, to the bit on the same kind of processor, as those drawn on the
    host: one compiled function draws both.

    Args:
        batch: "image" (N, H, W, 3) uint8, or "crop_i" (N, S, S, 3) float32; "index" and
            "epoch", (N,) int64.
        config: Its views, image size and seed.
        names: Of "view_1", "view_2", those wanted.

    Returns:
        (N, S, S, 3) float32 in [0, 1], by name.
    """
    drawn = {}
    for name in names:
        number = PAIR.index(name)
        keys = random.image_keys(config.seed, batch["epoch"], batch["index"], number)
        view = getattr(config, name)
        if "image" in batch:
            drawn[name] = _compiled_view(view, config.image_size)(batch["image"], keys)
        else:
            _, finish = _compiled_halves(view, config.image_size)
            drawn[name] = finish(batch[f"crop_{number + 1}"], keys)
    return drawn


def _groups(
    source: Source,
    seed: int,
    *,
    size: int,
    steps: tuple[int, int, int],
    batch_size: int,
    share: Share,
    labels: bool,
) -> tf.data.Dataset:
    """The images of this process, in groups of `size`.

    The elements are {"image": uint8 (size, H, W, 3), "index" and "epoch": (size,)
    int64}, and "label": (size,) where labels are wanted. `steps` are the first, the one
    after the last, and how many make an epoch.
    """
    start_step, total_steps, per_epoch = steps
    first_epoch, begun = divmod(start_step, per_epoch)
    last_epoch = max(total_steps - 1, start_step) // per_epoch
    step_images = share.size(batch_size)

    def read(epoch):
        skipped = tf.where(epoch == first_epoch, tf.constant(begun, tf.int64), 0)
        images = source.shuffled(
            seed=seed,
            epoch=epoch,
            start=skipped * batch_size,
            labels=labels,
            share=None if share.count == share.every else share,
        )
        images = images.take((per_epoch - skipped) * step_images)
        groups = images.batch(size, drop_remainder=True)
        return groups.map(lambda group: {**group, "epoch": tf.fill([size], epoch)})

    epochs = tf.data.Dataset.range(first_epoch, last_epoch + 1)
    groups = (total_steps - start_step) * step_images // size
    return epochs.flat_map(read).take(groups)


def _augment_groups(
    dataset: tf.data.Dataset, config: config_lib.Config, names: list[str]
) -> tf.data.Dataset:
    def augment(group):
        views = draw_views(group, config, names)
        return {k: v for k, v in group.items() if k not in ("image", "epoch")} | views

    return dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)


def _augment_singles(
    dataset: tf.data.Dataset, config: config_lib.Config, names: list[str]
) -> tf.data.Dataset:
    seed, on_device = config.seed, config.augment_on == "device"
    compiled = {
        n: _compiled_halves(getattr(config, n), config.image_size) for n in names
    }

    def augment(single):
        image, epoch = single.pop("image")[0], single["epoch"]
        result = {name: value[0] for name, value in single.items()}
        if not on_device:
            del result["epoch"]
        for name, (crop_one, finish) in compiled.items():
            number = PAIR.index(name)
            keys = random.image_keys(seed, epoch, single["index"], number)
            crop = crop_one(image, keys[0])
            if on_device:
                result[f"crop_{number + 1}"] = crop
            else:
                result[name] = finish(crop[tf.newaxis], keys)[0]
        return result

    return dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)


def _merge(dataset: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Batches made of `count` groups each."""

    def merge(groups):
        return {
            name: tf.reshape(values, [count * values.shape[1], *values.shape[2:]])
            for name, values in groups.items()
        }

    return dataset.batch(count, drop_remainder=True).map(merge)


def _by_replica(
    dataset: tf.data.Dataset, accumulate: int, replicas: int
) -> tf.data.Dataset:
    """From the order of micro-batches, replicas within, to one element a replica."""

    def regroup(parts):
        _, size, *rest = parts.shape
        parts = tf.reshape(parts, [accumulate, replicas, size, *rest])
        parts = tf.experimental.numpy.swapaxes(parts, 0, 1)
        return tf.reshape(parts, [replicas, accumulate * size, *rest])

    dataset = dataset.batch(accumulate * replicas, drop_remainder=True)
    dataset = dataset.map(lambda parts: {k: regroup(v) for k, v in parts.items()})
    return dataset.unbatch()


# XLA merges the passes over the pixels: four times as fast as TensorFlow's own kernels,
# on a CPU too. Compiling takes seconds, so what is compiled is kept for a second view,
# or a second dataset, of the same distribution.
@functools.lru_cache(maxsize=16)
def _compiled_view(config: config_lib.ViewConfig, size: int) -> Callable:
    return tf.function(views.make_view(config, size), jit_compile=True)


@functools.lru_cache(maxsize=16)
def _compiled_halves(
    config: config_lib.ViewConfig, size: int
) -> tuple[Callable, Callable]:
    view = views.make_view(config, size)
    return view.crop_one, tf.function(view.finish, jit_compile=True)


def _group_size(batch_size: int) -> int:
    """The largest divisor up to _GROUP; the whole batch if that is a poor one."""
    divisor = max(d for d in range(1, _GROUP + 1) if batch_size % d == 0)
    return divisor if divisor >= _GROUP // 4 else batch_size


def evaluation_dataset(
    source: Source, *, size: int, batch_size: int
) -> tf.data.Dataset:
    """Every example exactly once, in order, in batches of one static shape.

    Args:
        source: Images, uint8 (H, W, 3), their indexes, and labels if it has any.
        size: Height and width S of the evaluation view.
        batch_size: B; the last batch is padded with zeros.

    Returns:
        Elements {"image": (B, S, S, 3) float32 in [0, 1], "index": (B,) int64,
        "label": (B,) where there are labels, "valid": (B,) bool, False for padding}.
    """
    dataset = source.ordered(labels=source.labelled)

    def view(example):
        image = views.evaluation_view(example["image"], size)
        return {**example, "image": image, "valid": tf.constant(True)}

    def pad(batch):
        missing = batch_size - tf.shape(batch["valid"])[0]

        def padded(values):
            padding = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
            return tf.ensure_shape(
                tf.pad(values, padding), [batch_size, *values.shape[1:]]
            )

        return {name: padded(values) for name, values in batch.items()}

    dataset = dataset.map(view, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size).map(pad)
    return dataset.prefetch(tf.data.AUTOTUNE)


def view_pairs(
    source: Source,
    config: config_lib.Config,
    *,
    count: int,
    batch_size: int,
    seed: int = 0,
) -> tf.data.Dataset:
    """Two views each of some images, as a run draws them, and the one it is judged by.

    The views follow from (seed, image index) alone. Which images are taken follows from
    the seed, too; of a streamed source they are the first, so that no more is read.

    Args:
        source: Images, uint8 (H, W, 3), of one size or of many.
        config: Its views and image size S. Of a run of one view, view_1 is drawn twice.
        count: Images at most.
        batch_size: B.
        seed: Of the images and of their views.

    Returns:
        Elements {"view_1", "view_2", "image": (B, S, S, 3) float32 in [0, 1], "index":
        (B,) int64}, where "image" is the evaluation view. Each image comes once; the
        last element may hold fewer than B.
    """
    single = isinstance(config, SingleViewConfig)
    config = dataclasses.replace(
        config,
        seed=seed,
        augment_on="host",
        view_2=config.view_1 if single else config.view_2,
    )
    count = min(count, source.size)
    if not source.streamed:
        # The first files of a folder are often of one class.
        chosen = permutation(source.size, seed)[:count]
        source = source.select(np.sort(source.indices[chosen]), source.name)
    images = source.ordered(labels=False).take(count)
    shape = source.image_shape
    batched = shape is not None and shape[0] * shape[1] <= _BATCHED_PIXELS
    size = _GROUP if batched else 1

    def prepare(group):
        # Filled up, so that what XLA compiles for a group serves the last one, too.
        missing = size - tf.shape(group["index"])[0]
        index = tf.pad(group["index"], [[0, missing]])
        image = tf.pad(group["image"], [[0, missing], [0, 0], [0, 0], [0, 0]])
        return {
            "image": tf.ensure_shape(image, [size, *image.shape[1:]]),
            "index": tf.ensure_shape(index, [size]),
            "epoch": tf.fill([size], tf.constant(_PAIRS_EPOCH, tf.int64)),
        }

    def draw(group):
        batch = dict(group)
        if not batched:
            image = batch.pop("image")[0]
            for number, view in enumerate((config.view_1, config.view_2)):
                keys = random.image_keys(seed, batch["epoch"], batch["index"], number)
                crop_one, _ = _compiled_halves(view, config.image_size)
                batch[f"crop_{number + 1}"] = crop_one(image, keys[0])[tf.newaxis]
        return {
            **draw_views(batch, config, PAIR),
            "image": views.evaluation_view(group["image"], config.image_size),
            "index": group["index"],
        }

    pairs = images.batch(size).map(prepare)
    pairs = pairs.map(draw, num_parallel_calls=tf.data.AUTOTUNE).unbatch().take(count)
    return pairs.batch(batch_size).prefetch(tf.data.AUTOTUNE)
