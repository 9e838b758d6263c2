"""MoCo on one screen: queries of an online network, keys of its slow target."""

import tensorflow as tf

from moco_tf.config import MoCoConfig
from moco_tf.loss import info_nce_loss
from selfsup_tf.methods.momentum import MomentumMethod
from selfsup_tf.models.branches import two_branches
from selfsup_tf.models.heads import build_head
from selfsup_tf.models.queue import new_queue, push


class MoCo(MomentumMethod):
    """He et al. 2020, "Momentum contrast"; Chen, Xie and He 2021, "An empirical study".

    BatchNorms are synchronised in place of MoCo v2's shuffled ones: no replica's
    statistics can tell a query's key, and N replicas are one.
    """

    config_class = MoCoConfig
    couples_images = property(lambda self: not self.config.queue)

    def build(self):
        """Online encoder, projector and predictor; target encoder and projector."""
        config, one = self.config, self.config.directions == "one"
        self.encoder, projector = online = self._network("")
        target = self._network("target_")
        chain = {"representation": self.encoder, "query": projector}
        if config.predictor:
            last = self._head(config.projector[-1], "predictor")
            chain = {"representation": self.encoder, "_projection": projector}
            chain["query"] = last
        # Of one direction the target alone sees view 2, and represents it.
        represents = "representation" if one else "_representation"
        keys = {represents: target[0], "key": target[1]}
        views = [(1,), (2,)] if one else None
        self.model = two_branches("moco", chain, keys, views=views)
        self.networks = {"projector": projector}
        self.follow(online, target)
        if config.queue:
            taken = (2,) if one else (1, 2)
            self.watched_outputs = tuple(f"key_{i}" for i in taken)
            self.state = {f"queue_{i}": self._random_keys(i) for i in taken}

    def _network(self, prefix):
        encoder = self.new_encoder(f"{prefix}encoder")
        return encoder, self._head(encoder.output_shape[-1], "projector", prefix)

    def _head(self, size, part, prefix=""):
        widths, norm = (getattr(self.config, n) for n in (part, f"{part}_norm"))
        biases = dict.fromkeys(("hidden_bias", "output_bias"), norm == "none")
        options = {"norm": norm, "precision": self.config.precision, **biases}
        return build_head(size, widths, name=f"{prefix}{part}", **options)

    def _random_keys(self, view):
        config, dtype = self.config, self.model.output["query_1"].dtype
        options = {"dtype": dtype, "seed": config.seed + view}
        return new_queue(config.queue, config.projector[-1], **options)

    def compute_loss(self, outputs):
        """InfoNCE of one direction or both; v3 multiplies by twice the temperature."""
        config = self.config
        ways = ((1, 2),) if config.directions == "one" else ((1, 2), (2, 1))
        losses = []
        for i, j in ways:
            pair = outputs[f"query_{i}"], outputs[f"key_{j}"]
            queue = self.state[f"queue_{j}"].value if config.queue else None
            losses.append(info_nce_loss(*pair, config.temperature, queue=queue))
        loss = tf.add_n(losses) / (len(ways) if config.directions == "mean" else 1)
        return loss if config.queue else 2 * config.temperature * loss

    def after_update(self, step, plan, outputs):
        """Moves the target; the keys of this step take the place of the oldest."""
        for name, queue in self.state.items():
            push(queue, outputs[name.replace("queue", "key")])
        return super().after_update(step, plan, outputs)
