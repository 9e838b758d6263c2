"""Models of several branches: each view goes through the same networks."""

from collections.abc import Mapping, Sequence

import keras

from selfsup_tf.config import ViewConfig
from selfsup_tf.models.copies import at_size


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


def inputs_of(
    views: Mapping[str, ViewConfig], channels: int
) -> dict[str, keras.KerasTensor]:
    """Inputs of a model for `Config.drawn_views`, (N, S, S, channels) each, by name."""
    return {
        name: keras.Input((view.size, view.size, channels), name=name)
        for name, view in views.items()
    }


def views_by_size(
    views: Mapping[str, keras.KerasTensor],
    chain: Mapping[str, keras.Model],
    *,
    count: int | None = None,
) -> dict[str, keras.KerasTensor]:
    """Passes any number of views through networks, those of one size as one batch.

    A BatchNorm of the encoder sees each size by itself, one of a head all views:
    facebookresearch/dino, utils.py, MultiCropWrapper.

    Args:
        views: Inputs of a model by name, (N, S, S, channels) each, S of any size.
        chain: Networks that a view passes one after the other, an encoder first, by
            what they give. What a name with a leading underline gives is no output.
        count: How many views pass, the first ones; all where it is left out.

    Returns:
        For each view i, counted from 1, the outputs NAME_i of all names.
    """
    passing = list(views)[:count]
    groups: dict[int, list[str]] = {}
    for name in passing:
        groups.setdefault(views[name].shape[1], []).append(name)
    ordered = [name for names in groups.values() for name in names]
    (output, encoder), *heads = chain.items()
    seen = [
        at_size(encoder, size)(_joined([views[name] for name in names]))
        for size, names in groups.items()
    ]
    found = {output: _joined(seen)}
    for name, head in heads:
        found[name] = head(next(reversed(found.values())))
    outputs = {}
    for output, joined in found.items():
        if not output.startswith("_"):
            parts = keras.ops.split(joined, len(ordered), axis=0)
            by_view = dict(zip(ordered, parts, strict=True))
            for i, name in enumerate(passing, start=1):
                outputs[f"{output}_{i}"] = by_view[name]
    return outputs


def _joined(tensors):
    # Keras's layer would cast to the global policy.
    return keras.ops.concatenate(tensors, axis=0) if tensors[1:] else tensors[0]
