"""From a source of images to batches of views.

Everything follows from (seed, epoch, image index, view), so that a dataset that starts
at a step yields what an uninterrupted one yields from there on, to the bit, and the
processes of a run read their parts without a word between them.
"""

import math
from collections.abc import Collection, Mapping

import tensorflow as tf

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.data import views
from selfsup_tf.data.order import Share
from selfsup_tf.data.source import Source
from selfsup_tf.errors import check

BATCHED_PIXELS = 96 * 96
"""Up to this many pixels a batch is augmented whole; larger images one by one, since
their crops are costly and branches that nobody takes needn't be computed."""

GROUP = 64
"""Images that are augmented at once: they fill vectors, and fit into the cache."""


# What is traced here, in sources and in views takes none of Python's control flow for
# TensorFlow's, and AutoGraph takes seconds to find that out.
@tf.autograph.experimental.do_not_convert
def training_dataset(
    source: Source,
    config: Config,
    *,
    start_step: int = 0,
    total_steps: int,
    inputs: Collection[str] | None = None,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """What each replica of a process gets at each step, over so many epochs.

    The remainder of an epoch that fills no batch is dropped; each epoch has another
    order, so that no image is always left out. Labels are read only where asked for.

    A step takes the same images whatever it runs on. Of each of its micro-batches the
    replicas, numbered over all processes, get equal parts one after the other, and a
    process reads no more than the parts of its own replicas.

    Args:
        source: Images, uint8 (H, W, C), and their indexes.
        config: Views, image size, batch size G (over all replicas), seed, accumulate,
            and where views are drawn.
        start_step: First step to yield, counted from the beginning of the run.
        total_steps: Length of the run.
        inputs: What a batch holds beside the index: "view_1", ..., and "label"; all
            views of the config where it is left out.
        context: Which of how many processes this is, and the replicas of all; one of
            one by default.

    Returns:
        For each step one element for each replica of this process, of N = G / replicas
        images, micro-batch after micro-batch: {"view_1", ...: (N, S, S, C) float32 in
        [0, 1], each of its own size S, "label": (N,) int64, "index": (N,) int64}. With
        augment_on="device" there is "epoch", (N,) int64, and in place of the views what
        `views.draw_views` draws them from, all uint8: "image" (N, H, W, C) or, for
        images of several sizes, "crop_1", ... (N, S, S, C), whose levels are rounded.
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
    drawn = config.drawn_views
    if inputs is not None:
        drawn = {name: view for name, view in drawn.items() if name in inputs}
    views.check_views(drawn, source.channels)
    on_device = config.augment_on == "device"
    batched, size = source.image_shape is not None, 1
    if batched and not on_device:
        pixels = [view.size**2 for view in drawn.values()]
        batched = max(*pixels, math.prod(source.image_shape[:2])) <= BATCHED_PIXELS
    if batched:
        size = on_replica if on_device else _group_size(on_replica)
    dataset = _groups(
        source,
        config.seed,
        size=size,
        steps=(start_step, total_steps, per_epoch),
        batch_size=batch_size,
        share=Share(first, here, every=micro),
        labels=inputs is not None and "label" in inputs,
    )
    if not batched:
        dataset = _augment_singles(dataset, config, drawn)
        dataset = dataset.batch(on_replica, drop_remainder=True)
    elif not on_device:
        dataset = _augment_groups(dataset, config.seed, drawn)
        dataset = _merge(dataset, on_replica // size)
    if accumulate > 1:
        dataset = _by_replica(dataset, accumulate, here // on_replica)
    return dataset.prefetch(tf.data.AUTOTUNE)


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

    The elements are {"image": uint8 (size, H, W, C), "index" and "epoch": (size,)
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
            share=share,
        )
        images = images.take((per_epoch - skipped) * step_images)
        groups = images.batch(size, drop_remainder=True)
        return groups.map(lambda group: {**group, "epoch": tf.fill([size], epoch)})

    epochs = tf.data.Dataset.range(first_epoch, last_epoch + 1)
    groups = (total_steps - start_step) * step_images // size
    return epochs.flat_map(read).take(groups)


def _augment_groups(
    dataset: tf.data.Dataset, seed: int, drawn: Mapping[str, ViewConfig]
) -> tf.data.Dataset:
    def augment(group):
        kept = {k: v for k, v in group.items() if k not in ("image", "epoch")}
        return kept | views.draw_views(group, drawn, seed=seed)

    return dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)


def _augment_singles(
    dataset: tf.data.Dataset, config: Config, drawn: Mapping[str, ViewConfig]
) -> tf.data.Dataset:
    left_out = {"image"} if config.augment_on == "device" else {"image", "epoch"}

    def augment(single):
        found = views.draw_crops(single, drawn, seed=config.seed)
        if config.augment_on == "host":
            known = {"index": single["index"], "epoch": single["epoch"]}
            found = views.draw_views(found | known, drawn, seed=config.seed)
        else:
            # A quarter of the bytes: half a level is what JPEG loses and PIL rounds.
            found = {
                name: tf.saturate_cast(tf.round(crop), tf.uint8)
                for name, crop in found.items()
            }
        found |= {k: v for k, v in single.items() if k not in left_out}
        return {name: values[0] for name, values in found.items()}

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


def _group_size(batch_size: int) -> int:
    """The largest divisor up to GROUP; the whole batch if that is a poor one."""
    divisor = max(d for d in range(1, GROUP + 1) if batch_size % d == 0)
    return divisor if divisor >= GROUP // 4 else batch_size


@tf.autograph.experimental.do_not_convert
def evaluation_dataset(
    source: Source, *, size: int, batch_size: int
) -> tf.data.Dataset:
    """Every example exactly once, in order, in batches of one static shape.

    Args:
        source: Images, uint8 (H, W, C), their indexes, and labels if it has any.
        size: Height and width S of the evaluation view.
        batch_size: B; the last batch is padded with zeros.

    Returns:
        Elements {"image": (B, S, S, C) float32 in [0, 1], "index": (B,) int64,
        "label": (B,) where there are labels, "valid": (B,) bool, False for padding}.
    """
    dataset = source.ordered(labels=source.labelled)

    def view(example):
        image = views.evaluation_view(example["image"], size)
        return {**example, "image": image, "valid": tf.constant(True)}

    dataset = dataset.map(view, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size).map(lambda batch: pad(batch, batch_size))
    return dataset.prefetch(tf.data.AUTOTUNE)


def pad(batch: Mapping[str, tf.Tensor], size: int) -> dict[str, tf.Tensor]:
    """Fills a batch up to `size` elements with zeros, so that its shape is static."""

    def padded(values):
        missing = size - tf.shape(values)[0]
        padding = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
        return tf.ensure_shape(tf.pad(values, padding), [size, *values.shape[1:]])

    return {name: padded(values) for name, values in batch.items()}
