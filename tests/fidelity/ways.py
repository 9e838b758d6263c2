"""The three ways in which an operation runs."""

import tensorflow as tf


def each_way(function):
    """A function of tensors, by name: eager, within `tf.data`, compiled by XLA."""

    def in_data(*arguments):
        dataset = tf.data.Dataset.from_tensors(arguments)
        return next(iter(dataset.map(function)))

    compiled = tf.function(function, jit_compile=True)
    return {"eager": function, "tf.data": in_data, "compiled": compiled}


def run_each_way(function, *arguments):
    """The results of `each_way`, by name."""
    arguments = [tf.convert_to_tensor(a) for a in arguments]
    return {way: run(*arguments) for way, run in each_way(function).items()}
