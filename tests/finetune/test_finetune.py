"""Fine-tuning: where it starts, what learns, what is judged, what is refused."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from finetune_tf.loss import label_loss
from selfsup_tf.config import EncoderConfig, OptimizerConfig, ViewConfig
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.evaluation.run_images import (
    may_be_the_same,
    may_have_learned,
    may_have_learned_test,
)
from selfsup_tf.methods import find_method

PACKAGE = find_method("finetune")


@pytest.fixture(scope="module")
def pretrained(tiny_config, tiny_method, few_images, tmp_path_factory):
    """A run of SimCLR with a head of three layers."""
    run_dir = tmp_path_factory.mktemp("pretrained") / "run"
    config = tiny_config("simclr", projector=(12, 10, 8))
    method = tiny_method(config)
    selfsup.train(method, few_images[0], run_dir=run_dir, progress=False)
    return run_dir


@pytest.fixture
def finetune(tiny_config, few_images, tmp_path):
    """Runs fine-tuning on the few images and returns method and run."""

    def run(pretrained, **overrides):
        config = tiny_config(
            "finetune",
            pretrained=str(pretrained),
            **{"encoder": EncoderConfig(name="pretrained"), **overrides},
        )
        method = PACKAGE.load()(config)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        done = selfsup.train(method, few_images, run_dir=folder, progress=False)
        return method, done

    return run


def test_loss_is_the_cross_entropy():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    expected = [
        np.log(np.exp(row).sum()) - row[label]
        for row, label in zip(logits, labels, strict=True)
    ]
    found = label_loss(tf.constant(logits), tf.constant(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    half = label_loss(tf.constant(200 * logits, tf.float16), tf.constant(labels))
    assert half.dtype == tf.float32 and np.isfinite(half).all()


@pytest.mark.parametrize(("layer", "width"), [(0, 16), (1, 12), (2, 10), (3, 8)])
def test_any_layer_of_the_head_can_stay(
    pretrained, few_images, layer, width, tiny_config
):
    """Before a step the logits see what the run's own networks make of an image."""
    config = tiny_config(
        "finetune",
        pretrained=str(pretrained),
        encoder=EncoderConfig(name="pretrained"),
        head_layer=layer,
    )
    method = PACKAGE.load()(config)
    method.prepare(open_source(few_images))
    method.build()
    kernel = np.random.default_rng(0).normal(size=(width, 10)).astype(np.float32)
    method.logits.set_weights([kernel, np.zeros(10)])
    images = few_images[0][:4, :16, :16].astype(np.float32) / 255
    features = selfsup.load_network(pretrained)(images)
    if layer:
        head = selfsup.load_network(pretrained, "projector")
        ends = {1: "relu1", 2: "relu2", 3: "output"}
        features = keras.Model(head.input, head.get_layer(ends[layer]).output)(features)
    # float32 sums of up to 16 terms, in another order.
    np.testing.assert_allclose(
        method.networks["classifier"](images), features @ kernel, rtol=1e-5, atol=1e-5
    )


def test_everything_learns_and_the_logits_start_at_zero(pretrained, finetune):
    method, run = finetune(pretrained, head_layer=1, steps=4)
    first = next(r for r in run.log if "train/loss" in r)
    before = selfsup.load_network(pretrained)
    assert weights_hash(run.encoder) != weights_hash(before)
    assert len(method.trainable_variables) == len(method.model.trainable_variables)
    assert np.abs(method.logits.get_weights()[0]).max() > 0
    # Two steps; the first with a loss of ln 10 exactly.
    assert first["train/loss"] == pytest.approx(np.log(10), rel=0.2)


