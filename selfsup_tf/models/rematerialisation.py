"""Rematerialisation: the backward pass computes activations again to save memory.

A network runs block by block. What flows between two blocks is kept for the backward
pass; what arises within a block is dropped and computed a second time, when the block's
gradient is wanted. An update costs one more forward pass of the blocks, and the memory
for activations falls to the tensors between blocks and the inside of one of them.

Not supported: losses that layers add by themselves (`add_loss`, activity regularizers),
masks, and second derivatives.

Reference: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

import collections
import itertools
import math

import keras
import tensorflow as tf

from selfsup_tf.errors import check
from selfsup_tf.models.teachers.hub import HubEncoder
from selfsup_tf.models.vit import VisionTransformer

SMALLEST_BLOCK = 7
"""Layers in a block, at least: as many as a basic residual block of a ResNet has."""


def rematerialised(model: keras.Model) -> keras.Model:
    """Makes a model of the same layers whose networks are rematerialised in blocks.

    A block ends where a single tensor carries all that follows, as after a residual
    block, once it has SMALLEST_BLOCK layers or more. Networks in networks are cut
    too, and so is `VisionTransformer`, block by block. Any other layer is as
    indivisible as Keras has it, however many layers are inside; a network of
    fewer layers, and the layers of `model` itself, run as they are.

    Args:
        model: A functional model; its nested networks are functional or sequential.

    Returns:
        A functional model with the inputs, the outputs and the variables of `model`,
        all of them shared, in the same order. Only calls with training=True run block
        by block, in every precision and distribution, eagerly or compiled.

    Raises:
        InputError: The order of its variables can't be kept, or a vision transformer
            sees views of several sizes.
    """
    twin = keras.models.clone_model(model, clone_function=_converted)
    for kind in ("trainable_variables", "non_trainable_variables"):
        check(
            [id(v) for v in getattr(twin, kind)]
            == [id(v) for v in getattr(model, kind)],
            f"{model.name} to keep the order of its {kind} when it is cut into blocks",
            "another order",
            "Train it without rematerialisation.",
        )
    return twin


class Rematerialised(keras.layers.Layer):
    """A block whose activations are computed again in the backward pass.

    The update of its non-trainable variables (BatchNorm's moving statistics, the seeds
    of dropout) happens once, in the forward pass; the second computation starts from
    the seeds of the first and so drops the same units.

    Args:
        block: A functional model of one input and one output, which keeps its
            variables.
    """

    def __init__(self, block: keras.Model, **kwargs):
        # Neither the input nor the variables are cast here: the block's layers do so.
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.block = block

    def call(self, x, training=None):
        """The block's output."""
        if not training:
            return self.block(x, training=training)
        state = self.block.non_trainable_variables
        # Tensors, so that the gradient finds its way to what the caller watches: the
        # variables, or the values of a stateless call.
        values = [
            tf.convert_to_tensor(v.value)
            for v in (*self.block.trainable_variables, *state)
        ]
        first = len(values) - len(state)
        updated = []

        # `keras.remat` runs a function twice. A layer would count its batch twice in
        # its moving statistics and drop other units the second time; of a function
        # without state only the first result is kept.
        def run(x, *values):
            before = values[first:]
            y, after = self.block.stateless_call(
                values[:first], before, x, training=True
            )
            new = [a is not b for a, b in zip(after, before, strict=True)]
            updated.extend(itertools.compress(state, new))
            return y, *itertools.compress(after, new)

        y, *after = keras.remat(run)(tf.convert_to_tensor(x), *values)
        for variable, value in zip(updated[: len(after)], after, strict=True):
            variable.assign(value)
        return y

    def compute_output_spec(self, x, training=None):
        """The output spec of the block."""
        return self.block.compute_output_spec(x)


def _converted(layer):
    """Turns a layer that is a network into a network of blocks."""
    if isinstance(layer, VisionTransformer):
        return _transformer_in_blocks(layer)
    check(
        not isinstance(layer, HubEncoder),
        "a network whose blocks are known, with remat",
        "one of keras-hub",
        "Train it without --remat; --accumulate saves memory, too.",
    )
    if isinstance(layer, keras.Sequential):
        network = keras.Model(layer.inputs, layer.outputs, name=layer.name)
        return _in_blocks(network) or layer
    if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
        _check_one_size(layer)
        single = len(layer.inputs) == len(layer.outputs) == 1
        if single and not isinstance(layer.output, dict):
            return _in_blocks(layer) or layer
        return keras.models.clone_model(layer, clone_function=_converted)
    return layer


