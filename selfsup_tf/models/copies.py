"""Networks copied, shared at another size, and taken apart into their layers."""

import contextlib
from collections.abc import Iterator, Mapping

import keras

from selfsup_tf.errors import InputError, check
from selfsup_tf.models import vit
from selfsup_tf.models.keras_settings import computing_in

FLOAT32_LAYERS = (
    keras.layers.Rescaling,
    keras.layers.Normalization,
    keras.layers.Identity,
)


def copy_network(
    network: keras.Model, *, precision: str = "float32", synchronized: bool = True
) -> keras.Model:
    """Copies a network, weights included; the copy shares nothing with it.

    Its variables belong to the strategy in force. Layers that prepare the input or hand
    out the representation stay in float32, unless all is to be float64.

    Args:
        network: A functional or sequential model.
        precision: The dtype policy of the copy's layers.
        synchronized: Whether its BatchNorms, those of ready-made networks included,
            share their statistics over replicas: in training, not on a server.

    Raises:
        ValueError: It is a subclassed model, which Keras can't take apart.
    """

    def copy_layer(layer):
        if not isinstance(layer, keras.layers.Layer):
            # An operation written between layers, such as x + 3, has no precision.
            return type(layer).from_config(layer.get_config())
        values = layer.get_config()
        heeds = "dtype" in values  # a layer of somebody's may take none
        if heeds and (not isinstance(layer, FLOAT32_LAYERS) or precision == "float64"):
            values["dtype"] = precision
        if isinstance(layer, keras.layers.BatchNormalization):
            values["synchronized"] = synchronized
        with contextlib.nullcontext() if heeds else computing_in("float32"):
            return type(layer).from_config(values)

    with uncompiled(network), computing_in(precision):
        copy = keras.models.clone_model(
            network, clone_function=copy_layer, recursive=True
        )
    copy.set_weights(network.get_weights())
    for layer in leaf_layers(copy):
        for inner in inner_layers(layer):
            if isinstance(inner, keras.layers.BatchNormalization):
                inner.synchronized = synchronized
            own = inner.dtype_policy.name == precision != "float64"
            if own and isinstance(inner, FLOAT32_LAYERS):
                inner.dtype_policy = "float32"
    for layer in leaf_layers(copy):
        if isinstance(layer, keras.layers.Normalization):
            # It computes with numbers that it derives from its weights.
            layer.finalize_state()
    return copy


def at_size(encoder: keras.Model, image_size: int) -> keras.Model:
    """The same encoder, all its variables shared, for images of another size.

    Args:
        encoder: From (N, S, S, C) to (N, D).
        image_size: Height and width T of the images, in pixels.

    Returns:
        From (N, T, T, C) to (N, D); `encoder` itself where T is S.

    Raises:
        InputError: It can't take images of this size.
    """

    def share(layer):
        if not isinstance(layer, keras.Model) or len(layer.inputs) != 1:
            return layer
        *rest, channels = layer.inputs[0].shape[1:]
        of_images = rest == [*encoder.input_shape[1:-1]]
        sides = [image_size if of_images else None] * len(rest)
        images = keras.Input((*sides, channels))
        taken = images
        if not isinstance(layer, keras.Sequential):
            taken = keras.tree.map_structure(lambda _: images, layer.input)
        return keras.models.clone_model(
            layer, input_tensors=taken, clone_function=share
        )

    shapes = [tuple(tensor.shape) for tensor in (*encoder.inputs, *encoder.outputs)]
    check(
        len(shapes) == 2 and len(shapes[0]) == 4,
        "an encoder with one input, of images, and one output",
        f"{encoder.name}, with the shapes {shapes}",
        "Make a keras.Model of the part that represents images.",
    )
    encoder = plain(encoder)
    if encoder.input_shape[1] == image_size:
        return encoder
    for layer in leaf_layers(encoder):
        if isinstance(layer, vit.VisionTransformer):
            vit.check_whole_patches(image_size, layer.patch_size, "view_N.size")
    shape = (image_size, image_size, encoder.input_shape[-1])
    images = keras.Input(shape, name="image")
    try:
        with uncompiled(encoder):
            shared = keras.models.clone_model(
                encoder, input_tensors=images, clone_function=share
            )
    except ValueError as error:
        raise InputError(
            f"an encoder that takes views of {image_size} pixels beside "
            f"{encoder.input_shape[1]}",
            encoder.name,
            f"Keras says: {error}",
        ) from error
    name = f"{encoder.name}_of_{image_size}"  # one model may hold encoders of each size
    return keras.Model(shared.inputs[0], shared.outputs[0], name=name)


def plain(network: keras.Model) -> keras.Model:
    """The same network, its layers shared, from one tensor to one tensor.

    A model that was made of a list or a dict of one gives such a one, too.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        return network
    (images,) = network.inputs
    given = network.compute_output_spec(keras.KerasTensor(images.shape, images.dtype))
    takes = network.inputs if isinstance(network, keras.Sequential) else network.input
    if isinstance(given, keras.KerasTensor) and not isinstance(takes, list | dict):
        return network
    return keras.Model(network.inputs[0], network.outputs[0], name=network.name)


def leaf_layers(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model and of the models in it."""
    leaves = []
    for layer in network.layers:
        leaves += leaf_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return leaves


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """All layers that a layer holds, those that those hold included."""
    found, left, seen = {}, [vars(layer)], set()
    while left:
        held = left.pop()
        if id(held) in seen:
            continue
        seen.add(id(held))
        for part in held.values() if isinstance(held, Mapping) else held:
            if isinstance(part, keras.layers.Layer):
                found[id(part)] = part
                left.append(vars(part))
            elif isinstance(part, list | tuple | Mapping):
                left.append(part)
    found.pop(id(layer), None)
    return list(found.values())


@contextlib.contextmanager
def uncompiled(network: keras.Model) -> Iterator[None]:
    """Meanwhile a model, and those in it, have no loss and no optimizer to copy."""
    models = [
        network,
        *(m for m in inner_layers(network) if isinstance(m, keras.Model)),
    ]
    models = [model for model in models if model.compiled]
    for model in models:
        model.compiled = False
    try:
        yield
    finally:
        for model in models:
            model.compiled = True
