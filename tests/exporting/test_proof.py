"""The images of a proof: who is drawn for what, and what is shrunk."""

import itertools
import logging

import numpy as np
import pytest
import tensorflow as tf
from artefacts import artefact, coloured, export_saved_model, make_network, python

from selfsup_tf.data.sources import open_source
from selfsup_tf.data.views import evaluation_view
from selfsup_tf.errors import InputError
from selfsup_tf.exporting.format import Networks
from selfsup_tf.exporting.measure import measure
from selfsup_tf.exporting.parity import require_parity
from selfsup_tf.exporting.proof import choose_images
from selfsup_tf.exporting.reference import make_reference


def rows_of(views):
    return {view.tobytes() for view in views}


def views_of(images, size=16):
    return [evaluation_view(tf.constant(image), size).numpy() for image in images]


def choose(images, training=None, *, calibrates=False, **options):
    return choose_images(images, training, size=16, calibrates=calibrates, **options)


def test_the_proof_shares_no_image_with_bank_and_calibration():
    few = open_source("shapes").select(np.arange(100, 400), "shapes:few")
    options = dict(calibrates=True, num_images=1000, num_bank=100, num_calibration=30)
    proof = choose(few, **options)
    parts = [proof.held_out, proof.bank, proof.calibration]
    assert [len(part.views) for part in parts] == [150, 100, 30]  # 150 are a half
    for one, other in itertools.combinations(parts, 2):
        assert not rows_of(one.views) & rows_of(other.views)
    # Of the same source given twice, too.
    twin = open_source("shapes").select(np.arange(100, 400), "shapes:few")
    again = choose(few, twin, **options)
    np.testing.assert_array_equal(again.held_out.views, proof.held_out.views)
    assert again.to_dict() == proof.to_dict()
    # The images are spread over the source, and their labels are theirs.
    where = views_of(example["image"] for example in few.ordered())
    where = {view.tobytes(): n for n, view in enumerate(where)}
    found = [where[view.tobytes()] for view in proof.held_out.views]
    assert min(found) < 20 and max(found) > 280
    np.testing.assert_array_equal(few.labels[found], proof.held_out.labels)


def test_every_held_out_image_is_used_where_training_images_are_given():
    held_out = open_source("shapes", split="test").select(np.arange(40), "few")
    options = dict(training="shapes", calibrates=True, num_bank=60)
    proof = choose(held_out, **options)
    assert len(proof.images) == len(proof.held_out.labels) == 40
    told = proof.to_dict()
    assert told["images"] == {"source": "few", "count": 40}
    assert told["bank"] == {"source": "shapes:train", "count": 60}
    assert told["calibration"] == {"source": "shapes:train", "count": 200}
    assert [len(proof.bank.views), len(proof.calibration.views)] == [60, 200]
    other = choose(held_out, **options, seed=1).to_dict()["choice"]
    assert other["bank"] != told["choice"]["bank"]
    assert other["images"] == told["choice"]["images"]  # all of them, again
    fewer = choose(held_out, "shapes", num_images=9)
    assert len(fewer.images) == 9 and fewer.calibration is None


PIXELS = np.random.default_rng(0).integers(0, 256, (30, 20, 24, 3), np.uint8)
LABELS = np.zeros(10, int)


@pytest.mark.parametrize(
    ("images", "training", "options", "calibration"),
    [
        (PIXELS[:10], PIXELS[10:], {}, 20),
        # One class, and classes that differ.
        ((PIXELS[:10], LABELS), (PIXELS[10:20], LABELS), {}, 10),
        ((PIXELS[:10], LABELS), (PIXELS[10:20], LABELS + np.arange(10) % 3), {}, 10),
        (coloured(20, seed=1), None, {"num_bank": 0, "num_calibration": 6}, 6),
    ],
)
def test_without_labels_there_is_no_bank(images, training, options, calibration):
    proof = choose(images, training, calibrates=True, **options)
    assert proof.held_out.labels is None and proof.bank is None
    assert proof.calibration.views.shape == (calibration, 16, 16, 3)
    assert proof.to_dict()["bank"] is None


def test_what_nothing_else_needs_is_all_of_the_proof():
    assert len(choose(PIXELS).images) == 30
    with pytest.raises(InputError, match="two or more images"):
        choose(PIXELS[:1])


def test_views_are_of_the_images_as_their_source_has_them():
    """As `eval.py` and a server see them; the views of shrunk ones are others."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 150, 200, 3), np.uint8)
    labels = np.arange(6) % 2
    proof = choose((pixels[:3], labels[:3]), (pixels[3:], labels[3:]))
    assert rows_of(proof.held_out.views) == rows_of(views_of(pixels[:3]))
    assert rows_of(proof.bank.views) == rows_of(views_of(pixels[3:]))
    assert rows_of(proof.images) == rows_of(pixels[:3])
    assert proof.to_dict()["num_shrunk"] == 0


@pytest.fixture
def shrunk_proof():
    """Of four photographs, all but one shrunk."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 150, 200, 3), np.uint8)
    return choose(pixels, kept_bytes=pixels[0].nbytes + 1), pixels


def test_photographs_beyond_the_memory_are_shrunk(shrunk_proof):
    proof, pixels = shrunk_proof
    shapes = [image.shape for image in proof.images]
    assert shapes == [(150, 200, 3)] + 3 * [(64, 85, 3)]
    assert proof.to_dict()["num_shrunk"] == 3
    # The views stay those of the originals, and the shrunk have their own beside them.
    views = proof.held_out.views
    assert rows_of(views) == rows_of(views_of(pixels))
    np.testing.assert_array_equal(proof.image_views, views_of(proof.images))
    assert np.abs(proof.image_views[1] - views[1]).max() > 1e-3
    small = np.random.default_rng(0).integers(0, 256, (2, 64, 90, 3), np.uint8)
    proof = choose(small, kept_bytes=0)
    assert rows_of(proof.images) == rows_of(small) and not proof.shrunk


def test_shrunk_photographs_are_compared_with_their_own_answers(shrunk_proof, tmp_path):
    proof, _ = shrunk_proof
    encoder = make_network()
    reference = make_reference(Networks(encoder), proof)
    path = export_saved_model(encoder, tmp_path / "saved_model")
    rows = measure(artefact(path, "saved_model"), reference, proof)
    assert len(rows) == 4
    for row in rows:
        assert row.max_difference < 1e-5
        require_parity(row)


def test_the_encoder_answers_on_the_cpu():
    """Not where it was trained: a GPU rounds to TF32. Here a second CPU is its like."""
    program = """
import types, keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
from selfsup_tf.exporting.format import Networks
from selfsup_tf.exporting.proof import Part, Proof
from selfsup_tf.exporting.reference import make_reference
seen = []
def encoder(views, training):
    seen.append((views + 1).device)
    return tf.reduce_mean(views, (1, 2))
views = np.zeros((2, 8, 8, 3), np.float32)
with tf.device("CPU:1"):
    assert (tf.zeros(1) + 1).device.endswith("CPU:1")
    part = Part("zeros", views, np.arange(2))
    make_reference(Networks(encoder), Proof(images=[], held_out=part))
assert seen and all(name.endswith("CPU:0") for name in seen), seen
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr


def test_a_proof_that_needs_much_memory_says_so(caplog):
    options = dict(num_images=10, num_bank=10)
    with caplog.at_level(logging.WARNING, "selfsup_tf"):
        choose(None, **options)
        assert not caplog.records
        choose(None, **options, large_bytes=60_000)
    assert "20 views of 16 x 16 pixels in memory: 0.0 GB" in caplog.text
