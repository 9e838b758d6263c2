"""Models of two branches: each of two views goes through the same networks."""

from collections.abc import Mapping

import keras


def two_branches(name: str, *chains: Mapping[str, keras.Model]) -> keras.Model:
    """Passes each of two views, a batch of its own for BatchNorm, through networks.

    Args:
        name: Of the model.
        *chains: Networks that a view passes one after the other, by what they give:
            {"representation": encoder, "projection": projector}. Each chain begins with
            the view.

    Returns:
        A functional model with inputs view_1 and view_2, (N, S, S, 3) in [0, 1], and
        for each view i the outputs representation_i, projection_i and so on.
    """
    shape = next(iter(chains[0].values())).inputs[0].shape[1:]
    inputs, outputs = {}, {}
    for view in (1, 2):
        inputs[f"view_{view}"] = keras.Input(shape, name=f"view_{view}")
        for chain in chains:
            x = inputs[f"view_{view}"]
            for output, network in chain.items():
                x = outputs[f"{output}_{view}"] = network(x)
    return keras.Model(inputs, outputs, name=name)
