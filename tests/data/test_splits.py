"""What is a split among names that stand beside each other."""

import pytest

from selfsup_tf.data.splits import find_splits, is_test, judges_of


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train"], {"train": "train"}),
        (["test", "train"], {"train": "train", "test": "test"}),
        (["validation", "test", "train"], {"train", "test", "validation"}),
        (["test", "train", "unlabelled"], {"train", "test", "unlabelled"}),
        (["Dev", "TRAINING"], {"train": "TRAINING", "dev": "Dev"}),
        (["training", "testing"], {"train": "training", "testing": "testing"}),
        (["test", "test2015", "train", "validation"], {"train", "test", "validation"}),
        (["seg_pred", "seg_test", "seg_train"], {"train", "test"}),
        (["extra", "test", "train"], {"train", "test"}),
        (["cat", "test"], {}),
        (["cat", "dev", "test"], {}),
        (["plane", "train"], {}),
        (["strainer", "terrain"], {}),
        (["express_train", "freight_train"], {}),
        (["test", "val"], {}),
        ([], {}),
    ],
)
def test_find_splits(names, expected):
    for ordered in (names, names[::-1]):
        found = find_splits(ordered)
        assert (
            found == expected if isinstance(expected, dict) else set(found) == expected
        )
        assert not found or next(iter(found)) == "train"


def test_the_usual_one_judges():
    found = find_splits(["dev", "valid", "train", "test", "unlabeled"])
    assert judges_of(found) == ("test", "valid", "dev")
    assert is_test("Testing") and is_test("seg_val2")
    assert not is_test("latest") and not is_test("train")
