"""Images of a tf.data.Dataset, and the source of all images that are streamed."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from selfsup_tf.data.order import ALL, Count, Share, counted, on_host, seed_pair
from selfsup_tf.data.source import Source, SourceKind, fingerprint
from selfsup_tf.data.sources.arrays import as_bytes, check_images, check_whole
from selfsup_tf.errors import InputError, check

BUFFER_BYTES = 2**29  # of undecoded images, out of which a shuffle draws
_LEAST_BUFFER = 1024  # images: fewer would hardly be shuffled
_SAMPLE = 8  # first elements that are looked at when a dataset is opened

Read = Callable[[bool, bool], tf.data.Dataset]
Decode = Callable[[tf.Tensor], tf.Tensor]


class StreamSource(Source):
    """Images that are streamed, always in one order, without random access.

    A shuffle draws from a buffer over the images before they are decoded, so images
    that are far apart in the stream stay roughly in its order.

    Args:
        name: For logs.
        read: From whether images and whether labels are wanted to a dataset of
            {"image": undecoded, "label": int64 ()} with only these keys.
        decode: From an undecoded image to uint8 (H, W, 3).
        total: Number of elements that `read` gives.
        buffer: Elements in the buffer of a shuffle.
        labelled: Whether `read` can give labels.
        class_names: Of the labels; None where they follow from the labels or there
            are none.
        image_shape: (H, W, 3) where all images have one size, else None.
        identity: What tells the whole dataset from all others, if anything does.
        contents: See `Source.contents`.
    """

    streamed = True

    def __init__(
        self,
        name: str,
        read: Read,
        decode: Decode,
        *,
        total: int,
        buffer: int,
        labelled: bool,
        class_names: tuple[str, ...] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        identity: str | None = None,
        contents: str | None = None,
    ):
        self._read, self._decode = read, decode
        self._total, self._buffer = total, buffer
        self._class_names, self._identity = class_names, identity
        self._contents = contents
        self._all_labels: list[np.ndarray] = []  # shared with the parts, once read
        self.name, self.indices = name, np.arange(total)
        self.labelled, self.image_shape = labelled, image_shape

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, or None. Numbers are named after a pass."""
        if self._class_names is None and self.labelled:
            count = int(self._labels_of_all().max()) + 1
            self._class_names = tuple(map(str, range(max(0, count))))
        return self._class_names

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels_of_all()[self.indices] if self.labelled else None

    @property
    def fingerprint(self) -> str | None:
        if self._identity is None:
            return None
        return fingerprint(self._identity, self.indices)

    @property
    def contents(self) -> str | None:
        return self._contents

    def _labels_of_all(self) -> np.ndarray:
        if not self._all_labels:
            batches = self._read(False, True).batch(1024).as_numpy_iterator()
            labels = np.concatenate([batch["label"] for batch in batches])
            self._all_labels.append(labels.astype(np.int64))
        return self._all_labels[0]

    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        return self._decoded(self._undecoded(labels), self.size)

    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share = ALL,
    ) -> tf.data.Dataset:
        """See `Source.shuffled`. What is left out is read, not decoded."""
        undecoded = self._undecoded(labels)
        pair = seed_pair(seed, epoch)
        key = tf.random.stateless_uniform([], pair, 0, 2**31 - 1, tf.int64)

        def shuffle(_: tf.Tensor) -> tf.data.Dataset:
            # Within this graph, so that tf.random.set_seed outside has no say.
            tf.random.set_seed(1)
            return undecoded.shuffle(
                self._buffer, seed=key, reshuffle_each_iteration=False
            )

        shuffled = tf.data.Dataset.from_tensors(0).flat_map(shuffle)
        remaining, size = shuffled.skip(start), share.size(self.size - start)
        if share.count < share.every:
            numbered = remaining.enumerate()
            own = numbered.filter(lambda number, element: share.contains(number))
            remaining = own.map(lambda number, element: element).take(size)
        return self._decoded(remaining, size)

    def _undecoded(self, labels: bool) -> tf.data.Dataset:
        elements = self._read(True, labels and self.labelled).enumerate()
        elements = elements.map(lambda index, element: {**element, "index": index})
        if self.size == self._total:
            return elements
        chosen = np.zeros(self._total, bool)
        chosen[self.indices] = True
        chosen = on_host(chosen, tf.bool)
        return elements.filter(lambda element: tf.gather(chosen, element["index"]))

    def _decoded(self, undecoded: tf.data.Dataset, size: int) -> tf.data.Dataset:
        def decode(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image = self._decode(element["image"])
            image = tf.ensure_shape(image, self.image_shape or (None, None, 3))
            return {**element, "image": image}

        elements = undecoded.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        return counted(elements, size)


def from_dataset(
    dataset: tf.data.Dataset, *, buffer: int | None = None
) -> StreamSource:
    """Makes a source of a dataset of single images.

    Args:
        dataset: Elements are an image, (image, label), or a dict with "image" and maybe
            "label". An image is (H, W), (H, W, 1) or (H, W, 3), uint8 or floats in
            [0, 1]; a label is an integer. Where its length is unknown, it is read once.
        buffer: Images that a shuffle draws from; None for what fits 512 MB.

    Raises:
        InputError: The elements are others, the dataset is empty or infinite, or its
            order or images differ from pass to pass.
    """
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
    return StreamSource(
        "dataset",
        read,
        _to_rgb_bytes,
        total=total,
        buffer=buffer or buffer_size(float(np.mean([x.nbytes for x in sample]))),
        labelled=label is not None,
        image_shape=None if None in height_width else (*height_width, 3),
        contents=fingerprint(*sample),
    )


def _to_rgb_bytes(image: tf.Tensor) -> tf.Tensor:
    """Converts an image (H, W), (H, W, 1) or (H, W, 3) to uint8 (H, W, 3).

    Raises:
        tf.errors.InvalidArgumentError: A float is NaN or outside [0, 1].
    """
    if image.shape.rank != 3:
        image = tf.reshape(image, tf.concat([tf.shape(image)[:2], [-1]], 0))
    if image.dtype != tf.uint8:
        inside = tf.reduce_all((image >= 0) & (image <= 1))
        message = "expected floats in [0, 1]; received values outside. Divide by 255."
        with tf.control_dependencies([tf.debugging.Assert(inside, [message])]):
            image = tf.cast(tf.round(tf.cast(image, tf.float32) * 255), tf.uint8)
    if image.shape[-1] != 3:
        image = tf.broadcast_to(image, tf.concat([tf.shape(image)[:2], [3]], 0))
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
    if image.shape.rank == 4:
        raise InputError(
            "single images (H, W, 3)", f"shape {image.shape}", "Use .unbatch()."
        )
    check(
        image.shape.rank in (None, 2, 3)
        and (image.shape.rank != 3 or image.shape[-1] in (None, 1, 3))
        and (image.dtype == tf.uint8 or image.dtype.is_floating),
        "images (H, W, 3), (H, W, 1) or (H, W), of uint8 or floats in [0, 1]",
        f"shape {image.shape}, dtype {image.dtype.name}",
        "Bring them into this form with .map().",
    )
    if label is not None:
        check(
            isinstance(label, tf.TensorSpec)
            and label.dtype.is_integer
            and label.shape.rank in (None, 0),
            "integer labels of shape ()",
            str(label),
            "Bring them into this form with .map().",
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
    for image in sample:
        as_bytes(check_images(image[None]))
    same = all(np.array_equal(a, b) for a, b in zip(sample, again, strict=True))
    check(
        same,
        "a dataset that gives the same images in the same order each time",
        "one whose second pass differs from the first",
        "Leave .shuffle() and random augmentation to the package.",
    )
    return sample


def buffer_size(image_bytes: float) -> int:
    """The number of images in a shuffle's buffer, for undecoded images of this size."""
    return max(_LEAST_BUFFER, int(BUFFER_BYTES / max(1.0, image_bytes)))


def _open(data: tf.data.Dataset, split: str, data_dir: str | None) -> StreamSource:
    check_whole(split)
    return from_dataset(data)


SOURCE = SourceKind(
    takes="a tf.data.Dataset",
    recognises=lambda data, _: isinstance(data, tf.data.Dataset),
    open=_open,
    from_python=True,
)
