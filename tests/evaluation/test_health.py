"""Judgement without labels: every number literally, and planted cases end to end."""

import dataclasses
import itertools
import json
import math

import keras
import numpy as np
import pytest

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.evaluation.measures import statistics as numbers
from selfsup_tf.evaluation.measures.health import (
    DIMENSIONAL,
    FULL,
    HEALTHY,
    NOTHING_YET,
    health,
    judge,
)
from selfsup_tf.evaluation.protocol import PROTOCOLS
from selfsup_tf.evaluation.running import evaluate
from selfsup_tf.methods import find_method

SIZE = 8


def unit(vector):
    return vector / np.sqrt(sum(x * x for x in vector))


def literal_rank_me(features):
    sigma = np.linalg.svd(features, compute_uv=False)
    shares = [s / sum(sigma) + 1e-7 for s in sigma]
    return math.exp(-sum(p * math.log(p) for p in shares))


def literal_alignment(view_1, view_2):
    pairs = zip(view_1, view_2, strict=True)
    return np.mean([np.linalg.norm(unit(a) - unit(b)) ** 2 for a, b in pairs])


def literal_uniformity(features):
    pairs = itertools.combinations([unit(x) for x in features], 2)
    return math.log(
        np.mean([math.exp(-2 * np.linalg.norm(a - b) ** 2) for a, b in pairs])
    )


def literal_nt_xent(view_1, view_2, temperature):
    """Equation 1 of SimCLR: views 2k - 1 and 2k are partners."""
    views = [unit(v) for pair in zip(view_1, view_2, strict=True) for v in pair]
    losses = []
    for i, view in enumerate(views):
        terms = [math.exp(view @ other / temperature) for other in views]
        partner = i + 1 if i % 2 == 0 else i - 1
        losses.append(-math.log(terms[partner] / (sum(terms) - terms[i])))
    return np.mean(losses)


def literal_principal(features):
    """Eigenvalues of the covariance of the directions, largest first, up to 99 %."""
    covariance = np.cov(np.array([unit(x) for x in features]).T)
    values = sorted(np.linalg.eigvalsh(covariance), reverse=True)
    held = 0.0
    for count, value in enumerate(values, start=1):
        held += value
        if held >= 0.99 * sum(values):
            return count
    raise AssertionError


def drawn(rows, columns, seed=0):
    random = np.random.default_rng(seed)
    scales = np.geomspace(1, 0.05, columns)
    return random.normal(0.5, 1, (3, rows, columns)) * scales


@pytest.mark.parametrize("shape", [(23, 7), (7, 23), (16, 16)])
def test_the_numbers_are_the_papers(shape, monkeypatch):
    """In blocks that do not divide the rows; float64 sums in another order differ."""
    monkeypatch.setattr(numbers, "_BLOCK", 5)
    monkeypatch.setattr(numbers, "CONTRASTED", 6)
    features, one, two = drawn(*shape)
    found = numbers.measure(features, one, two, temperature=0.2)
    expected = {
        "size": shape[1],
        "rank_me": literal_rank_me(features),
        "principal": literal_principal(features),
        "alignment": literal_alignment(one, two),
        "uniformity": literal_uniformity(features),
        "contrastive_loss": literal_nt_xent(one[:6], two[:6], 0.2),
        "chance_loss": math.log(11),
        "contrasted": 6,
    }
    positives = [unit(a) @ unit(b) for a, b in zip(one, two, strict=True)]
    negatives = [
        unit(a) @ unit(b)
        for (i, a), (j, b) in itertools.product(enumerate(one), enumerate(two))
        if i != j
    ]
    expected["positive_cosine"] = np.mean(positives)
    expected["negative_cosine"] = np.mean(negatives)
    columns = np.array([unit(x) for x in features]).T
    deviations = [np.std(column) * math.sqrt(shape[1]) for column in columns]
    expected["spread"] = np.mean(deviations)
    expected["dead"] = 0
    expected["below_chance"] = expected["chance_loss"] - expected["contrastive_loss"]
    assert found.scalars() == pytest.approx(expected, rel=1e-10)
    sigma = np.linalg.svd(features, compute_uv=False)
    np.testing.assert_allclose(found.spectrum, sigma, rtol=1e-10)
    np.testing.assert_allclose(found.deviations, sorted(deviations)[::-1], rtol=1e-10)
    for shares, cosines in (
        (found.positive_shares, positives),
        (found.negative_shares, negatives),
    ):
        counts = np.histogram(cosines, numbers.EDGES)[0]
        np.testing.assert_allclose(shares, counts / len(cosines), rtol=1e-12)


