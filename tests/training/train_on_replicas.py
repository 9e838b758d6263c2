"""Five steps in float64 on N logical CPUs: METHOD N OUT. Run by test_contract.py.

One process has one set of devices, so each N is a process of its own.
"""

import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import conftest
import numpy as np
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf.config import OptimizerConfig
from selfsup_tf.data.shapes import make_shapes

method_name, replicas, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * replicas,
)
config = conftest.make_tiny_config(
    method_name,
    precision="float64",
    strategy="mirrored" if replicas > 1 else "one_device",
    steps=5,
    steps_per_call=1,
    optimizer=OptimizerConfig(
        name="lars", learning_rate=1.0, warmup_epochs=0.0, weight_decay=1e-2
    ),
)
images, labels = make_shapes("train")
data = images[:64], labels[:64]  # read by the methods that learn from labels alone
with tempfile.TemporaryDirectory() as folder:
    method = conftest.make_tiny_method(config)
    run = selfsup.train(method, data, run_dir=folder, progress=False)
losses = [r["train/loss"] for r in run.log if "train/loss" in r]
# The log holds float32; the weights carry the proof.
weights = {f"w{i}": v.numpy() for i, v in enumerate(method.model.variables)}
np.savez(out, losses=np.array(losses, np.float32), **weights)
