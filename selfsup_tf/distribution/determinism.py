"""The same bits each time, on the same machine with the same devices."""

import tensorflow as tf


def make_deterministic() -> None:
    """Makes TensorFlow compute the same bits each time, for the rest of the process.

    Its kernels that add in the order in which threads end are replaced or refused
    (on the GPU), and its graph optimizer rewrites no sums: the order in which it adds
    the gradients that reach one tensor differs between two processes, measured in
    docs/reliability.md.
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def clock_is_allowed() -> bool:
    """Whether a graph may read the clock, which TensorFlow then calls no determinism.

    TF_DETERMINISTIC_OPS=1 and other programs of the process can forbid it, too.
    """
    try:
        tf.timestamp()
    except tf.errors.OpError:
        return False
    return True