def test_spectra_of_collapsed_features_are_precise_enough():
    """Singular values over nine decades, by a Gram matrix that squares them.

    What is below 1e-8 of the largest is lost, so a share of the sum may be off by
    1e-8, and its term of the entropy by 1e-8 ln(1e8); there are 16.
    """
    random = np.random.default_rng(0)
    left, _ = np.linalg.qr(random.normal(size=(64, 16)))
    right, _ = np.linalg.qr(random.normal(size=(16, 16)))
    features = left * np.geomspace(1, 1e-9, 16) @ right
    expected = literal_rank_me(features)
    assert numbers.rank_me(numbers.singular_values(features)) == pytest.approx(
        expected, rel=16 * 1e-8 * 19
    )


def test_values_that_are_known():
    equal = np.ones((40, 6))
    far = np.concatenate([np.eye(6), -np.eye(6)])
    assert numbers.rank_me(numbers.singular_values(far)) == pytest.approx(6, rel=1e-5)
    assert numbers.rank_me(numbers.singular_values(equal)) == pytest.approx(1, rel=1e-4)
    assert numbers.uniformity(equal) == pytest.approx(0, abs=1e-12)
    assert numbers.alignment(far, -far) == pytest.approx(4)
    loss = numbers.contrastive_loss(equal, equal, temperature=0.1)
    assert loss == pytest.approx(math.log(79)) == numbers.chance_loss(40)
    # Far apart and found again: exp(10) against 10 of exp(0) and one of exp(-10).
    loss = numbers.contrastive_loss(far, far, temperature=0.1)
    assert loss == pytest.approx(math.log(1 + (20 + 2 * math.exp(-10)) / math.exp(10)))


def test_zeros_are_a_collapse_and_no_nan():
    zeros = np.zeros((20, 8), np.float32)
    found = numbers.measure(zeros, zeros, zeros, temperature=0.1)
    assert all(np.isfinite(value) for value in found.scalars().values())
    assert (found.rank_me, found.dead, found.spread) == (0, 8, 0)
    assert judge(found)[0] == FULL


def planted(kind, size, count=200):
    """Representations of images, as float32, and of two views of each."""
    random = np.random.default_rng(1)
    images = random.normal(size=(count, 64))
    constant = np.abs(random.normal(size=size))
    maps = random.normal(size=(64, size)) / 8
    few = random.normal(size=(64, 3)) / 8 @ random.normal(size=(3, size))

    def represent(images):
        lengths = np.exp(images[:, :1])
        noise = random.normal(size=(count, size))
        return {
            "constant": constant + 0 * images[:, :1],
            "nearly constant": constant + 1e-3 * noise,
            "constant but for its length": constant * lengths,
            "rank 3": images @ few,
            "rank 3 and noise": images @ few + 0.01 * noise,
            "rank 3 beside a mean": 5 * constant + images @ few,
            "isotropic": images @ maps,
            # As after a pooled ReLU: half of the squared length is the mean.
            "isotropic beside a mean": constant + images @ maps,
        }[kind].astype(np.float32)

    views = [images + 0.3 * random.normal(size=images.shape) for _ in range(2)]
    return [represent(x) for x in (images, *views)]


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", FULL),
        ("nearly constant", FULL),
        ("constant but for its length", FULL),
        ("rank 3", DIMENSIONAL),
        ("rank 3 and noise", DIMENSIONAL),
        ("rank 3 beside a mean", DIMENSIONAL),
        ("isotropic", HEALTHY),
        ("isotropic beside a mean", HEALTHY),
    ],
)
def test_planted_representations_are_told_apart(kind, expected, size):
    found = numbers.measure(*planted(kind, size), temperature=0.1)
    assert judge(found)[0] == expected


