"""The drawn shapes: what they promise to a first run."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from selfsup_tf.data.sources.shapes import CLASS_NAMES, make_shapes
from selfsup_tf.errors import InputError


@pytest.fixture(scope="module")
def splits():
    return make_shapes("train"), make_shapes("test")


def test_sizes_types_and_balance(splits):
    for (images, labels), size in zip(splits, (8000, 2000), strict=True):
        assert images.shape == (size, 32, 32, 3) and images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert (np.bincount(labels) == size // len(CLASS_NAMES)).all()


def test_an_image_follows_from_split_seed_and_index():
    images, labels = make_shapes("train", size=700)
    again, _ = make_shapes("train", size=530)
    np.testing.assert_array_equal(images[:530], again)
    for other in (make_shapes("test", size=20), make_shapes("train", size=20, seed=1)):
        assert (other[0] != images[:20]).any((1, 2, 3)).all()
        np.testing.assert_array_equal(other[1], labels[:20])


def test_no_image_is_flat_or_comes_twice(splits):
    images = np.concatenate([splits[0][0], splits[1][0]])
    assert images.std((1, 2, 3)).min() > 10
    assert len({image.tobytes() for image in images}) == len(images)


def test_colours_do_not_tell_the_class(splits):
    def histograms(images):
        edges = images // 32 + 8 * np.arange(3)
        counts = [np.bincount(image.ravel(), minlength=24) for image in edges]
        return np.stack(counts).astype(np.float32)

    assert _knn_accuracy(splits, histograms) < 0.2


def test_single_pixels_hardly_tell_the_class(splits):
    accuracy = _knn_accuracy(splits, lambda x: x.reshape(len(x), -1).astype(np.float32))
    assert accuracy < 0.35


def _knn_accuracy(splits, features):
    (x_train, y_train), (x_test, y_test) = splits
    knn = KNeighborsClassifier(20).fit(features(x_train), y_train)
    return knn.score(features(x_test[:1000]), y_test[:1000])


def test_refusals():
    with pytest.raises(InputError, match="Perhaps you meant: train"):
        make_shapes("trian")
    with pytest.raises(InputError, match="size of 1 or more"):
        make_shapes("train", size=0)
