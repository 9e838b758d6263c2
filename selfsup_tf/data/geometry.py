"""Where pixels go: crops resized by matrices, rotation.

On a batch of equal sizes a crop is two matrix products per image, which XLA compiles
and an accelerator likes; on one image of any size it is a slice and `tf.image.resize`.
Both give the same pixels. Boxes are those of `crop_boxes`.
"""

import math

import tensorflow as tf


def as_float(images: tf.Tensor) -> tf.Tensor:
    """uint8 [0, 255] or float [0, 1] images as float32 in [0, 1]."""
    if images.dtype.is_integer:
        return tf.cast(images, tf.float32) * (1 / 255)
    return tf.cast(images, tf.float32)


def from_grey_levels(images: tf.Tensor) -> tf.Tensor:
    """Levels of grey up to 255, of any dtype, as float32 clipped to [0, 1]."""
    return tf.clip_by_value(tf.cast(images, tf.float32) * (1 / 255), 0.0, 1.0)


def crop_and_resize(
    images: tf.Tensor,
    boxes: tf.Tensor,
    *,
    size: int,
    method: str,
    antialias: bool,
) -> tf.Tensor:
    """Crops and resizes a batch; each image has its own box.

    Args:
        images: (N, H, W, C) float32.
        boxes: (N, 4) int32 of y, x, height, width.
        size: Height and width of the result.
        method: "bilinear" or "bicubic".
        antialias: Whether an image that shrinks is low-pass filtered.

    Returns:
        (N, size, size, C) float32, equal to `tf.image.resize` of the slices. Bicubic
        interpolation may overshoot the range of the images.
    """
    height, width = images.shape[1:3]
    options = {"target": size, "method": method, "antialias": antialias}
    rows = _resize_matrix(boxes[:, 0], boxes[:, 2], source=height, **options)
    columns = _resize_matrix(boxes[:, 1], boxes[:, 3], source=width, **options)
    return multiply_rows_and_columns(images, rows, columns)


def resize(images: tf.Tensor, *, size: int, method: str, antialias: bool) -> tf.Tensor:
    """Whole images, (H, W, C) or (N, H, W, C) float32, at another size.

    As `tf.image.resize`, which XLA can't compile; where a batch has a known height and
    width it is matrix products.
    """
    if images.shape.rank == 3 or None in images.shape[1:3]:
        return tf.image.resize(images, (size, size), method, antialias=antialias)
    height, width = images.shape[1:3]
    boxes = tf.constant([[0, 0, height, width]])  # of all: the matrices broadcast
    return crop_and_resize(images, boxes, size=size, method=method, antialias=antialias)


def crop_and_resize_one(
    image: tf.Tensor, box: tf.Tensor, *, size: int, method: str, antialias: bool
) -> tf.Tensor:
    """`crop_and_resize` of one image (H, W, C) of any size, uint8 or float32.

    Returns:
        (size, size, C) float32, in the range of the image: of uint8 up to 255.
    """
    top, left, height, width = tf.unstack(box)
    crop = image[top : top + height, left : left + width]
    crop = tf.image.resize(crop, (size, size), method, antialias=antialias)
    return tf.ensure_shape(crop, (size, size, image.shape[-1]))


def multiply_rows_and_columns(
    images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor
) -> tf.Tensor:
    """Applies a matrix to the rows and another to the columns of each image.

    rows (N, S, H) and columns (N, T, W) make (N, S, T, C) of images (N, H, W, C), all
    float32.
    """
    height, width, channels = images.shape[1:]
    tall, wide = rows.shape[1], columns.shape[1]
    images = rows @ tf.reshape(images, (-1, height, width * channels))
    images = tf.reshape(images, (-1, tall, width, channels))
    images = tf.transpose(images, (0, 2, 1, 3))
    images = columns @ tf.reshape(images, (-1, width, tall * channels))
    images = tf.reshape(images, (-1, wide, tall, channels))
    return tf.transpose(images, (0, 2, 1, 3))


def _resize_matrix(
    start: tf.Tensor,
    length: tf.Tensor,
    *,
    source: int,
    target: int,
    method: str,
    antialias: bool,
) -> tf.Tensor:
    """(N, target, source) weights that resize `length` pixels from `start` on."""
    length = tf.cast(length, tf.float32)[:, tf.newaxis]
    scale = length / target
    # Where the centre of a target pixel lies, in pixels of the crop.
    centre = (tf.range(target, dtype=tf.float32) + 0.5) * scale - 0.5
    if method == "bicubic" and not antialias:
        # TensorFlow's kernel looks its weights up in a table of 1024 offsets.
        below = tf.floor(centre)
        centre = below + tf.round((centre - below) * 1024) / 1024
    pixel = tf.range(source, dtype=tf.float32) - tf.cast(start, tf.float32)[:, None]
    distance = tf.abs(pixel[:, tf.newaxis, :] - centre[:, :, tf.newaxis])
    if antialias:
        distance /= tf.maximum(scale, 1.0)[:, :, tf.newaxis]
    weights = _cubic(distance) if method == "bicubic" else _triangle(distance)
    inside = (pixel >= 0) & (pixel < length)
    weights = tf.where(inside[:, tf.newaxis, :], weights, 0.0)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def _triangle(distance: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1 - distance, 0.0)


def _cubic(distance: tf.Tensor) -> tf.Tensor:
    """Keys's cubic convolution kernel with a = -0.5."""
    near = ((1.5 * distance - 2.5) * distance) * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return tf.where(distance < 1, near, tf.where(distance < 2, far, 0.0))


def rotate(images: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Rotates images (N, H, W, C) counter-clockwise by degrees (N,), both float32.

    About the centre, bilinearly. What enters from outside is the image mirrored at its
    edge: black corners would tell the network the angle.
    """
    height, width, channels = images.shape[1:]
    angle = (degrees * (math.pi / 180))[:, tf.newaxis, tf.newaxis]
    y = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - (height - 1) / 2
    x = tf.range(width, dtype=tf.float32)[tf.newaxis, :] - (width - 1) / 2
    cos, sin = tf.cos(angle), tf.sin(angle)
    from_y = cos * y + sin * x + (height - 1) / 2
    from_x = cos * x - sin * y + (width - 1) / 2
    top, left = tf.floor(from_y), tf.floor(from_x)
    down, right = (from_y - top)[..., tf.newaxis], (from_x - left)[..., tf.newaxis]
    pixels = tf.reshape(images, (-1, height * width, channels))

    def corner(y, x):
        at = _mirror(y, height) * width + _mirror(x, width)
        at = tf.reshape(at, (-1, height * width))
        found = tf.gather(pixels, at, batch_dims=1)
        return tf.reshape(found, (-1, height, width, channels))

    above = corner(top, left) * (1 - right) + corner(top, left + 1) * right
    below = corner(top + 1, left) * (1 - right) + corner(top + 1, left + 1) * right
    return above * (1 - down) + below * down


def _mirror(position: tf.Tensor, length: int) -> tf.Tensor:
    """Whole positions folded into [0, length): -1 is 0 and length is length - 1."""
    position = position - 2 * length * tf.floor(position / (2 * length))
    position = tf.minimum(position, 2 * length - 1 - position)
    return tf.cast(tf.clip_by_value(position, 0.0, length - 1.0), tf.int32)
