"""What XLA can't compile, said in the words of the network that was to be compiled."""

import re
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.errors import InputError
from selfsup_tf.methods import Method

_CALLS = 8
"""How often a layer may be called in a step; views and target networks make it few."""

# What TensorFlow 2.21 says when XLA gives up, with the operation's type and its node:
# nothing else has them. tests/training/test_compilation.py sees it said.
_NO_KERNEL = re.compile(
    r"trying to compile graph .* on XLA_\w+: (?P<op>\w+) \(.*?\{\{node (?P<node>[^}]+)"
)
_NOT_CONSTANT = re.compile(
    r"Input \d+ to node `(?P<node>[^`]+)` with op (?P<op>\w+) must be a compile-time"
)
_SIGNS = (
    "Detected unsupported operations when trying to compile graph",
    "must be a compile-time constant",
    "XLA compilation requires",
    "tf2xla conversion failed",
)
_NODE = re.compile(r"\{\{node ([^}]+)\}\}")


def call_steps(
    train_steps: Callable,
    batches: Iterator,
    step: int,
    count: int,
    *,
    method: Method,
    strategy: tf.distribute.Strategy,
) -> dict[str, np.ndarray]:
    """Does `count` updates after `step`; the arrays that the compiled steps give.

    Raises:
        InputError: XLA can't compile them, or the method is not what it says.
    """
    first, number = tf.constant(step, tf.int64), tf.constant(count)
    try:
        # No longer than this: what the chief does alone makes no shared variables.
        with strategy.scope():
            values = train_steps(batches, first, number)
        return {name: value.numpy() for name, value in values.items()}
    except tf.errors.OpError as error:
        reason = explain(error, method.model)
        if reason is None:
            raise
        raise reason from error
    except Exception as error:
        # What is raised while a step is traced comes back as another error.
        cause = error
        while cause is not None:
            if isinstance(cause, InputError):
                raise cause from None
            cause = cause.__context__
        raise


def explain(error: tf.errors.OpError, model: keras.Model) -> InputError | None:
    """The error to raise where XLA could not compile a step; None where it is another.

    Args:
        error: What the first call of the compiled step raised.
        model: The method's, whose layers are looked for in the operation's name.
    """
    message = error.message
    if not any(sign in message for sign in _SIGNS):
        return None
    op, node = _culprit(message, model)
    path, _ = _find(node, model)
    where = f"in the layer {'/'.join(path)}" if path else f"({node}), in no layer"
    if "XLA_TPU" in message:
        advice = "a TPU runs nothing else"
    else:
        advice = "or use --jit_compile=False"
    return InputError(
        "a step that XLA can compile",
        f"the operation {op} {where}",
        f"{'Replace that layer' if path else 'Do without it'}, {advice}.",
    )


def _culprit(message, model):
    """The type and the node of the operation that the message is about."""
    for pattern in (_NO_KERNEL, _NOT_CONSTANT):
        if found := pattern.search(message):
            return found["op"], found["node"]
    # Whatever else goes wrong is said in free words, with the nodes on the way there:
    # that of the call of the compiled function, and one within a layer.
    nodes = _NODE.findall(message) or ["unknown"]
    node = max(nodes, key=lambda node: len(_find(node, model)[0]))
    # The node may be deep inside, such as one of those that a loop is made of.
    return _find(node, model)[1][0], node


def _find(node, network):
    """The names of the layer that a node is in and of the networks around it, outermost
    first, and what is left of the node's own name, in parts.
    """
    parts = node.split("/")
    scopes = _scopes(network)
    for index, part in enumerate(parts[:-1]):
        if part in scopes:
            layer, rest = scopes[part], parts[index + 1 :]
            inner = []
            if isinstance(layer, keras.Model):
                inner, rest = _find("/".join(rest), layer)
            return [layer.name, *inner], rest
    return [], parts


def _scopes(network):
    """The layers of a network by the names that TensorFlow gives the scopes of calls.

    A scope that is there already gets a number, as if it were a layer of another name:
    Keras opens one of the layer's name to build it and another to call it, so the first
    call of `conv2d` is in `conv2d_1`, and that of `conv2d_1` in `conv2d_1_2`. The names
    are given out anew here, in the same order.
    """
    graph, scopes = tf.Graph(), {}
    for _ in range(_CALLS):
        for layer in network.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                graph.unique_name(layer.name)
                scopes[graph.unique_name(layer.name)] = layer
    return scopes
