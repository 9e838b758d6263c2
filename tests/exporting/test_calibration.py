"""An image far from the others takes no precision from them."""

import dataclasses

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from artefacts import export_tflite

from selfsup_tf.exporting.parity import compare
from selfsup_tf.exporting.proof import Proof
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
        views=views[50:],
        source="drawn",
        calibration=calibration,
        choice={"seed": 0, "calibration": {"count": 50}},
    )


def cosine_in_int8(encoder, proof, path):
    export_tflite(encoder, path, precision="int8", calibration_images=proof.calibration)
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    expected = encoder(proof.views, training=False).numpy()
    return compare(expected, runner(images=proof.views)["representation"])[
        "cosine_mean"
    ]


def test_outliers_are_left_out_and_told(tmp_path):
    encoder, proof = make_encoder(), make_proof(outliers=2)
    mended = without_outliers(encoder, proof)
    np.testing.assert_array_equal(mended.calibration, proof.calibration[2:])
    assert mended.choice["calibration"] == {"count": 50, "outliers_left_out": 2}
    assert mended.choice["seed"] == 0
    before, after = (
        cosine_in_int8(encoder, p, tmp_path / "t.tflite") for p in (proof, mended)
    )
    assert before < 0.9 < 0.99 < after


def test_images_alike_are_all_kept():
    encoder, proof = make_encoder(), make_proof(outliers=0)
    kept = without_outliers(encoder, proof)
    assert len(kept.calibration) == 50
    assert kept.choice["calibration"]["outliers_left_out"] == 0
    nothing = dataclasses.replace(proof, calibration=None)
    assert without_outliers(encoder, nothing) is nothing
