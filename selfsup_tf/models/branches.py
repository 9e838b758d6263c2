"""Models of two branches: each of two views goes through the same networks."""

from collections.abc import Mapping, Sequence

import keras


def two_branches(
    name: str,
    *chains: Mapping[str, keras.Model],
    views: Sequence[Sequence[int]] | None = None,
) -> keras.Model:
    """Passes each of two views, a batch of its own for BatchNorm, through networks.

    Args:
        name: Of the model.
        *chains: Networks that a view passes one after the other, by what they give:
            {"representation": encoder, "projection": projector}. Each chain begins with
            the view. What a name with a leading underline gives is no output.
        views: Of each chain, which views pass it, in (1, 2); both where it is left out.

    Returns:
        A functional model with inputs view_1 and view_2, (N, S, S, 3) in [0, 1], and
        for each view i the outputs representation_i, projection_i and so on.
    """
    shape = next(iter(chains[0].values())).inputs[0].shape[1:]
    inputs = {f"view_{i}": keras.Input(shape, name=f"view_{i}") for i in (1, 2)}
    outputs = {}
    for view in (1, 2):
        for chain, taken in zip(chains, views or [(1, 2)] * len(chains), strict=True):
            x = inputs[f"view_{view}"]
            for output, network in chain.items() if view in taken else ():
                x = outputs[f"{output}_{view}"] = network(x)
    shown = {key: x for key, x in outputs.items() if not key.startswith("_")}
    return keras.Model(inputs, shown, name=name)
