"""The same run on 1, 2 and 4 replicas of a process, and on 2 worker processes."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from dummy_methods import NAMES, write_methods

from selfsup_tf.methods import find_method, list_methods

METHODS = [name for name in list_methods() if name not in NAMES]
# Of four, too, all that learn from several views, of which BYOL is resumed there.
FOUR = [name for name in METHODS if find_method(name).config_class.num_views != 1]
FOUR.remove("byol")
SCRIPT = pathlib.Path(__file__).parent / "train_on_devices.py"


VECTORS = {
    "regression": {"loss": "regression", "teacher_sees": "view"},
    "relational": {"loss": "relational", "teacher_sees": "image", "queue": 24},
}
"""What distillation can learn beside a classifier's answers."""


def finish(*processes):
    """Waits for them and shows what went wrong."""
    for process in processes:
        _, errors = process.communicate(timeout=1500)
        assert process.returncode == 0, errors[-3000:]


@pytest.fixture(scope="module")
def results(tmp_path_factory, start_python, free_addresses):
    """What each topology has left, by its name and the task's."""

    def start(replicas, out, tasks, **options):
        out.mkdir(exist_ok=True)
        words = [SCRIPT, replicas, out, json.dumps(tasks)]
        return start_python(*words, stdout=subprocess.DEVNULL, **options)

    folder = tmp_path_factory.mktemp("topologies")
    # What saves memory, all of it, and what is divided among the parts of a step.
    sgd = {"name": "sgd", "weight_decay": 1e-2, "clip_norm": 0.5, "warmup_epochs": 0.0}
    frugal = {"accumulate": 2, "remat": True, "augment_on": "device", "optimizer": sgd}
    saving = {"name": "frugal", "method": "simclr", "config": frugal}
    # Of a user's own, with state, in micro-batches: a queue, and views of two sizes.
    write_methods(folder / "own")
    wide = {"image_size": 32, "accumulate": 2, "steps": 3}
    runs = [{"name": name, "method": name} for name in METHODS if name != "byol"]
    runs += [{"name": name, "method": name, "config": wide} for name in NAMES]
    # Others met a loss of NaN at step 61.
    seventy = {"steps": 70, "steps_per_call": 10}
    seventy |= {"checkpoint_epochs": 100.0, "knn_epochs": 100.0}
    runs += [{"name": "long", "method": "byol", "config": seventy}]
    short = {"queue": 24, "directions": "one", "predictor": [], "accumulate": 2}
    queued = {"projector_norm": "none", **short}
    runs += [{"name": "moco_v2", "method": "moco", "config": queued}]
    # Small crops, micro-batches, and all that DINO does at the beginning of a run.
    plain = {"jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
    crops = {
        "views": [{"count": 2, **plain}, {"size": 12, "count": 2, **plain}],
        "projector_norm": "hidden",
        "learn_lengths": True,
        "frozen_epochs": 0.25,
        "target_temperature_start": 0.02,
        "target_temperature_epochs": 2,
        "accumulate": 2,
        "optimizer": {**sgd, "clip_each": True},
    }
    runs += [{"name": "dino_crops", "method": "dino", "config": crops}]
    runs += [saving, {"name": "float32", "method": "simclr"}]
    runs += [
        {"name": name, "method": "distill", "config": VECTORS[name]} for name in VECTORS
    ]
    # Checkpoints at every step, a power cut at the third; then the rest elsewhere.
    stopped = {"checkpoint_epochs": 0.25, "knn_epochs": 0.75, "steps": 6}
    byol = {"name": "byol", "method": "byol", "config": stopped}
    cut = {**byol, "run_dir": str(folder / "cut"), "stop": True}

    def resumed(topology):
        run_dir = shutil.copytree(folder / "cut", folder / f"resumed on {topology}")
        return {**byol, "name": "resumed", "run_dir": str(run_dir)}

    path = os.pathsep.join([str(SCRIPT.parents[2]), str(folder / "own")])
    plugins = {"PYTHONPATH": path}
    finish(start(2, folder / "2 replicas", [*runs, cut], env=plugins))
    alone = [*runs, byol, resumed("1 replica")]
    one = start(1, folder / "1 replica", alone, env=plugins)
    four = [{"name": name, "method": name} for name in FOUR]
    four.append(resumed("4 replicas"))
    finish(one, start(4, folder / "4 replicas", four))
    cluster, both = free_addresses(2), [saving, resumed("2 workers")]
    finish(
        *(
            start(1, folder / "2 workers", both, cluster=cluster, worker=i)
            for i in (0, 1)
        )
    )
    return lambda topology, task: np.load(folder / topology / f"{task}.npz")


def assert_same(found, expected, losses):
    """Losses as close as said, spreads and weights."""
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=losses)
    for key in expected.files:
        # float64 sums in another order, carried through five updates. A weight that
        # only noise moves, such as a bias before a norm, is as good as zero.
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "topology"),
    [
        *(
            (name, "2 replicas")
            for name in (*METHODS, *NAMES, *VECTORS)
            if name != "byol"
        ),
        *(("frugal", topology) for topology in ("2 replicas", "2 workers")),
        *((name, "2 replicas") for name in ("moco_v2", "dino_crops")),
        *((name, "4 replicas") for name in FOUR),
    ],
)
def test_every_topology_makes_the_same_run(name, topology, results):
    found, expected = results(topology, name), results("1 replica", name)
    steps = len(expected["losses"])
    assert steps == (2 if name in NAMES else 3)  # three or five in calls of two
    assert_same(found, expected, losses=1e-12)


@pytest.mark.parametrize("topology", ["1 replica", "4 replicas", "2 workers"])
def test_a_run_of_two_replicas_resumes_on_other_devices(topology, results):
    """BYOL, whose first three steps 2 replicas took, is that of 1 from end to end."""
    found, expected = results(topology, "resumed"), results("1 replica", "byol")
    assert len(expected["losses"]) == 6
    assert_same(found, expected, losses=1e-9)


def test_seventy_steps_of_two_replicas_are_those_of_one(results):
    found, expected = results("2 replicas", "long"), results("1 replica", "long")
    assert len(expected["losses"]) == 7 and np.isfinite(expected["losses"]).all()
    assert_same(found, expected, losses=1e-9)


def test_float32_differs_by_no_more_than_the_order_of_the_batch(results):
    one, two = results("1 replica", "float32"), results("2 replicas", "float32")

    def distance(gradient):
        return np.linalg.norm(gradient - one["gradient0"])

    # The same images in another order on one device: nothing but rounding changes.
    noise = max(distance(one[f"gradient{i}"]) for i in range(1, 6))
    assert 0 < noise < 1e-3 * np.linalg.norm(one["gradient0"])
    assert distance(two["gradient0"]) <= 3 * noise
    assert two["loss0"] == pytest.approx(one["loss0"], rel=1e-6)
