"""Distillation's models: a student and a teacher, before the same view."""

import keras

from selfsup_tf.models.heads import build_head


def build_distill(
    trunk: keras.Model, logits: keras.Model, teacher: keras.layers.Layer
) -> keras.Model:
    """The model that learns a classifier's answers.

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


def build_mimic(
    encoder: keras.Model,
    predictor: keras.Model,
    teacher: keras.layers.Layer | None,
    dimension: int,
) -> keras.Model:
    """The model that learns an encoder's vectors.

    Args:
        encoder: The student, from (N, S, S, 3) to (N, D).
        predictor: From (N, D) to (N, T).
        teacher: From (N, S, S, 3) to (N, T); None where its vectors are an input.
        dimension: T.

    Returns:
        A model with the input view_1, (N, S, S, 3) in [0, 1], and without a teacher the
        input target, (N, T); and outputs representation_1 (N, D), prediction and target
        (N, T).
    """
    inputs = {"view_1": keras.Input(encoder.input_shape[1:], name="view_1")}
    if teacher is None:
        target = inputs["target"] = keras.Input((dimension,), name="target")
    else:
        target = teacher(inputs["view_1"])
    h = encoder(inputs["view_1"])
    target = keras.layers.Identity(dtype=target.dtype, name="target_out")(target)
    outputs = {"representation_1": h, "prediction": predictor(h), "target": target}
    return keras.Model(inputs, outputs, name="distill")


def build_predictor(encoder: keras.Model, dimension: int, precision: str):
    """SimReg's head of four Dense layers, which is thrown away after training.

    BatchNorm and ReLU follow the first and the third; the layers have 2 D, D, 2 D and
    T outputs, and start as PyTorch's do.

    Args:
        encoder: From (N, S, S, 3) to (N, D).
        dimension: T.
        precision: What it computes in, a Keras dtype policy.

    Returns:
        A model from (N, D) to (N, T).

    Reference: Navaneet et al. 2021, section 3; UCDvision/simreg, mlp_arch.py.
    """
    size = encoder.output_shape[-1]
    options = {
        "norm": "hidden",
        "hidden_bias": True,
        "output_bias": True,
        "precision": precision,
    }
    first = build_head(size, (2 * size, size), name="projection", **options)
    last = build_head(size, (2 * size, dimension), name="prediction", **options)
    return keras.Model(first.input, last(first.output), name="predictor")


def build_linear(encoder: keras.Model, dimension: int, precision: str):
    """One Dense layer, from (N, D) to (N, T), which is thrown away after training."""
    return build_head(
        encoder.output_shape[-1],
        (dimension,),
        name="predictor",
        norm="none",
        output_bias=True,
        initializer=keras.initializers.GlorotUniform(),
        precision=precision,
    )