def test_a_frozen_trunk_stays_as_it_was(pretrained, finetune):
    _, run = finetune(pretrained, frozen=True, head_layer=1, steps=4)
    before = selfsup.load_network(pretrained)
    for a, b in zip(run.encoder.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    neither = run.log[0]["variables"]["neither decayed nor adapted"]
    assert neither == ["logits/dense/bias"]
    # What was frozen in this run is free to learn in the next.
    assert len(run.encoder.trainable_variables) == len(before.trainable_variables)


def test_from_scratch_is_the_same_network_afresh(pretrained, few_images, tiny_config):
    config = tiny_config(
        "finetune",
        pretrained=str(pretrained),
        encoder=EncoderConfig(name="pretrained"),
        head_layer=1,
    )
    builds = []
    for scratch in (True, False):
        method = PACKAGE.load()(dataclasses.replace(config, from_scratch=scratch))
        method.prepare(open_source(few_images))
        method.build()
        builds.append(method)
    shapes = [[v.shape for v in method.model.variables] for method in builds]
    assert shapes[0] == shapes[1]
    fresh, trained = (method.encoder.get_weights() for method in builds)
    assert any((a != b).any() for a, b in zip(fresh, trained, strict=True))
    norms = [w for w in builds[0].encoder.variables if w.name == "moving_variance"]
    assert norms and all((w.numpy() == 1).all() for w in norms)


def test_lars_does_not_adapt_the_logits(pretrained, finetune):
    optimizer = OptimizerConfig(name="lars", warmup_epochs=0.0, weight_decay=1e-4)
    _, run = finetune(pretrained, optimizer=optimizer, steps=1)
    variables = run.log[0]["variables"]
    assert variables["decayed"] == ["logits/dense/kernel"]
    assert "logits/dense/bias" in variables["neither decayed nor adapted"]
    assert "logits/dense/kernel" not in variables["decayed and adapted"]


def test_the_classifier_is_judged_on_images_it_has_not_seen(
    pretrained, finetune, few_images, tmp_path
):
    _, run = finetune(pretrained, fraction=0.5, batch_size=8, steps=6)
    assert json.loads((run.run_dir / "class_names.json").read_text()) == [
        str(number) for number in range(10)
    ]
    classifier = selfsup.load_network(run.run_dir, "classifier")
    images, labels = few_images
    result = selfsup.classifier_accuracy(classifier, (images, labels))
    from selfsup_tf.data.pipeline import evaluation_dataset

    batch = next(
        iter(evaluation_dataset(open_source(few_images), size=16, batch_size=64))
    )
    expected = (np.argmax(classifier(batch["image"]), axis=1) == labels).mean()
    assert result.top_1 == pytest.approx(expected)
    names = selfsup.load_class_names(run.run_dir)
    with pytest.raises(InputError, match="classes that the classifier tells apart"):
        few = (images[:20], labels[:20] % 3)
        selfsup.classifier_accuracy(classifier, few, class_names=names)
    with pytest.raises(InputError, match="images without labels"):
        selfsup.classifier_accuracy(classifier, images)


def test_a_folder_without_a_test_split_judges_no_classifier(tmp_path, few_images):
    for label in (0, 1):
        folder = tmp_path / "photos" / str(label)
        folder.mkdir(parents=True)
        for number in range(4):
            path = folder / f"{number}.png"
            path.write_bytes(tf.io.encode_png(few_images[0][number]).numpy())
    with pytest.raises(InputError, match="a test split"):
        selfsup.open_test(tmp_path / "photos", learned=True)
    assert selfsup.open_test(tmp_path / "photos", learned=False).size == 8


@pytest.mark.parametrize(
    ("own", "judged", "holds"),
    [
        ("cifar10", "cifar10", True),
        ("photos", "photos", True),
        ("photos", "photos/train", True),
        ("photos/train", "photos", True),
        ("photos", "photos/test", False),
        ("photos/train", "photos/test", False),
        ("photos", "others", False),
    ],
)
def test_images_that_were_learned_from_judge_nothing(own, judged, holds):
    assert may_have_learned(own, judged) == holds


def test_images_that_have_moved_are_still_those_that_were_learned_from(tmp_path):
    now, then = (str(tmp_path / age / "photos") for age in ("new", "old"))
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            path = pathlib.Path(now) / part / label / "1.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
    assert may_have_learned(then, now) and may_be_the_same(then, now)
    assert may_have_learned(then, f"{now}/train")
    assert not may_have_learned(then, f"{now}/test")
    assert not may_have_learned_test(then, "train", now)
    assert may_have_learned_test(then, "test", now)
    assert not may_have_learned("/gone/others/train", f"{now}/train")
    assert not may_be_the_same(f"{then}.2023", f"{now}.2024")
    # A TFDS name lies nowhere and has not moved.
    assert not may_be_the_same("cifar10", str(tmp_path / "cifar10"))


@pytest.mark.parametrize(
    ("own", "split", "judged", "holds"),
    [
        ("cifar10", "train", "cifar10", False),
        ("cifar10", "train[:50%]", "cifar10", False),
        ("cifar10", "train+test", "cifar10", True),
        ("glue_images", "train+dev", "glue_images", True),
        ("svhn", "Testing[:9]", "svhn", True),
        ("imagenette", "validation[10%:]", "imagenette", True),
        ("photos", "test", "photos", True),
        ("photos", "val", "others", False),
        ("photos/test", "train", "photos", True),
        ("photos/train", "train", "photos", False),
    ],
)
def test_a_run_on_a_test_split_is_not_judged_by_it(own, split, judged, holds):
    assert may_have_learned_test(own, split, judged) == holds


@pytest.mark.parametrize("names", [("Training", "valid"), ("a_train", "a_test")])
def test_the_guards_know_the_splits_that_are_opened(tmp_path, names):
    train, test = (str(tmp_path / name) for name in names)
    for folder in (train, test):
        for label in ("cat", "dog"):
            path = tmp_path / folder / label / "1.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
    own, word = str(tmp_path), names[1].removeprefix("a_")
    assert may_have_learned(own, train) and not may_have_learned(own, test)
    assert may_have_learned(own, test, word) and not may_have_learned(own, train, word)
    assert not may_have_learned(train, test) and may_have_learned(test, own)
    assert not may_have_learned_test(own, "train", own)
    assert not may_have_learned_test(train, "train", own)
    assert may_have_learned_test(own, word, own)
    assert may_have_learned_test(test, "train", own)


def test_a_class_called_test_has_been_learned_from(tmp_path):
    for label in ("cat", "test"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(b"")
    assert may_have_learned(str(tmp_path), str(tmp_path / "test"))


def test_a_run_is_fine_tuned_at_another_size_and_up_to_a_layer(pretrained, finetune):
    """Any encoder that exists can be, by the names of docs/encoders.md."""
    _, run = finetune(pretrained, image_size=32, steps=2)
    assert run.encoder.input_shape == (None, 32, 32, 3)
    layer = selfsup.load_network(pretrained).layers[-1].name
    method, _ = finetune(f"{pretrained}/encoder.keras#{layer}", steps=2)
    assert method.origins["pretrained"]["name"].endswith(f"encoder.keras#{layer}@16")


def test_what_can_not_be_fine_tuned_is_refused(
    pretrained, finetune, few_images, tiny_config, tmp_path
):
    with pytest.raises(InputError, match="layer of the projection head, 0 to 3"):
        finetune(pretrained, head_layer=4)
    (tmp_path / "bare").mkdir()
    selfsup.load_network(pretrained).save(tmp_path / "bare" / "encoder.keras")
    with pytest.raises(InputError, match="brings no projection head"):
        finetune(tmp_path / "bare", head_layer=1)
    with pytest.raises(InputError, match="an encoder that exists"):
        finetune(tmp_path / "nowhere")
    config = tiny_config("finetune")
    with pytest.raises(InputError, match="labels in"):
        method = PACKAGE.load()(config)
        selfsup.train(method, few_images[0], run_dir=tmp_path / "x", progress=False)
    assert not (tmp_path / "x").exists()


def test_a_config_that_contradicts_itself_is_refused(tiny_config):
    config = tiny_config("finetune")
    for changes, message in (
        ({"pretrained": "runs/a"}, "either --pretrained"),
        ({"views": (ViewConfig(), ViewConfig())}, "1 view of each image"),
        ({"head_layer": 1}, "Name a run"),
        ({"from_scratch": True}, "from_scratch alone"),
        ({"fraction": 0.0}, "fraction within"),
        ({"head_layer": -1}, "head_layer of 0 or more"),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(config, **changes)
