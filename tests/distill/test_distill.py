"""Distillation: its loss, a teacher that stays, a student that follows, refusals."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from distill_tf.loss import distillation_loss
from selfsup_tf.config import OptimizerConfig
from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method

PACKAGE = find_method("distill")


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
def test_loss_is_the_papers(temperature):
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 6, 5))
    expected = []
    for s, t in zip(student, teacher, strict=True):
        p_teacher = np.exp(t / temperature) / np.exp(t / temperature).sum()
        p_student = np.exp(s / temperature) / np.exp(s / temperature).sum()
        expected.append(-(p_teacher * np.log(p_student)).sum())
    found = distillation_loss(tf.constant(student), tf.constant(teacher), temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_no_gradient_reaches_the_teacher_and_none_is_left_where_they_agree():
    logits = tf.random.stateless_normal([4, 3], [0, 1], dtype=tf.float64)
    teacher = tf.identity(logits)
    with tf.GradientTape() as tape:
        tape.watch([logits, teacher])
        loss = distillation_loss(logits, teacher, 0.5)
    ours, theirs = tape.gradient(loss, [logits, teacher])
    np.testing.assert_allclose(ours, 0, atol=1e-15)
    assert theirs is None


def test_the_student_follows_and_the_teacher_stays(
    tiny_config, tiny_method, few_images, tmp_path
):
    optimizer = OptimizerConfig(name="adam", learning_rate=0.1, warmup_epochs=0.0)
    config = tiny_config(
        "distill",
        temperature=1.0,
        steps=150,
        steps_per_call=50,
        optimizer=optimizer,
    )
    teacher = selfsup.load_network(config.teacher, "classifier")
    method = tiny_method(config)
    # Labels are not read: those given here would be refused by who reads them.
    run = selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
    kept = method.model.get_layer("frozen").network.get_weights()
    for a, b in zip(kept, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    images = few_images[0][:, 8:24, 8:24].astype(np.float32) / 255
    student = selfsup.load_network(run.run_dir, "classifier")

    def gap(logits):
        answers = tf.nn.softmax(logits).numpy()
        return np.abs(answers - tf.nn.softmax(teacher(images)).numpy()).mean()

    assert gap(student(images)) < 0.5 * gap(np.zeros((64, 10), np.float32))


def test_what_can_not_be_distilled_is_refused(tiny_config, few_images, tmp_path):
    config = tiny_config("distill")
    for changes, message in (
        ({"teacher": ""}, "--teacher"),
        ({"teacher": str(tmp_path)}, "Fine-tune one first"),
        ({"image_size": 32}, r"\(N, 32, 32, 3\)"),
    ):
        method = PACKAGE.load()(dataclasses.replace(config, **changes))
        with pytest.raises(InputError, match=message):
            selfsup.train(method, few_images[0], run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="temperature above 0"):
        dataclasses.replace(config, temperature=0.0)
