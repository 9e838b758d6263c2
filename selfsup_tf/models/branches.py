"""Models of two branches that share their networks, one branch for each view."""

import keras


def two_branches(name: str, **networks: keras.Model) -> keras.Model:
    """Passes each of two views, a batch of its own for BatchNorm, through networks.

    Args:
        name: Of the model.
        **networks: One after the other, by what they give, the encoder first:
            representation=encoder, projection=projector.

    Returns:
        A functional model with inputs view_1 and view_2, (N, S, S, 3) in [0, 1], and
        for each view i the outputs representation_i, projection_i and so on.
    """
    shape = networks["representation"].inputs[0].shape[1:]
    inputs, outputs = {}, {}
    for view in (1, 2):
        x = inputs[f"view_{view}"] = keras.Input(shape, name=f"view_{view}")
        for output, network in networks.items():
            x = outputs[f"{output}_{view}"] = network(x)
    return keras.Model(inputs, outputs, name=name)