def test_few_images_bound_what_is_expected():
    """Of 16 images no more than 15 directions can differ."""
    parts = [part[:16] for part in planted("isotropic", 128)]
    assert judge(numbers.measure(*parts, temperature=0.1))[0] == HEALTHY
    parts = [part[:16] for part in planted("rank 3", 128)]
    assert judge(numbers.measure(*parts, temperature=0.1))[0] == DIMENSIONAL


def test_a_collapsed_projection_is_told_and_does_not_condemn():
    good = numbers.measure(*planted("isotropic", 64), temperature=0.1)
    for kind, words in (("constant", "fully"), ("rank 3", "to 3 of 64")):
        bad = numbers.measure(*planted(kind, 64), temperature=0.1)
        judged, reasons = judge(good, bad)
        assert judged == HEALTHY
        assert f"has collapsed {words}" in reasons[-1]


def test_a_loss_no_better_than_chance_is_told():
    image, view_1, view_2 = planted("isotropic", 64)
    learned = numbers.measure(image, view_1, view_2, temperature=0.2)
    others = numbers.measure(image, view_1, np.roll(view_2, 1, axis=0), temperature=0.2)
    words = "no lower than the"
    assert not any(words in reason for reason in judge(learned, learned)[1])
    judged, reasons = judge(learned, others)
    assert judged == NOTHING_YET and words in reasons[-1]
    # What has left chance by less than a hundredth has not left it.
    nearly = dataclasses.replace(others, below_chance=0.005 * others.chance_loss)
    judged, reasons = judge(learned, nearly)
    assert judged == NOTHING_YET and "hardly lower than the" in reasons[-1]
    assert judge(learned, None)[0] == judge(learned, learned)[0] == HEALTHY
    # BYOL lowers another loss, and a run of one view none of pairs.
    byol = find_method("byol").recipe("cifar10_cpu")()
    assert judge(learned, others, byol)[0] == HEALTHY
    distilled = find_method("distill").recipe("shapes")()
    assert judge(learned, others, distilled)[0] == HEALTHY


@pytest.mark.parametrize(("epochs", "said"), [(2.0, True), (100.0, False)])
def test_a_collapse_of_a_short_run_may_be_a_beginning(epochs, said):
    config = find_method("simclr").recipe("shapes")(epochs=epochs)
    for kind in ("constant", "rank 3"):
        found = numbers.measure(*planted(kind, 64), temperature=0.1)
        _, reasons = judge(found, None, config)
        assert ("train for longer" in reasons[-1]) == said
    good = numbers.measure(*planted("isotropic", 64), temperature=0.1)
    assert "train for longer" not in judge(good, None, config)[1][-1]


def encoder(kind, size=64):
    """Tiny networks that are healthy, of rank 3, constant or broken."""
    keras.utils.set_random_seed(3)
    pool = SIZE if kind == "rank 3" else 2
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(pool)(images))
    model = keras.Model(images, keras.layers.Dense(size)(x))
    kernel, bias = model.get_weights()
    if kind == "constant":
        kernel, bias = kernel * 1e-5, bias + 1
    if kind == "broken":
        kernel[0, 0] = np.nan
    model.set_weights([kernel, bias])
    return model


def images(count, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


FLIPS = ViewConfig(crop_area=(0.6, 1.0), jitter=0.0, grayscale=0.0, blur=0.0)
CONFIG = Config(image_size=SIZE, views=(FLIPS, FLIPS))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("healthy", HEALTHY), ("rank 3", DIMENSIONAL), ("constant", FULL)],
)
def test_encoders_are_told_apart(kind, expected):
    model = encoder(kind)
    before = weights_hash(model)
    found = health(model, images(70), config=CONFIG, batch_size=32)
    assert found.verdict == expected and found.count == 70
    assert before == weights_hash(model)
    written = json.loads(json.dumps(found.to_dict()))
    assert written["projection"] is None
    assert written["spectrum"]["projection"] is None
    assert len(written["spectrum"]["representation"]) == 64
    assert len(written["deviations"]["representation"]) == 64
    edges, bins = written["histograms"]["edges"], written["histograms"]
    assert (edges[0], edges[-1], len(edges)) == (-1, 1, 41)
    for side in ("positive", "negative"):
        assert sum(bins["representation"][side]) == pytest.approx(1)
    result = evaluate("health", model, images(70))
    judged = result.measured_on["images"]
    assert (judged["name"], judged["size"]) == ("arrays", 70) and judged["fingerprint"]
    said = PROTOCOLS.find("health").text(result, None)
    assert said.startswith(f"{result.verdict}: 70 images of arrays, views SimCLR's")
    (line,) = [line for line in said.splitlines() if line.startswith("RankMe")]
    rank = result.details["trained"]["representation"]["rank_me"]
    assert line.split()[1:] == [f"{rank:.1f}"]


