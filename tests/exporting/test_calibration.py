"""An image far from the others takes no precision from them."""

import dataclasses

import keras
import numpy as np
from artefacts import export_tflite, represent, runner

from selfsup_tf.exporting.parity import compare
from selfsup_tf.exporting.proof import Part, Proof
from selfsup_tf.exporting.reference import without_outliers

SIZE = 8


def make_encoder():
    """Its numbers grow with the square of what is red."""
    images = keras.Input((SIZE, SIZE, 3))
    initial = keras.initializers.HeNormal(seed=0)
    h = keras.layers.Conv2D(16, 3, activation="relu", kernel_initializer=initial)(
        images
    )
    h = keras.layers.Multiply()([h, h])
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))


def make_proof(outliers):
    random = np.random.default_rng(0)
    views = random.uniform(0, 0.06, (100, SIZE, SIZE, 3)).astype(np.float32)
    calibration = views[:50].copy()
    calibration[:outliers] *= 16
    return Proof(
        images=[],
        held_out=Part("drawn", views[50:], np.arange(50)),
        calibration=Part("drawn", calibration, np.arange(50)),
    )


def cosine_in_int8(encoder, calibration, views, path):
    export_tflite(encoder, path, precision="int8", calibration_images=calibration)
    received = runner(path)(images=views)["representation"]
    return compare(represent(encoder, views), received)["cosine_mean"]


def test_outliers_are_left_out_and_told(tmp_path):
    encoder, proof = make_encoder(), make_proof(outliers=2)
    proof = without_outliers(encoder, proof)
    every, views = proof.calibration.views, proof.held_out.views
    np.testing.assert_array_equal(proof.typical, every[2:])
    told = proof.to_dict()["choice"]["calibration"]
    assert (told["count"], told["outliers_left_out"]) == (50, 2)
    before, after = (
        cosine_in_int8(encoder, calibration, views, tmp_path / "t.tflite")
        for calibration in (every, proof.typical)
    )
    assert before < 0.9 < 0.99 < after


def test_images_alike_are_all_kept():
    encoder, proof = make_encoder(), make_proof(outliers=0)
    kept = without_outliers(encoder, proof)
    assert len(kept.typical) == 50
    assert kept.to_dict()["choice"]["calibration"]["outliers_left_out"] == 0
    nothing = dataclasses.replace(proof, calibration=None)
    assert without_outliers(encoder, nothing) is nothing
