"""Fine-tuning's single branch: a trunk and logits, beside the label."""

import keras


def build_finetune(
    trunk: keras.Model | keras.layers.Layer, logits: keras.Model, image_shape: tuple
) -> keras.Model:
    """The model that is trained.

    Args:
        trunk: From (N, S, S, 3) to {"representation": (N, D), "features": (N, F)}.
        logits: From (N, F) to (N, C).
        image_shape: (S, S, 3).

    Returns:
        A model with inputs view_1, (N, S, S, 3) in [0, 1], and label, int64 (N,), and
        outputs representation_1 (N, D), logits (N, C) and label (N,).
    """
    view_1 = keras.Input(image_shape, name="view_1")
    label = keras.Input((), dtype="int64", name="label")
    outputs = trunk(view_1)
    return keras.Model(
        {"view_1": view_1, "label": label},
        {
            "representation_1": outputs["representation"],
            "logits": logits(outputs["features"]),
            "label": keras.layers.Identity(dtype="int64", name="label_out")(label),
        },
        name="finetune",
    )
