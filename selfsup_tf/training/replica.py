"""What one replica does in a training step: forward, backward, update."""

import keras
import tensorflow as tf

from selfsup_tf.data.views import draw_views
from selfsup_tf.distribution.replicas import gather, num_replicas, sum_over_replicas
from selfsup_tf.errors import check
from selfsup_tf.methods import Method
from selfsup_tf.models.rematerialisation import rematerialised
from selfsup_tf.training.optimizers import decay_penalty
from selfsup_tf.training.spread import moments, spread

METRICS = ("train/loss", "train/representation_std", "finite")


class Replica:
    """What one replica does in a step. All of it compiles for XLA."""

    def __init__(self, method: Method, optimizer: keras.optimizers.Optimizer):
        self.method, self.optimizer = method, optimizer
        self.config = config = method.config
        self.model = rematerialised(method.model) if config.remat else method.model
        self.variables = method.trainable_variables

    @property
    def weights(self) -> list[tf.Variable]:
        """Its own variables that follow the gradient."""
        return [v.value for v in self.variables]

    def received(
        self, batch: dict[str, tf.Tensor], wait: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The batch, of static size, after the clock that timed its arrival was read.

        Its last reading would else queue behind the work that the batch sets off. With
        several workers TensorFlow forgets how many images each of them gets.
        """
        size = self.config.batch_size // num_replicas()
        with tf.control_dependencies([wait]):
            return {
                name: tf.ensure_shape(value, [size, *value.shape[1:]])
                for name, value in batch.items()
            }

    def inputs(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What the model takes; views that the host has not drawn are drawn here."""
        names = self.method.model.input
        drawn = {
            name: view
            for name, view in self.config.drawn_views.items()
            if name in names and name not in batch
        }
        batch = batch | draw_views(batch, drawn, seed=self.config.seed)
        return {name: batch[name] for name in names}

    def step(
        self, batch: dict[str, tf.Tensor], wait: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Forward, backward and update on this replica's part of the batch.

        Returns:
            What `update` and `watched` return.
        """
        batch = self.received(batch, wait)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            weights = self.weights
            tape.watch(weights)
            outputs = self.model(self.inputs(batch), training=True)
            loss = self.share_of_loss(outputs)
            objective = self.objective(loss)
        gradients = self.gradients(tape, objective, weights)
        sums = {"loss": loss, **self.sums(outputs)}
        return self.update(gradients, **sums), self.watched(outputs)

    def share_of_loss(self, outputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """What these images add to the mean of the loss over the global batch."""
        return tf.reduce_sum(self.method.compute_loss(outputs)) / self.config.batch_size

    def objective(self, loss: tf.Tensor) -> tf.Tensor:
        """What is differentiated: loss and coupled decay, scaled for float16.

        The gradients are summed over replicas and micro-batches, so that each brings
        its share of the decay.
        """
        penalty = decay_penalty(self.config.optimizer, self.variables)
        penalty /= num_replicas() * self.config.accumulate
        return self.optimizer.scale_loss(loss + tf.cast(penalty, loss.dtype))

    def gradients(
        self, tape: tf.GradientTape, objective: tf.Tensor, weights: list[tf.Variable]
    ) -> list[tf.Tensor]:
        """Dense gradients: that of an embedding, such as a ViT's, comes in slices."""
        gradients = tape.gradient(
            objective, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def sums(self, outputs: dict[str, tf.Tensor]) -> dict[str, list[tf.Tensor]]:
        """What these images add to the numbers of the log, but for the loss.

        Returns:
            "moments": of each view's representations, what `spread` needs of them;
            "metrics": shares of the means that the method's `metric_names` name.
        """
        found = self.method.compute_metrics(outputs)
        names = self.method.metric_names
        check(
            set(found) == set(names),
            f"numbers of the metric_names {', '.join(names) or '(none)'}",
            ", ".join(found) or "none",
            f"Let compute_metrics of {type(self.method).__name__} return these.",
        )
        dtype = tf.float64 if self.config.precision == "float64" else tf.float32
        seen = [name for name in sorted(outputs) if name.startswith("representation_")]
        check(
            bool(seen),
            f"a model of {type(self.method).__name__} with the output representation_1",
            ", ".join(outputs),
            "Give the encoder's output of each view a name: representation_1, ...",
        )
        return {
            "moments": [moments(outputs[name]) for name in seen],
            "metrics": [
                tf.reduce_sum(tf.cast(found[name], dtype)) / self.config.batch_size
                for name in names
            ],
        }

    def watched(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs that the method watches, (G, ...), the same on every replica.

        Args:
            outputs: Of this replica's images, (N, ...), micro-batch after micro-batch.

        Returns:
            Those of all images, in the order in which a single replica has them.
        """
        return {
            name: _of_all(outputs[name], self.config.accumulate)
            for name in self.method.watched_outputs
        }

    def update(
        self,
        gradients: list[tf.Tensor],
        loss: tf.Tensor,
        moments: list[tf.Tensor],
        metrics: list[tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Changes the weights; returns the metrics, the same on every replica."""
        config = self.config
        norm = tf.linalg.global_norm(gradients)
        self.optimizer.apply(_reduce(gradients, self.optimizer, config), self.variables)
        loss, norm, moments, metrics = sum_over_replicas([loss, norm, moments, metrics])
        spreads = [spread(sums, config.batch_size) for sums in moments]
        # With mixed_float16 an overflowing gradient is the loss scale's business.
        watched = loss if config.precision == "mixed_float16" else loss + norm
        finite = tf.math.is_finite(watched)
        names = [*METRICS, *self.method.metric_names]
        values = [loss, tf.add_n(spreads) / len(spreads), finite, *metrics]
        return {
            name: tf.cast(value, loss.dtype)
            for name, value in zip(names, values, strict=True)
        }


def _reduce(gradients, optimizer, config):
    """Leaves the sum over replicas to Keras, unless it is needed before the update."""
    clip_norm = config.optimizer.clip_norm
    if clip_norm is None and config.precision != "mixed_float16":
        return gradients
    gradients = sum_over_replicas(gradients)
    if clip_norm is not None:
        limit = optimizer.scale_loss(tf.constant(clip_norm, gradients[0].dtype))
        if config.optimizer.clip_each:
            gradients = [tf.clip_by_norm(g, limit) for g in gradients]
        else:
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
    return [g / num_replicas() for g in gradients]


def _of_all(values, micro_batches):
    """The values of all replicas: by micro-batch, by replica, by image."""
    parts = tf.reshape(gather(values), [num_replicas(), micro_batches, -1])
    parts = tf.transpose(parts, [1, 0, 2])
    return tf.reshape(parts, [num_replicas() * values.shape[0], *values.shape[1:]])
