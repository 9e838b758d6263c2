"""From a source of images to batches of views.

Everything follows from (seed, epoch, image index, view), so that a dataset that starts
at a step yields what an uninterrupted one yields from there on, to the bit.
"""

import functools
from collections.abc import Callable, Collection

import tensorflow as tf

from selfsup_tf import config as config_lib
from selfsup_tf.data import random, views
from selfsup_tf.data.source import Source
from selfsup_tf.errors import check

PAIR = ("view_1", "view_2")

# Up to this many pixels a batch is augmented whole; larger images one by one, since
# their crops are costly and branches that nobody takes needn't be computed.
_BATCHED_PIXELS = 96 * 96
# Large enough to fill vectors, small enough for the cache.
_GROUP = 64


def training_dataset(
    source: Source,
    config: config_lib.Config,
    *,
    start_step: int = 0,
    total_steps: int,
    inputs: Collection[str] = PAIR,
) -> tf.data.Dataset:
    """Views of every image, batch by batch, over as many epochs as it takes.

    The remainder of an epoch that fills no batch is dropped; each epoch has another
    order, so that no image is always left out. Labels are read only where asked for.

    Args:
        source: Images, uint8 (H, W, 3), and their indexes.
        config: Views, image size, batch size B (over all replicas) and seed.
        start_step: First step to yield, counted from the beginning of the run.
        total_steps: Length of the run.
        inputs: What a batch holds beside the index: "view_1", "view_2", "label".

    Returns:
        `total_steps - start_step` elements {"view_1", "view_2": (B, S, S, 3) float32
        in [0, 1], "label": (B,) int64, "index": (B,) int64}.
    """
    batch_size = config.batch_size
    per_epoch = source.size // batch_size
    check(
        per_epoch > 0,
        f"a batch no larger than the data ({source.size} images)",
        f"batch_size={batch_size}",
        f"Use --batch_size={source.size} or less, or more images.",
    )
    pixels = config.image_size**2
    if source.image_shape is not None:
        pixels = max(pixels, source.image_shape[0] * source.image_shape[1])
    batched = source.image_shape is not None and pixels <= _BATCHED_PIXELS
    dataset = _groups(
        source,
        config.seed,
        size=_group_size(batch_size) if batched else 1,
        first=start_step * batch_size,
        last=total_steps * batch_size,
        per_epoch=per_epoch * batch_size,
        labels="label" in inputs,
    )
    augment = _augment_groups if batched else _augment_singles
    dataset = augment(dataset, config, [name for name in PAIR if name in inputs])
    return dataset.prefetch(tf.data.AUTOTUNE)


def _groups(
    source: Source,
    seed: int,
    *,
    size: int,
    first: int,
    last: int,
    per_epoch: int,
    labels: bool,
) -> tf.data.Dataset:
    """Images `first` to `last` of the run in groups of `size`, which divides all three.

    The elements are {"image": uint8 (size, H, W, 3), "index": (size,), "epoch": ()},
    and "label": (size,) where labels are wanted.
    """
    first_epoch, start = divmod(first, per_epoch)
    last_epoch = max(last - 1, first) // per_epoch

    def read(epoch):
        begin = tf.where(epoch == first_epoch, tf.constant(start, tf.int64), 0)
        images = source.shuffled(seed=seed, epoch=epoch, start=begin, labels=labels)
        groups = images.take(per_epoch - begin).batch(size, drop_remainder=True)
        return groups.map(lambda group: {**group, "epoch": epoch})

    epochs = tf.data.Dataset.range(first_epoch, last_epoch + 1)
    return epochs.flat_map(read).take((last - first) // size)


def _augment_groups(
    dataset: tf.data.Dataset, config: config_lib.Config, names: list[str]
) -> tf.data.Dataset:
    batch_size, seed = config.batch_size, config.seed
    compiled = {n: _compiled_view(getattr(config, n), config.image_size) for n in names}

    def augment(group):
        image, epoch = group.pop("image"), group.pop("epoch")
        for name, view in compiled.items():
            number = PAIR.index(name)
            keys = random.image_keys(seed, epoch, group["index"], number)
            group[name] = view(image, keys)
        return group

    def merge(values):
        return tf.reshape(values, [batch_size, *values.shape[2:]])

    dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size // _group_size(batch_size), drop_remainder=True)
    return dataset.map(lambda groups: {k: merge(v) for k, v in groups.items()})


def _augment_singles(
    dataset: tf.data.Dataset, config: config_lib.Config, names: list[str]
) -> tf.data.Dataset:
    seed = config.seed
    compiled = {
        n: _compiled_halves(getattr(config, n), config.image_size) for n in names
    }

    def augment(single):
        image, epoch = single.pop("image")[0], single.pop("epoch")
        result = {name: value[0] for name, value in single.items()}
        for name, (crop_one, finish) in compiled.items():
            number = PAIR.index(name)
            keys = random.image_keys(seed, epoch, single["index"], number)
            crop = crop_one(image, keys[0])
            result[name] = finish(crop[tf.newaxis], keys)[0]
        return result

    dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(config.batch_size, drop_remainder=True)


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
