"""BYOL's two branches: an online network that predicts a target network."""

import keras


def build_byol(
    online: tuple[keras.Model, keras.Model, keras.Model],
    target: tuple[keras.Model, keras.Model],
) -> keras.Model:
    """The dual-branch model; each view goes through both networks.

    Args:
        online: Encoder (N, S, S, 3) -> (N, D), projector -> (N, P), predictor ->
            (N, P).
        target: Encoder and projector of the same shapes.

    Returns:
        A model with inputs view_1 and view_2, (N, S, S, 3) in [0, 1], and outputs
        representation_i (N, D), prediction_i and target_projection_i (N, P), i = 1, 2.

    Reference: Grill et al. 2020, figure 2; deepmind-research, byol/byol_experiment.py.
    """
    encoder, projector, predictor = online
    target_encoder, target_projector = target
    shape = encoder.inputs[0].shape[1:]
    inputs, outputs = {}, {}
    # Each view is a batch of its own for BatchNorm, as in the reference.
    for view in (1, 2):
        x = inputs[f"view_{view}"] = keras.Input(shape, name=f"view_{view}")
        h = outputs[f"representation_{view}"] = encoder(x)
        outputs[f"prediction_{view}"] = predictor(projector(h))
        outputs[f"target_projection_{view}"] = target_projector(target_encoder(x))
    return keras.Model(inputs, outputs, name="byol")
