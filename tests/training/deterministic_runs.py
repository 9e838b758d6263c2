"""Trains twice in a process of its own, once interrupted: METHOD:PRECISION[:CONFIG] ...

CONFIG is JSON, further fields of the config. Prints for each word the first step whose
loss differs, or 0, and whether all weights are the same. Run by test_determinism.py:
TensorFlow can't take determinism back.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import conftest

from selfsup_tf.data.sources import open_source
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.training import loop


def main(name, precision, more="{}"):
    """Prints the line of one word."""
    config = conftest.make_tiny_config(
        name,
        precision=precision,
        deterministic=True,
        batch_size=64,
        steps=16,
        steps_per_call=1,
        checkpoint_epochs=0.5,
        knn_epochs=0.75,
        **json.loads(more),
    )
    source = open_source(make_shapes("train", size=1024)[0])

    def train(run_dir, monitor):
        method = conftest.make_tiny_method(config)
        run = loop.train(
            method, source, run_dir=run_dir, monitor=monitor, progress=False
        )
        assert not any("train/data_wait" in record for record in run.log)  # a clock
        variables = [*method.model.variables, *method.state.values()]
        weights = [variable.numpy().tobytes() for variable in variables]
        return [r["train/loss"] for r in run.log if "train/loss" in r], weights

    def power_cut(networks):
        raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as work:
        try:
            train(f"{work}/cut", power_cut)
        except KeyboardInterrupt:
            losses, weights = train(f"{work}/cut", lambda networks: {})
        expected, whole = train(f"{work}/whole", lambda networks: {})
    pairs = zip(losses, expected, strict=True)
    differing = [n for n, (a, b) in enumerate(pairs, 1) if a != b]
    print(next(iter(differing), 0), weights == whole)


if __name__ == "__main__":
    for word in sys.argv[1:]:
        main(*word.split(":", 2))
