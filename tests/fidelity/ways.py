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


def run_one_by_one(function, *arguments):
    """As `run_each_way`, a batch of one after the other, which is computed apart."""
    arguments = [tf.convert_to_tensor(a) for a in arguments]

    def singles(run):
        for number in range(len(arguments[0])):
            yield run(*(values[number : number + 1] for values in arguments))

    ways = each_way(function).items()
    return {
        f"{way}, one by one": tf.concat(list(singles(run)), axis=0) for way, run in ways
    }
