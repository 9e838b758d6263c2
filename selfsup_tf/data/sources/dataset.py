"""Images of a tf.data.Dataset."""

import numpy as np
import tensorflow as tf

from selfsup_tf.data.channels import INTERCHANGEABLE, MOST, choose_channels, to_channels
from selfsup_tf.data.depth import as_bytes, to_bytes
from selfsup_tf.data.source import Reading, SourceKind, fingerprint
from selfsup_tf.data.sources.arrays import ALPHA, check_images, check_whole
from selfsup_tf.data.streamed import StreamSource, buffer_size
from selfsup_tf.errors import check

_SAMPLE = 8  # first elements that are looked at when a dataset is opened


def from_dataset(
    dataset: tf.data.Dataset,
    *,
    buffer: int | None = None,
    channels: int | None = None,
) -> StreamSource:
    """Makes a source of a dataset of single images.

    Args:
        dataset: Elements are an image, (image, label), or a dict with "image" and maybe
            "label". An image is (H, W) or (H, W, C), uint8, uint16 or floats in [0, 1];
            a label is an integer. Batches (N, H, W, C) are taken apart. Where its
            length is unknown, it is read once.
        buffer: Images that a shuffle draws from; None for what fits 512 MB.
        channels: See `Reading`.

    Raises:
        InputError: The elements are others, the dataset is empty or infinite, or its
            order or images differ from pass to pass.
    """
    image, label = _specs(dataset)
    if image.shape.rank == 4:
        dataset = dataset.unbatch()
        image, label = _specs(dataset)
    total = int(dataset.cardinality())
    check(
        total != tf.data.INFINITE_CARDINALITY,
        "a dataset with an end",
        "an infinite one",
        "Leave .repeat() out, or end it with .take(n).",
    )
    sample = _check_sample(dataset)
    if total == tf.data.UNKNOWN_CARDINALITY:
        total = int(dataset.reduce(np.int64(0), lambda count, _: count + 1))

    def read(images: bool, labels: bool) -> tf.data.Dataset:
        def pick(*element: tf.Tensor) -> dict[str, tf.Tensor]:
            found_image, found_label = _parts(element)
            picked = {"image": found_image} if images else {}
            if labels:
                picked["label"] = tf.cast(found_label, tf.int64)
            return picked

        return dataset.map(pick, num_parallel_calls=tf.data.AUTOTUNE)

    height_width = tuple(image.shape[:2]) if image.shape.rank else (None, None)
    found = sample[0].shape[2] if sample[0].ndim == 3 else 1
    channels = choose_channels(found, channels, "the dataset")

    def decode(image: tf.Tensor) -> tf.Tensor:
        return to_channels(_to_bytes(image, found), channels)

    counts = {image.shape[2] if image.ndim == 3 else 1 for image in sample}
    check(
        counts == {found} or counts <= set(INTERCHANGEABLE),
        "a dataset of images of one number of channels",
        f"{', '.join(map(str, sorted(counts)))} among its first",
        "Bring them to one by .map().",
    )

    source = StreamSource(
        "dataset",
        read,
        decode,
        total=total,
        buffer=buffer or buffer_size(float(np.mean([x.nbytes for x in sample]))),
        labelled=label is not None,
        channels=channels,
        image_shape=None if None in height_width else (*height_width, channels),
        contents=fingerprint(*sample),
    )
    source.notes = ALPHA if found == 4 else ()
    return source


def _to_bytes(image: tf.Tensor, channels: int) -> tf.Tensor:
    """Converts an image (H, W) or (H, W, channels) to uint8 (H, W, channels).

    Where its shape does not say whether it is grey or RGB it becomes RGB.

    Raises:
        tf.errors.InvalidArgumentError: A float is NaN or outside [0, 1].
    """
    if image.shape.rank != 3 or image.shape[-1] is None:
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        if image.shape.rank is None or image.shape[2:] == (None,):
            mixed = channels in INTERCHANGEABLE
            image = tf.reshape(image, (height, width, -1 if mixed else channels))
            if mixed:
                image = tf.broadcast_to(image, (height, width, 3))
        else:
            image = image[..., tf.newaxis]
    if image.dtype == tf.uint16:
        image = to_bytes(image)
    if image.dtype != tf.uint8:
        inside = tf.reduce_all((image >= 0) & (image <= 1))
        message = "expected floats in [0, 1]; received values outside. Divide by 255."
        with tf.control_dependencies([tf.debugging.Assert(inside, [message])]):
            image = tf.cast(tf.round(tf.cast(image, tf.float32) * 255), tf.uint8)
    return image


