"""NT-Xent and its gradients on two logical CPUs: PROJECTIONS OUT. Run by test_loss.py.

One process has one set of devices, so this is a process of its own.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from simclr_tf.loss import nt_xent_loss

projections, out = np.load(sys.argv[1]), sys.argv[2]
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
images = projections.shape[1]


def share(values):
    """Half of the images for each replica."""
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(
            np.split(values, 2)[context.replica_id_in_sync_group]
        )
    )


@tf.function
def on_replicas(z_1, z_2, tile):
    """The loss of each image and the gradients, on each replica."""

    def step(z_1, z_2):
        with tf.GradientTape() as tape:
            tape.watch([z_1, z_2])
            loss = nt_xent_loss(z_1, z_2, 0.1, tile=tile)
            mean = tf.reduce_sum(loss) / images
        return loss, *tape.gradient(mean, [z_1, z_2])

    return strategy.run(step, args=(z_1, z_2))


received = {}
# 5 does not divide the 24 candidates, and the second half starts within a tile.
for form, tile in (("whole", None), ("tiles", 5)):
    results = on_replicas(share(projections[0]), share(projections[1]), tile)
    for name, result in zip(("loss", "dz_1", "dz_2"), results, strict=True):
        parts = strategy.experimental_local_results(result)
        received[f"{form}_{name}"] = np.concatenate(parts)
np.savez(out, **received)
