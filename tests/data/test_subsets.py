"""The labelled fractions: balanced, seeded, nested, refused where a class is empty."""

import numpy as np
import pytest

from selfsup_tf.data.parts import labelled_fraction
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.sources.arrays import array_source
from selfsup_tf.errors import InputError

LABELS = np.repeat(np.arange(3), (100, 200, 60))
SOURCE = open_source((np.zeros((360, 4, 4, 3), np.uint8), LABELS))


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5])
def test_every_class_gives_the_same_share(fraction):
    part = labelled_fraction(SOURCE, fraction, seed=0)
    found = np.bincount(part.labels)
    np.testing.assert_array_equal(found, np.array([100, 200, 60]) * fraction)
    np.testing.assert_array_equal(part.labels, LABELS[part.indices])


def test_the_seed_chooses_and_smaller_fractions_are_within_larger_ones():
    tenth = labelled_fraction(SOURCE, 0.1, seed=1)
    again = labelled_fraction(SOURCE, 0.1, seed=1)
    np.testing.assert_array_equal(tenth.indices, again.indices)
    other = labelled_fraction(SOURCE, 0.1, seed=2)
    assert set(tenth.indices) != set(other.indices)
    assert set(tenth.indices) < set(labelled_fraction(SOURCE, 0.3, seed=1).indices)


def test_all_of_it_is_the_source_itself():
    assert labelled_fraction(SOURCE, 1.0, seed=0) is SOURCE


def test_images_without_a_class_are_left_out():
    labels = np.where(np.arange(360) < 10, -1, LABELS)
    images = np.zeros((360, 4, 4, 3), np.uint8)
    source = array_source("x", images, labels=labels, class_names=("a", "b", "c"))
    part = labelled_fraction(source, 1.0, seed=0)
    assert part.size == 350 and part.labels.min() == 0


def test_what_can_not_be_had_is_refused():
    with pytest.raises(InputError, match=r"class 2 has 60 images.*--fraction=0\.017"):
        labelled_fraction(SOURCE, 0.005, seed=0)
    with pytest.raises(InputError, match="labels in"):
        labelled_fraction(open_source(np.zeros((9, 4, 4, 3), np.uint8)), 0.5, seed=0)
    one = open_source((np.zeros((9, 4, 4, 3), np.uint8), np.zeros(9, np.int64)))
    with pytest.raises(InputError, match="two or more classes"):
        labelled_fraction(one, 0.5, seed=0)