def _check_one_size(network):
    """Raises InputError if it holds a transformer that was built for another size."""
    for layer in network.layers:
        if isinstance(layer, VisionTransformer):
            size, own = network.input_shape[1:3], layer.backbone.image_shape[:2]
            check(
                tuple(size) == tuple(own),
                "a vision transformer that sees views of one size, with remat",
                f"views of {size[0]} pixels beside {own[0]}",
                "Train it without --remat, or draw all views in one size.",
            )


def _in_blocks(network):
    """Rebuilds a network of one input and one output in blocks, or returns None."""
    (image,) = keras.tree.flatten(network.input)
    x = keras.Input(batch_shape=image.shape, dtype=image.dtype, name=image.name)
    images, found = x, False
    for layer, is_cut in _parts(network):
        x = layer(x)
        found = found or is_cut
    return keras.Model(images, x, name=network.name) if found else None


def _parts(network):
    """Divides a network into layers that follow each other; says which are blocks."""
    parts, run = [], []
    for piece in _pieces(network):
        layers, _, _ = piece
        converted = _converted(layers[0]) if len(layers) == 1 else None
        if converted is None or converted is layers[0]:
            run.append(piece)
        else:
            parts += _cut(run)
            parts.append((converted, True))
            run = []
    return parts + _cut(run)


def _cut(pieces):
    """Joins pieces into blocks of enough layers; what is left over stays as it is."""
    parts = []
    while pieces:
        counts = itertools.accumulate(len(layers) for layers, _, _ in pieces)
        counts = list(enumerate(counts, start=1))
        ends = [i for i, count in counts if count >= SMALLEST_BLOCK]
        (_, begin, _), (_, _, end) = pieces[0], pieces[-1]
        if not ends:
            parts.append((keras.Model(begin, end), False))
            break
        first = counts[ends[0] - 1][1]
        # Where a network narrows, less has to be kept; of equals, the last is the one
        # after a residual block's activation.
        near = [
            i for i, count in counts if i in ends and count < first + SMALLEST_BLOCK
        ]
        cut = min(near, key=lambda i: (_size(pieces[i - 1][2]), -i))
        _, _, end = pieces[cut - 1]
        parts.append((Rematerialised(keras.Model(begin, end)), True))
        pieces = pieces[cut:]
    return parts


def _size(tensor):
    """The number of values in a tensor for each image."""
    return math.prod(size or 1 for size in tensor.shape)


def _pieces(network):
    """Splits a network wherever a single tensor carries all that follows.

    Returns:
        A list of (layers in the order of their calls, tensor before, tensor after). In
        place of a layer that is called with more than tensors stands None.
    """
    calls = []

    def note(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        given = keras.tree.flatten((args, kwargs))
        tensors = [t for t in given if isinstance(t, keras.KerasTensor)]
        # A network that is called with more than its input stays as it is: in blocks,
        # the input alone would reach it.
        bare = len(args) == 1 and all(value is None for value in kwargs.values())
        called = layer if bare else None
        calls.append((called, tensors, keras.tree.flatten(outputs)))
        return outputs

    trace = keras.models.clone_model(
        network, clone_function=lambda layer: layer, call_function=note
    )
    users = collections.Counter(id(t) for _, tensors, _ in calls for t in tensors)
    users.update(id(t) for t in trace.outputs)
    pieces, layers = [], []
    (begin,) = trace.inputs
    live = {id(begin): begin}
    for layer, inputs, outputs in calls:
        layers.append(layer)
        for tensor in inputs:
            users[id(tensor)] -= 1
            if not users[id(tensor)]:
                live.pop(id(tensor))
        live.update({id(t): t for t in outputs if users[id(t)]})
        if len(live) == 1:
            (end,) = live.values()
            pieces.append((layers, begin, end))
            begin, layers = end, []
    return pieces


def _transformer_in_blocks(transformer):
    """Rebuilds a vision transformer with each block of attention as a block."""
    first, blocks, last = transformer.parts()
    given = transformer.input
    images = keras.Input(batch_shape=given.shape, dtype=given.dtype, name="image")
    x = first(images)
    for layer in blocks:
        tokens = keras.Input(batch_shape=x.shape, dtype=x.dtype)
        x = Rematerialised(keras.Model(tokens, layer(tokens)))(x)
    return keras.Model(images, last(x), name=transformer.name)
