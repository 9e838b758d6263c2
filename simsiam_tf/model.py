"""SimSiam's two branches, which share all their weights."""

import keras


def build_simsiam(
    encoder: keras.Model, projector: keras.Model, predictor: keras.Model
) -> keras.Model:
    """The dual-branch model.

    Args:
        encoder: (N, S, S, 3) -> (N, D).
        projector: (N, D) -> (N, P).
        predictor: (N, P) -> (N, P).

    Returns:
        A model with inputs view_1 and view_2, (N, S, S, 3) in [0, 1], and outputs
        representation_i (N, D), projection_i and prediction_i (N, P), i = 1, 2.

    Reference: Chen and He 2021, figure 1 and algorithm 1.
    """
    shape = encoder.inputs[0].shape[1:]
    inputs, outputs = {}, {}
    # Each view is a batch of its own for BatchNorm, as in algorithm 1.
    for view in (1, 2):
        x = inputs[f"view_{view}"] = keras.Input(shape, name=f"view_{view}")
        h = outputs[f"representation_{view}"] = encoder(x)
        z = outputs[f"projection_{view}"] = projector(h)
        outputs[f"prediction_{view}"] = predictor(z)
    return keras.Model(inputs, outputs, name="simsiam")
