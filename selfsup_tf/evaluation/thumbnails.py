"""Small pictures of images, and all of them in one.

Legend: N images, S their height and width, t those of a thumbnail.
"""

import numpy as np
import tensorflow as tf

from selfsup_tf.data.channels import to_picture


def make_thumbnails(images: np.ndarray, side: int) -> np.ndarray:
    """Images (N, S, S, C) float32 in [0, 1] as (N, t, t, 3) uint8, t the side."""
    small = tf.image.resize(to_picture(images), (side, side), method="area")
    return tf.image.convert_image_dtype(small, tf.uint8, saturate=True).numpy()


def join_thumbnails(
    thumbnails: np.ndarray, columns: int, *, rows: int | None = None, blank: int = 0
) -> np.ndarray:
    """All thumbnails in one picture: number n in row n // columns, column n % columns.

    Args:
        thumbnails: (N, t, t, 3) uint8.
        columns: In a row.
        rows: As many as are needed, unless said.
        blank: The grey of what is left over.

    Returns:
        (rows times t, columns times t, 3) uint8.
    """
    count, side = thumbnails.shape[:2]
    rows = -(-count // columns) if rows is None else rows
    cells = np.full((rows * columns, side, side, 3), blank, np.uint8)
    cells[:count] = thumbnails
    cells = cells.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return cells.reshape(rows * side, columns * side, 3)
