"""The linear probe as a classifier of images: its answers are the probe's."""

import keras
import numpy as np
import pytest
from selfsup_tf.evaluation.linear_classifier import linear_classifier

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import extract_features, weights_hash
from selfsup_tf.evaluation.linear import fit_lbfgs

SIZE = 8


@pytest.fixture(scope="module")
def encoder():
    images = keras.Input((SIZE, SIZE, 3))
    initial = keras.initializers.Orthogonal(seed=2)
    h = keras.layers.Conv2D(8, 3, kernel_initializer=initial)(images)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))


def coloured(count, classes, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    tint = 128 + 40 * np.eye(3)[labels][:, None, None, :]
    pixels = tint + random.normal(0, 25, (count, SIZE, SIZE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("classes", [2, 3])
def test_its_probabilities_are_the_probes(encoder, classes):
    train, test = coloured(200, classes), coloured(60, classes, seed=1)
    before = weights_hash(encoder)
    classifier, names = linear_classifier(encoder, train)
    assert names == tuple(map(str, range(classes)))
    assert weights_hash(encoder) == before
    assert encoder in classifier.layers
    logits = classifier.predict(test[0] / np.float32(255), verbose=0)
    assert logits.shape == (60, classes)
    found = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))
    classify, _ = fit_lbfgs(extract_features(encoder, train), classes)
    expected = classify(extract_features(encoder, test).features)
    # Standardising before or within the kernel: float32 of numbers up to 100.
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (logits.argmax(1) == test[1]).mean() > 0.8


def test_a_class_without_images_is_never_the_answer(encoder):
    images, labels = coloured(200, 3)
    labels = np.where(labels == 1, 3, labels)
    classifier, names = linear_classifier(encoder, (images, labels))
    assert len(names) == 4
    logits = classifier.predict(images / np.float32(255), verbose=0)
    assert set(logits.argmax(1)) == {0, 2, 3}
    assert np.isfinite(logits.astype(np.float16)).all()


def test_images_without_labels_are_refused(encoder):
    with pytest.raises(InputError, match="labelled images"):
        linear_classifier(encoder, coloured(10, 2)[0])