def _parts(element: tuple) -> tuple:
    """Image and label (or None) of an element as `Dataset.map` hands it over."""
    if len(element) == 1 and isinstance(element[0], dict):
        return element[0].get("image"), element[0].get("label")
    return (*element, None)[:2] if len(element) < 3 else (None, None)


def _specs(dataset: tf.data.Dataset) -> tuple[tf.TensorSpec, tf.TensorSpec | None]:
    """The specs of image and label (or None), checked."""
    spec = dataset.element_spec
    image, label = _parts(spec if isinstance(spec, tuple) else (spec,))
    check(
        isinstance(image, tf.TensorSpec),
        'elements image, (image, label), or {"image": ..., "label": ...}',
        str(spec),
        "Bring them into this form with .map().",
    )
    check(
        image.shape.rank in (None, 2, 3, 4)
        and ((image.shape.rank or 2) == 2 or (image.shape[-1] or 1) <= MOST)
        and (image.dtype in (tf.uint8, tf.uint16) or image.dtype.is_floating),
        f"images (H, W) or (H, W, C), C from 1 to {MOST}, of uint8, uint16 or floats "
        "in [0, 1]",
        f"shape {image.shape}, dtype {image.dtype.name}",
        "Bring them into this form with .map().",
    )
    if label is not None:
        check(
            isinstance(label, tf.TensorSpec)
            and label.dtype.is_integer
            and label.shape.rank in (None, 1 if image.shape.rank == 4 else 0),
            "integer labels of shape ()",
            str(label),
            "Bring them into this form with .map(), such as that of one-hot rows: "
            ".map(lambda image, label: (image, tf.argmax(label, -1))).",
        )
    return image, label


def _check_sample(dataset: tf.data.Dataset) -> list[np.ndarray]:
    """The first images, after a check that they are good and come again the same."""

    def first() -> list[np.ndarray]:
        elements = dataset.take(_SAMPLE).as_numpy_iterator()
        parts = (e if isinstance(e, tuple) else (e,) for e in elements)
        return [np.asarray(_parts(part)[0]) for part in parts]

    sample, again = first(), first()
    check(len(sample) > 0, "at least one image", "an empty dataset", "Give images.")
    most = max((float(image.max()) for image in sample if image.size), default=0.0)
    is_float = np.issubdtype(sample[0].dtype, np.floating)
    if is_float and 1 < most <= 255:  # as image_dataset_from_directory has them
        faults = [f"values up to {most:g}"]
        mends = ["divide: .map(lambda image, *label: (image / 255, *label))"]
    else:
        faults, mends = [], []
        for image in sample:
            as_bytes(check_images(image[None]))
    if not all(np.array_equal(a, b) for a, b in zip(sample, again, strict=True)):
        faults.append("a second pass that differs from the first")
        mends.append(
            "leave shuffling and random augmentation to the package (shuffle=False)"
        )
    check(
        not faults,
        "a dataset of images in [0, 1] that come in the same order each time",
        " and ".join(faults),
        f"Please {', and '.join(mends)}. Of files, the folder's name will do as well.",
    )
    return sample


def _open(data: tf.data.Dataset, split: str, reading: Reading) -> StreamSource:
    check_whole(split)
    return from_dataset(data, channels=reading.channels)


SOURCE = SourceKind(
    takes="a tf.data.Dataset",
    recognises=lambda data, _: isinstance(data, tf.data.Dataset),
    open=_open,
    from_python=True,
)
