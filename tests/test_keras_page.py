"""docs/keras.md: its programs run as they stand there, one after the other."""

import pathlib
import re

import numpy as np
import pytest

import selfsup_tf as selfsup
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.measures import statistics

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "keras.md"


def test_the_programs_of_the_page_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(program, str(PAGE), "exec"), names)
    assert names["jittered"].shape == (32, 32, 32, 3)
    assert len(names["losses"]) == 10 and np.isfinite(names["losses"]).all()
    fitted = names["history"].history["loss"]
    assert len(fitted) == 2 and np.isfinite(fitted).all() and min(fitted) > 0
    before = [w.numpy() for w in names["encoder"].trainable_variables]
    names["model"].fit(names["images"] / np.float32(255), verbose=0)
    after = [w.numpy() for w in names["encoder"].trainable_variables]
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert names["run"].encoder.output_shape == names["encoder"].output_shape
    share = float(capsys.readouterr().out.split()[0])
    assert 0 <= share <= 1


def test_metrics_are_those_of_an_evaluation():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 30, 5))
    singular = np.linalg.svd(one, compute_uv=False)
    shares = singular / singular.sum() + 1e-7
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert selfsup.metrics.rank_me(one) == pytest.approx(expected, rel=1e-9)
    assert selfsup.metrics.alignment(one, other) == statistics.alignment(one, other)
    assert selfsup.metrics.uniformity(one) == statistics.uniformity(one)
    labels = (one[:, 0] > 0).astype(int)
    found = selfsup.metrics.knn((one, labels), (one, labels), k=1)
    assert found.top_1 == 1 and found.k == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.rank_me(np.full((3, 2), np.nan)), "not finite"),
        (lambda m: m.rank_me(np.ones(3)), "finite vectors"),
        (lambda m: m.alignment(np.ones((3, 2)), np.ones((2, 2))), "of one shape"),
        (lambda m: m.uniformity(np.ones((1, 2))), "two vectors or more"),
        (lambda m: m.knn((np.ones((3, 2)), [0, 1]), (np.ones((3, 2)), [0, 1, 1])),
         "3 labels"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_vectors_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(selfsup.metrics)


def test_completion_knows_every_verb_and_part():
    names = dir(selfsup)
    assert {"train", "knn", "export", "open_teacher", "layers", "metrics"} <= set(names)
    assert all(getattr(selfsup, name) is not None for name in names)
