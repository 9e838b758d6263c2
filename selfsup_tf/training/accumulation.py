"""Gradient accumulation: a step of K micro-batches, one after the other.

Where the loss of an image looks at other images (NT-Xent), averaging the losses of
micro-batches would be another loss, with fewer negatives. The gradient of the whole
batch's loss is had in two passes: the first computes and keeps the outputs of every
micro-batch and, from all of them, the gradient of the loss by each output; the second
runs each micro-batch again and carries those gradients on into the weights. Where it
does not, one pass is enough.

BatchNorm normalises a micro-batch, over all replicas, by its own statistics; the moving
statistics take one step, by their mean over the micro-batches. Without BatchNorm the
gradient is exactly that of the whole batch.

Reference: Gao et al. 2021, "Scaling deep contrastive learning batch size under memory
limited setup" (the two passes).
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from selfsup_tf.training.replica import Replica


def accumulate(replica: "Replica", count: int, on_replicas: Callable) -> Callable:
    """A step of `count` micro-batches, as a function of a batch and its wait.

    The loops run on the host, over work that every replica does: an exchange between
    replicas can't be inside a loop of theirs.

    Args:
        replica: The work of a replica.
        count: K, which divides N.
        on_replicas: Makes of a function of a replica's values one of all replicas'.
    """
    work = _Accumulation(replica, count)
    stages = (work.begin, work.forward, work.by_output, work.backward, work.end)
    begin, forward, by_output, backward, end = map(on_replicas, stages)

    def repeat(body, *start):
        """The last of what `body` makes of a number and of what came before."""
        _, *last = tf.while_loop(
            lambda k, *_: k < count,
            lambda k, *before: (k + 1, *body(k, *before)),
            (tf.constant(0), *start),
        )
        return last

    def step(batch, wait):
        batch, totals, kept, first_seeds = begin(batch, wait)
        by_outputs = {}
        if replica.method.couples_images:
            kept, _ = repeat(functools.partial(forward, batch), kept, first_seeds)
            by_outputs, whole = by_output(kept)
            totals |= whole
            # The rest would lie in memory during the pass that is to save it.
            kept = {name: kept[name] for name in replica.method.watched_outputs}

        def add(k, *before):
            return backward(batch, k, by_outputs, *before)

        return end(*repeat(add, totals, kept, first_seeds))

    return step


class _Accumulation:
    """What one replica does, in five stages.

    Totals are sums over the micro-batches: of the gradients, of how far each would have
    moved the moving statistics, of the loss, and of what else the log tells.
    """

    def __init__(self, replica, count):
        self.replica, self.count = replica, count
        self.model = replica.model
        state = self.model.non_trainable_variables
        # Whole numbers are the seeds of random draws: each micro-batch draws on.
        self.seeds = [v for v in state if not _is_float(v)]
        self.statistics = [v for v in state if _is_float(v)]

    def begin(self, batch, wait):
        """The batch in micro-batches (K, n, ...), and where its loops begin.

        That is totals of zero, zeros (K, n, ...) for the outputs to keep, and seeds.
        """
        batch = self.replica.received(batch, wait)
        batch = {name: self._parts(values) for name, values in batch.items()}
        size = next(iter(batch.values())).shape[1]
        dtype = _at_least_float32(self.replica.variables[0].dtype)
        totals = {
            "gradients": [tf.zeros_like(w) for w in self.replica.weights],
            "statistics": [tf.zeros_like(v.value) for v in self.statistics],
            "loss": tf.zeros((), dtype),
            "moments": [
                tf.zeros([2, output.shape[1]], _at_least_float32(output.dtype))
                for name, output in sorted(self.model.output.items())
                if name.startswith("representation_")
            ],
            "metrics": [tf.zeros((), dtype)] * len(self.replica.method.metric_names),
        }
        method = self.replica.method
        kept = {
            # The model may have made one row of all images.
            name: tf.zeros(
                [self.count, output.shape[0] or size, *output.shape[1:]], output.dtype
            )
            for name, output in self.model.output.items()
            if method.couples_images or name in method.watched_outputs
        }
        return batch, totals, kept, [tf.identity(v.value) for v in self.seeds]

    def forward(self, batch, k, kept, seeds):
        """Keeps the outputs of micro-batch k; no variable changes."""
        outputs, _, seeds = self._run(batch, k, seeds)
        return self._keep(outputs, k, kept), seeds

    def by_output(self, kept):
        """The gradient of the whole batch's loss by every output, (K, n, ...)."""
        outputs = {name: self._joined(values) for name, values in kept.items()}
        floats = {name: value for name, value in outputs.items() if _is_float(value)}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(floats)
            loss = self.replica.share_of_loss(outputs)
        gradients = tape.gradient(
            loss, floats, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        whole = {"loss": loss, **self.replica.sums(outputs)}
        return {name: self._parts(g) for name, g in gradients.items()}, whole

    def backward(self, batch, k, by_outputs, totals, kept, seeds):
        """Adds what micro-batch k brings; in a single pass keeps its outputs, too."""
        replica = self.replica
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            weights = replica.weights
            tape.watch(weights)
            outputs, statistics, seeds = self._run(batch, k, seeds)
            if by_outputs:
                # Its gradient by the weights is the chain rule's second half.
                products = [
                    tf.reduce_sum(gradients[k] * outputs[name])
                    for name, gradients in by_outputs.items()
                ]
                loss = tf.add_n([tf.cast(p, totals["loss"].dtype) for p in products])
            else:
                loss = replica.share_of_loss(outputs)
            objective = replica.objective(loss)
        gradients = replica.gradients(tape, objective, weights)
        moved = [
            new - v.value for new, v in zip(statistics, self.statistics, strict=True)
        ]
        added = {"gradients": gradients, "statistics": moved}
        if not by_outputs:
            added |= {"loss": loss, **replica.sums(outputs)}
            kept = self._keep(outputs, k, kept)
        sums = {
            name: tf.nest.map_structure(tf.add, totals[name], value)
            for name, value in added.items()
        }
        return totals | sums, kept, seeds

    def end(self, totals, kept, seeds):
        """Changes the weights, the moving statistics and the seeds."""
        # What a loop hands out has no device, and an exchange asks for one.
        totals, kept = tf.nest.map_structure(tf.identity, (totals, kept))
        for variable, total in zip(self.statistics, totals["statistics"], strict=True):
            # Those of a frozen network have moved by nothing, and stay to the bit.
            variable.assign(variable.value + total / self.count)
        for variable, seed in zip(self.seeds, seeds, strict=True):
            variable.assign(seed)
        names = ("gradients", "loss", "moments", "metrics")
        metrics = self.replica.update(*(totals[name] for name in names))
        outputs = {name: self._joined(values) for name, values in kept.items()}
        return metrics, self.replica.watched(outputs)

    def _keep(self, outputs, k, kept):
        """The kept outputs with those of micro-batch k in their place."""
        return {
            name: tf.tensor_scatter_nd_update(values, [[k]], outputs[name][tf.newaxis])
            for name, values in kept.items()
        }

    def _run(self, batch, k, seeds):
        """Outputs, moving statistics and seeds after micro-batch k."""
        given = iter(seeds)
        state = [
            v.value if _is_float(v) else next(given)
            for v in self.model.non_trainable_variables
        ]
        outputs, state = self.model.stateless_call(
            [v.value for v in self.model.trainable_variables],
            state,
            self.replica.inputs({name: values[k] for name, values in batch.items()}),
            training=True,
        )
        state = [tf.convert_to_tensor(value) for value in state]
        statistics = [value for value in state if value.dtype.is_floating]
        seeds = [value for value in state if not value.dtype.is_floating]
        return outputs, statistics, seeds

    def _parts(self, values):
        size, *rest = values.shape
        return tf.reshape(values, [self.count, size // self.count, *rest])

    def _joined(self, values):
        count, size, *rest = values.shape
        return tf.reshape(values, [count * size, *rest])


def _is_float(value):
    return tf.as_dtype(value.dtype).is_floating


def _at_least_float32(dtype):
    return tf.float64 if dtype == "float64" else tf.float32
