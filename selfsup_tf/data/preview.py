"""A picture of what the network is going to see."""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config
from selfsup_tf.data import views
from selfsup_tf.data.channels import MOST, to_picture
from selfsup_tf.data.depth import as_bytes
from selfsup_tf.data.source import Source
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import check
from selfsup_tf.figures import Figure
from selfsup_tf.files import save_figure

_EPOCHS = 3  # draws of each view that are shown
_INCHES = 1.15  # side of an image on paper


def preview_views(
    images: Any,
    config: Config,
    path: str | pathlib.Path | None = None,
    *,
    seed: int = 0,
    count: int = 8,
) -> Figure:
    """Draws images beside the views that training would make of them.

    Each row is an image; all its views of the first three epochs follow.

    Args:
        images: uint8 or float [0, 1] arrays (N, H, W, C), a sequence of arrays (H, W,
            C) of any size, a Source, or the name of a folder or of other data.
        config: Its views are used.
        path: Where to write the picture (.png, .pdf, ...), if anywhere.
        seed: What the views are drawn from.
        count: How many images are shown: of arrays the first, else from all over.

    Returns:
        The figure, which a notebook shows.

    Raises:
        InputError: There is no image, or an image has another shape.
    """
    if isinstance(images, str | pathlib.Path):
        images = open_source(images, channels=config.channels)
    originals = _first(images, count)
    channels = originals[0].shape[-1]
    drawn = {
        name: views.View(view, channels=channels)
        for name, view in config.drawn_views.items()
    }
    names = [name.replace("_", " ") for name in drawn] if len(drawn) > 1 else ["view"]
    titles = ["image", *names * _EPOCHS]
    rows, columns = len(originals), len(titles)
    figure = Figure(
        figsize=(columns * _INCHES, rows * _INCHES + 0.5), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    axes = figure.subplots(rows, columns, squeeze=False)
    for index, (original, row) in enumerate(zip(originals, axes, strict=True)):
        pictures = [original.numpy()]
        for epoch in range(_EPOCHS):
            place = {"epoch": tf.constant([epoch]), "index": tf.constant([index])}
            for name, view in drawn.items():
                keys = views.view_keys(place, name, seed)
                crop = view.crop_one(original, keys[0])
                pictures.append(view.finish(crop[tf.newaxis], keys)[0].numpy())
        for place, picture in zip(row, pictures, strict=True):
            place.imshow(to_picture(picture), interpolation="nearest")
            place.set_axis_off()
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=9, color="#333333")
    sizes = dict.fromkeys(f"{view.size} x {view.size}" for view in drawn.values())
    figure.suptitle(
        f"{rows} images and their views of {' and '.join(sizes)} pixels, "
        f"drawn anew in each of {_EPOCHS} epochs",
        fontsize=10,
    )
    if path is not None:
        save_figure(figure, path)
    return figure


def _first(images: Any, count: int) -> list[tf.Tensor]:
    """The first images, each a tensor (H, W, C)."""
    if isinstance(images, Source):
        if not images.streamed:  # a folder begins with its first class alone
            chosen = np.linspace(0, images.size - 1, min(count, images.size))
            chosen = images.indices[chosen.astype(int)]
            images = images.select(chosen, images.name)
        elements = images.ordered(labels=False).take(count)
        return [element["image"] for element in elements]
    originals = [np.asarray(image) for image in images[:count]]
    check(len(originals) > 0, "at least one image", "none", "Give images that exist.")
    for image in originals:
        check(
            image.ndim == 3 and image.shape[-1] <= MOST,
            f"images of shape (H, W, C), C from 1 to {MOST}",
            f"shape {image.shape}",
            "For a single image, give x[None]; for grey ones, x[..., None].",
        )
    return [tf.constant(as_bytes(image[np.newaxis])[0]) for image in originals]
