"""Distillation's two branches: a student and a teacher, before the same view."""

import keras


def build_distill(
    trunk: keras.Model, logits: keras.Model, teacher: keras.layers.Layer
) -> keras.Model:
    """The model that is trained.

    Args:
        trunk: From (N, S, S, 3) to {"representation": (N, D), "features": (N, D)}.
        logits: From (N, D) to (N, C).
        teacher: From (N, S, S, 3) to (N, C).

    Returns:
        A model with the input view_1, (N, S, S, 3) in [0, 1], and outputs
        representation_1 (N, D), logits and teacher_logits (N, C).
    """
    view_1 = keras.Input(trunk.input_shape[1:], name="view_1")
    outputs = trunk(view_1)
    return keras.Model(
        {"view_1": view_1},
        {
            "representation_1": outputs["representation"],
            "logits": logits(outputs["features"]),
            "teacher_logits": teacher(view_1),
        },
        name="distill",
    )