def test_the_numbers_are_those_of_the_networks():
    """Of evaluation views, which up to 32 pixels are the images themselves."""
    model, head = encoder("healthy"), keras.Sequential([keras.Input((64,))])
    head.add(keras.layers.Dense(5))
    x = images(40)
    found = health(model, x, config=CONFIG, projector=head, batch_size=16)
    h = model(x.astype(np.float32) / 255).numpy().astype(np.float64)
    # float32 networks called in batches of other sizes.
    assert found.representation.rank_me == pytest.approx(literal_rank_me(h), rel=1e-4)
    z = head(h.astype(np.float32)).numpy().astype(np.float64)
    assert found.projection.rank_me == pytest.approx(literal_rank_me(z), rel=1e-4)
    assert found.projection.size == 5
    again = health(model, x, config=CONFIG, projector=head, batch_size=7)
    assert again.representation.scalars() == pytest.approx(
        found.representation.scalars(), rel=1e-4
    )
    other = health(model, x, config=CONFIG, seed=1)
    assert other.representation.alignment != found.representation.alignment


def test_the_views_and_the_temperature_are_the_runs(tiny_config):
    """A distillation's temperature softens labels, and its view is drawn twice."""
    model, x = encoder("healthy"), images(30)
    still = ViewConfig(
        crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.0, jitter=0.0,
        grayscale=0.0, blur=0.0,
    )  # fmt: skip
    for name, temperature in (("simclr", 0.35), ("byol", 0.1), ("distill", 0.1)):
        values = {"temperature": temperature} if name == "simclr" else {}
        views = (still,) * (1 if name == "distill" else 2)
        config = tiny_config(name, image_size=SIZE, views=views, **values)
        found = health(model, x, config=config)
        assert found.views == "those of the run"
        assert found.temperature == temperature
        assert found.representation.positive_cosine == pytest.approx(1, abs=1e-6)


def test_what_can_not_be_judged_is_refused():
    with pytest.raises(InputError, match="finite representations of arrays"):
        health(encoder("broken"), images(20), config=CONFIG)
    with pytest.raises(InputError, match=r"16 images or more.*received 15"):
        health(encoder("healthy"), images(15))
    with pytest.raises(InputError, match=r"16 images or more.*count=9"):
        health(encoder("healthy"), images(20), count=9)
    with pytest.raises(InputError, match=r"32 x 32 pixels.*received one of 8 x 8"):
        health(encoder("healthy"), images(20), config=Config(image_size=32))
    head = keras.Sequential([keras.Input((63,)), keras.layers.Dense(2)])
    with pytest.raises(InputError, match="64 numbers; received one of 63"):
        health(encoder("healthy"), images(20), projector=head)


def test_a_projector_at_chance_is_seen_without_a_config():
    """Whose z tells the views of an image no nearer than two images."""
    network = encoder("healthy")
    h = keras.Input((64,))
    collapsed = keras.layers.Dense(8, kernel_initializer="zeros")(h)
    noise = keras.layers.Lambda(
        lambda x: keras.random.normal((keras.ops.shape(x)[0], 8))
    )(h)
    projector = keras.Model(h, collapsed + noise)
    images = np.random.default_rng(0).integers(0, 256, (200, SIZE, SIZE, 3), np.uint8)
    assert health(network, images).verdict == HEALTHY
    assert health(network, images, projector=projector).verdict == NOTHING_YET
