"""Accuracy on spoilt images: against a literal loop, and blind to test labels."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import literal_knn

from selfsup_tf.data import corruptions
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import extract_features, weights_hash
from selfsup_tf.evaluation.measures import robustness as robustness_lib
from selfsup_tf.evaluation.measures.intervals import bootstrap_interval
from selfsup_tf.evaluation.measures.knn import knn
from selfsup_tf.evaluation.measures.linear import linear_probe
from selfsup_tf.evaluation.measures.linear_fit import fit_lbfgs
from selfsup_tf.evaluation.measures.robustness import robustness
from selfsup_tf.evaluation.protocol import PROTOCOLS

KINDS = ("blur", "noise", "jpeg", "brightness")


def striped(count, seed):
    """Faint stripes from left to right, from top to bottom or both, under noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    wave = np.tile([1.0, -1.0], 4)
    patterns = np.stack(
        [
            np.broadcast_to(wave, (8, 8)),
            np.broadcast_to(wave[:, None], (8, 8)),
            wave * wave[:, None],
        ]
    )
    images = 170 + 12 * patterns[labels][..., None]
    images = images + random.normal(0, 40, (count, 8, 8, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


TRAIN, TEST = striped(60, 1), striped(26, 2)


@pytest.fixture(scope="module")
def encoder():
    """Nearly the pixels, behind a BatchNorm whose statistics must stay."""
    images = keras.Input((8, 8, 3))
    h = keras.layers.BatchNormalization()(images - 0.6)
    return keras.Model(images, keras.layers.Flatten()(h))


@pytest.fixture(scope="module")
def literal_h(encoder):
    """Of every test image clean and spoilt, one after the other: (21, N, D)."""
    found = []
    for way in [None, *((kind, n) for kind in KINDS for n in range(1, 6))]:
        row = []
        for index, image in enumerate(TEST[0]):
            x = tf.constant(image[None] / np.float32(255))
            if way is not None:
                indices = tf.constant([index], tf.int64)
                x = corruptions.corrupt(x, *way, indices=indices, seed=4)
            row.append(x[0])
        found.append(encoder(tf.stack(row), training=False).numpy())
    return np.stack(found)


def check_against(result, representations, classify):
    answers = [[classify(h) for h in way] for way in representations]
    hits = np.array(answers) == TEST[1]
    assert result.clean_top_1 == pytest.approx(hits[0].mean())
    for n, kind in enumerate(KINDS):
        expected = hits[1 + 5 * n : 6 + 5 * n].mean(axis=1)
        assert result.top_1[kind] == pytest.approx(tuple(expected))
    np.testing.assert_allclose(result.per_image, hits[1:].mean(axis=0), rtol=1e-12)
    assert result.mean_top_1 == pytest.approx(hits[1:].mean())
    assert result.clean_top_1_interval == bootstrap_interval(hits[0])
    assert result.mean_top_1_interval == pytest.approx(
        bootstrap_interval(hits[1:].mean(axis=0))
    )


def test_knn_equals_the_literal_loop(encoder, literal_h):
    result = robustness(encoder, TRAIN, TEST, k=7, temperature=0.2, seed=4)
    bank = extract_features(encoder, TRAIN)

    def classify(h):
        votes = literal_knn(bank.features, bank.labels, h[None], 7, 0.2, 3)
        return votes.argmax()

    check_against(result, literal_h, classify)
    assert result.clean_top_1 == knn(encoder, TRAIN, TEST, k=7, temperature=0.2).top_1
    assert result.fit == {"k": 7, "temperature": 0.2}
    # The stripes are as narrow as can be: a blur takes them away, light doesn't.
    assert result.clean_top_1 > 0.8
    assert result.top_1["blur"][4] < 0.6
    assert result.top_1["brightness"][0] > 0.6
    assert (result.num_train, result.num_test, result.num_classes) == (60, 26, 3)


def test_linear_is_the_probe_of_clean_images(encoder, literal_h):
    before = weights_hash(encoder)
    result = robustness(encoder, TRAIN, TEST, classifier="linear", seed=4)
    assert weights_hash(encoder) == before
    probe = linear_probe(encoder, TRAIN, TEST, seed=4)
    assert result.clean_top_1 == probe.top_1
    assert result.fit == probe.fit
    classify, _ = fit_lbfgs(extract_features(encoder, TRAIN), 3, seed=4)
    check_against(result, literal_h, lambda h: classify(h[None]).argmax())


@pytest.mark.parametrize("classifier", ["knn", "linear"])
def test_test_labels_choose_nothing(encoder, classifier, monkeypatch):
    seen = []
    predict = robustness_lib.predict_corrupted

    def record(*args, **options):
        seen.append(predict(*args, **options))
        return seen[-1]

    monkeypatch.setattr(robustness_lib, "predict_corrupted", record)
    images, labels = TEST
    options = {"classifier": classifier, "corruptions": ("blur", "brightness")}
    honest = robustness(encoder, TRAIN, TEST, **options)
    # Another number of classes, too: one that the train set lacks can't be answered.
    for planted in (np.random.default_rng(0).permutation(labels), labels + 3):
        result = robustness(encoder, TRAIN, (images, planted), **options)
        np.testing.assert_array_equal(seen[-1], seen[0])
        assert result.fit == honest.fit
        assert result.clean_top_1 == pytest.approx((seen[0][0] == planted).mean())
    assert result.mean_top_1 == result.clean_top_1 == 0


def test_noise_follows_from_the_seed(encoder):
    options = {"corruptions": ("noise",), "k": 7}
    seeds = [robustness(encoder, TRAIN, TEST, seed=n, **options) for n in (0, 0, 1)]
    np.testing.assert_array_equal(seeds[0].per_image, seeds[1].per_image)
    assert (seeds[0].per_image != seeds[2].per_image).any()


def test_the_result_is_plain(encoder):
    kinds = ("jpeg", "blur")
    result = robustness(encoder, TRAIN, TEST, corruptions=kinds)
    rows = PROTOCOLS.find("robustness").rows(result.to_dict())
    shown = {row.title: row.value for row in rows}
    assert list(shown) == ["mean top-1", "clean top-1", "jpeg", "blur"]
    assert shown["mean top-1"] == pytest.approx((shown["jpeg"] + shown["blur"]) / 2)
    written = json.loads(json.dumps(result.to_dict()))
    assert "per_image" not in written
    assert [len(written["top_1"][kind]) for kind in kinds] == [5, 5]
    assert written["strengths"]["jpeg"] == [80, 65, 58, 50, 40]
    # 60 images of 3 classes: no class has the 200 neighbours of the papers.
    assert written["fit"]["k"] == 20


IMAGES, LABELS = TEST


@pytest.mark.parametrize(
    ("train", "test", "options", "words"),
    [
        (TRAIN, IMAGES, {}, "labelled test set.*health, neighbours and map"),
        (TRAIN[0], TEST, {}, "labelled train set"),
        ((IMAGES, np.zeros_like(LABELS)), TEST, {}, "two or more classes"),
        (TRAIN, TEST, {"classifier": "liner"}, "Perhaps you meant: linear"),
        (TRAIN, TEST, {"corruptions": ("blur", "jpg")}, "Perhaps you meant: jpeg"),
        (TRAIN, TEST, {"corruptions": ()}, "each once"),
        (TRAIN, TEST, {"corruptions": ("blur", "blur")}, "each once"),
        (TRAIN, TEST, {"corruptions": ("blur",), "k": 61}, "k of 1 to 60"),
        (TRAIN, TEST, {"classifier": "linear", "k": 5}, "with classifier=knn only"),
        (TRAIN, TEST, {"classifier": "linear", "temperature": 0.1}, "=knn only"),
    ],
)
def test_what_cannot_be_done_is_refused(encoder, train, test, options, words):
    with pytest.raises(InputError, match=words):
        robustness(encoder, train, test, **options)


def test_a_representation_that_spoilt_images_break_is_refused():
    class Fragile(keras.layers.Layer):
        """Finite for images darker than white."""

        def call(self, inputs):
            return tf.math.log(1 - tf.reduce_max(inputs, axis=(1, 2)))

    images = keras.Input((8, 8, 3))
    fragile = keras.Model(images, Fragile()(images))
    dark = [(data[0] // 2, data[1]) for data in (TRAIN, TEST)]
    robustness(fragile, *dark, corruptions=("blur",))
    bright = (np.minimum(TEST[0], 254), TEST[1])
    with pytest.raises(InputError, match="NaN or infinity"):
        robustness(fragile, dark[0], bright, corruptions=("brightness",))
