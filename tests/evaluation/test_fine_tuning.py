"""The fine-tuning protocol: labels counted, judged once, resumed, kept apart."""

import pathlib

import keras
import numpy as np
import pytest

import selfsup_tf as selfsup
from selfsup_tf.errors import InputError


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(3)
    encoder = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(24, 3, strides=2),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    return encoder


def tinted(count, seed):
    """Three classes, each brighter in a channel of its own."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = 90 + 80 * np.eye(3)[labels][:, None, None]
    images = images + random.normal(0, 15, (count, 16, 16, 3))
    images = np.clip(images, 0, 255).astype(np.uint8)
    return selfsup.open_source((images, labels))


OPTIONS = {"fraction": 0.5, "epochs": 20, "batch_size": 16, "learning_rate": 2.0}


@pytest.fixture(scope="module")
def found(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    parts = tinted(90, 1), tinted(60, 2)
    return folder, selfsup.fine_tune(encoder, *parts, directory=folder, **OPTIONS)


def test_it_learns_from_a_fraction_and_is_judged_on_all(found):
    _, result = found
    assert result.num_labels == 45
    assert result.trained.num_test == 60
    assert result.trained.top_1 > 0.8
    assert result.from_scratch is not None


def test_the_number_is_that_of_the_classifier_on_disk(found):
    _, result = found
    classifier = selfsup.load_network(result.run_dir, "classifier")
    test = tinted(60, 2)
    images = np.stack([e["image"] for e in test.ordered().as_numpy_iterator()])
    answers = classifier.predict(images / np.float32(255), verbose=0).argmax(1)
    assert result.trained.top_1 == (answers == test.labels).mean()


def test_the_same_call_trains_nothing_and_other_labels_choose_nothing(found, encoder):
    folder, result = found
    options = {"directory": folder, "from_scratch": False} | OPTIONS
    (before,) = [file.read_text() for file in folder.glob("trained_*/log.jsonl")]
    images = np.stack([e["image"] for e in tinted(60, 2).ordered().as_numpy_iterator()])
    shuffled = np.random.default_rng(0).permutation(tinted(60, 2).labels)
    others = selfsup.open_source((images, shuffled))
    again = selfsup.fine_tune(encoder, tinted(90, 1), others, **options)
    (after,) = [file.read_text() for file in folder.glob("trained_*/log.jsonl")]
    assert after == before
    assert again.run_dir == result.run_dir
    columns = [np.sum(r.trained.confusion, axis=0) for r in (result, again)]
    np.testing.assert_array_equal(*columns)


def test_a_fraction_that_leaves_a_class_empty_is_refused(encoder, tmp_path):
    parts, options = (tinted(90, 1), tinted(60, 2)), {"fraction": 0.001}
    with pytest.raises(InputError, match="--fraction"):
        selfsup.fine_tune(encoder, *parts, directory=tmp_path / "a", **options)
    assert list(tmp_path.iterdir()) == []


def test_other_images_are_another_run(found, encoder, tmp_path):
    _, result = found
    parts = tinted(90, 7), tinted(60, 2)
    options = {"fraction": 0.5, "epochs": 1, "from_scratch": False}
    other = selfsup.fine_tune(encoder, *parts, directory=tmp_path, **options)
    names = [pathlib.Path(one.run_dir).name for one in (result, other)]
    assert names[0].rpartition("_")[2] != names[1].rpartition("_")[2]
