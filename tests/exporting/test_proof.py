"""The images of a proof: who is drawn for what, and what is shrunk."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from artefacts import artefact, coloured, export_saved_model, make_network

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


def test_the_proof_shares_no_image_with_bank_and_calibration():
    few = open_source("shapes").select(np.arange(100, 400), "shapes:few")
    options = dict(size=32, calibrates=True, num_images=1000, num_bank=100)
    proof = choose_images(few, **options, num_calibration=30)
    assert len(proof.views) == 150  # a half
    assert (len(proof.bank_views), len(proof.calibration)) == (100, 30)
    assert not rows_of(proof.views) & rows_of(proof.bank_views)
    assert not rows_of(proof.views) & rows_of(proof.calibration)
    assert not rows_of(proof.bank_views) & rows_of(proof.calibration)
    # Of the same source given twice, too.
    twin = open_source("shapes").select(np.arange(100, 400), "shapes:few")
    again = choose_images(few, twin, **options, num_calibration=30)
    np.testing.assert_array_equal(again.views, proof.views)
    assert again.choice == proof.choice
    # The images are spread over the source, and their labels are theirs.
    source_views = evaluation_view(
        tf.stack([e["image"] for e in few.ordered()]), 32
    ).numpy()
    where = {view.tobytes(): n for n, view in enumerate(source_views)}
    found = [where[view.tobytes()] for view in proof.views]
    assert min(found) < 20 and max(found) > 280
    np.testing.assert_array_equal(few.labels[found], proof.labels)


def test_every_held_out_image_is_used_where_training_images_are_given():
    held_out = open_source("shapes", split="test").select(np.arange(40), "few")
    proof = choose_images(held_out, "shapes", size=16, calibrates=True, num_bank=60)
    assert len(proof.images) == len(proof.views) == len(proof.labels) == 40
    assert (len(proof.bank_views), len(proof.calibration)) == (60, 200)
    assert (proof.source, proof.bank_source) == ("few", "shapes:train")
    assert proof.to_dict()["calibration"] == {"source": "shapes:train", "count": 200}
    other = choose_images(
        held_out, "shapes", size=16, calibrates=True, num_bank=60, seed=1
    )
    assert other.choice["bank"] != proof.choice["bank"]
    assert other.choice["images"] == proof.choice["images"]  # all of them, again
    fewer = choose_images(held_out, "shapes", size=16, calibrates=False, num_images=9)
    assert len(fewer.views) == 9 and fewer.calibration is None


def test_without_labels_there_is_no_bank():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (30, 20, 24, 3), np.uint8)
    proof = choose_images(pixels[:10], pixels[10:], size=16, calibrates=True)
    assert proof.labels is None and proof.bank_views is None
    assert proof.calibration.shape == (20, 16, 16, 3)
    assert proof.to_dict()["bank"] is None
    alone = choose_images(pixels, size=16, calibrates=False)
    assert len(alone.views) == 30
    labels = np.zeros(10, int)
    one_class = choose_images(
        (pixels[:10], labels), (pixels[10:20], labels), size=16, calibrates=False
    )
    assert one_class.labels is None and one_class.bank_views is None
    two = choose_images(
        (pixels[:10], labels), (pixels[10:20], labels + np.arange(10) % 3),
        size=16, calibrates=False,
    )  # fmt: skip
    assert two.labels is None  # the classes differ
    none = choose_images(
        coloured(20, seed=1), size=16, calibrates=True, num_bank=0, num_calibration=6
    )
    assert none.labels is None and none.calibration.shape == (6, 16, 16, 3)
    with pytest.raises(InputError, match="two or more images"):
        choose_images(pixels[:1], size=16, calibrates=False)


def test_views_are_of_the_images_as_their_source_has_them():
    """As `eval.py` and a server see them; the views of shrunk ones are others."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 150, 200, 3), np.uint8)
    labels = np.arange(6) % 2
    proof = choose_images(
        (pixels[:3], labels[:3]), (pixels[3:], labels[3:]), size=16, calibrates=False
    )
    for views, of in (
        (proof.views, pixels[:3]),
        (proof.bank_views, pixels[3:]),
    ):
        assert rows_of(views) == rows_of(
            np.stack([evaluation_view(tf.constant(image), 16) for image in of])
        )
    assert rows_of(proof.images) == rows_of(pixels[:3])
    assert proof.image_views is None and proof.num_shrunk == 0
    assert proof.to_dict()["num_shrunk"] == 0


@pytest.fixture
def shrunk_proof():
    """Of four photographs, all but one shrunk."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 150, 200, 3), np.uint8)
    options = dict(size=16, calibrates=False, kept_bytes=pixels[0].nbytes + 1)
    return choose_images(pixels, **options), pixels


def test_photographs_beyond_the_memory_are_shrunk(shrunk_proof):
    proof, pixels = shrunk_proof
    shapes = [image.shape for image in proof.images]
    assert shapes == [(150, 200, 3)] + 3 * [(64, 85, 3)]
    assert proof.num_shrunk == proof.to_dict()["num_shrunk"] == 3
    # The views stay those of the originals, and the shrunk have their own beside them.
    assert rows_of(proof.views) == rows_of(
        np.stack([evaluation_view(tf.constant(image), 16) for image in pixels])
    )
    own = [evaluation_view(tf.constant(image), 16) for image in proof.images]
    np.testing.assert_array_equal(proof.image_views, own)
    assert np.abs(proof.image_views[1] - proof.views[1]).max() > 1e-3
    small = np.random.default_rng(0).integers(0, 256, (2, 64, 90, 3), np.uint8)
    proof = choose_images(small, size=16, calibrates=False, kept_bytes=0)
    assert rows_of(proof.images) == rows_of(small) and proof.image_views is None


def test_shrunk_photographs_are_compared_with_their_own_answers(shrunk_proof, tmp_path):
    proof, _ = shrunk_proof
    encoder, classifier = make_network(classes=10)
    names = tuple("abcdefghij")
    reference = make_reference(Networks(encoder, classifier, names), proof)
    path = export_saved_model(
        encoder, tmp_path / "saved_model", classifier=classifier, class_names=names
    )
    rows = measure(artefact(path, "saved_model", class_names=names), reference, proof)
    assert len(rows) == 6
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
from selfsup_tf.exporting.proof import Proof
from selfsup_tf.exporting.reference import make_reference
seen = []
def encoder(views, training):
    seen.append((views + 1).device)
    return tf.reduce_mean(views, (1, 2))
views = np.zeros((2, 8, 8, 3), np.float32)
with tf.device("CPU:1"):
    assert (tf.zeros(1) + 1).device.endswith("CPU:1")
    make_reference(Networks(encoder), Proof(images=[], views=views, source="zeros"))
assert seen and all(name.endswith("CPU:0") for name in seen), seen
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_a_proof_that_needs_much_memory_says_so(caplog):
    options = dict(size=16, calibrates=False, num_images=10, num_bank=10)
    with caplog.at_level(logging.WARNING, "selfsup_tf"):
        choose_images(None, **options)
        assert not caplog.records
        choose_images(None, **options, large_bytes=60_000)
    assert "20 views of 16 x 16 pixels in memory: 0.0 GB" in caplog.text
