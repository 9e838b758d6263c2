"""An encoder that a run goes on from: taken at its size, some of its stages frozen."""

import keras

from selfsup_tf.errors import check
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.models.teacher import Teacher
from selfsup_tf.models.teachers import open_teacher


def open_start(name: str, image_size: int) -> Teacher:
    """An encoder that exists, for views of a size, whose weights can learn.

    Raises:
        InputError: It can't be had at this size, or is a finished program.
    """
    teacher = open_teacher(name, image_size)
    check(
        bool(teacher.network.trainable_weights),
        "an encoder whose weights can learn",
        f"{name}, which brings none",
        "Start from the .keras file that it was exported from, and let its layers "
        "learn: layer.trainable = True.",
    )
    check(
        teacher.image_size == image_size,
        f"an encoder of views of {image_size} pixels",
        f"{name}, of {teacher.image_size}",
        f"Use --image_size={teacher.image_size}, or leave @SIZE out.",
    )
    return teacher


def find_stages(encoder: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers of a network, parted where its feature maps become half as high.

    The layer that shrinks the maps, such as a convolution of stride 2, begins a stage.
    """
    stages, height = [[]], None
    for layer in leaf_layers(encoder):
        shape = _shape_of(layer)
        # Maps of one place are those of a side path, such as squeeze-and-excitation.
        if len(shape) == 4 and (shape[1] or 0) > 1:
            if height and 1.5 * shape[1] <= height:
                stages.append([])
            height = min(shape[1], height or shape[1])
        stages[-1].append(layer)
    return stages


def _shape_of(layer: keras.layers.Layer) -> tuple:
    """Of what a layer gives; () where it gives several, or Keras doesn't know."""
    try:
        return getattr(layer.output, "shape", ())
    except AttributeError:
        return ()


def freeze(encoder: keras.Model, upto: str) -> int:
    """Keeps the first stages of an encoder as they are, statistics of BatchNorm too.

    Args:
        encoder: Its layers are told not to learn.
        upto: How many stages, or the name of the last layer.

    Returns:
        How many weights stay as they are.

    Raises:
        InputError: It has no such layer, or not so many stages.
    """
    if upto.isdecimal():
        stages, count = find_stages(encoder), int(upto)
        check(
            len(stages) > 1,
            "a start of several stages, to freeze the first of them",
            f"{encoder.name}, whose feature maps never become half as high",
            "Name the last layer that stays, or leave --freeze out.",
        )
        check(
            0 < count < len(stages),
            f"freeze of 1 to {len(stages) - 1}, as {encoder.name} has {len(stages)} "
            "stages",
            upto,
            "Name a layer, such as --freeze=conv2_block3_out, where stages do not fit.",
        )
        layers = [layer for stage in stages[:count] for layer in stage]
    else:
        layers = leaf_layers(encoder)
        names = [layer.name for layer in layers]
        check(
            upto in names,
            "freeze to be a number of stages or the name of a layer of the start",
            repr(upto),
            f"Its last layers: {', '.join(names[-5:])}",
        )
        layers = layers[: names.index(upto) + 1]
    for layer in layers:
        layer.trainable = False
    return sum(len(layer.weights) for layer in layers)
