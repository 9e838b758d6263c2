"""A few labels of a folder that has no test split: the batch fits, the rest judges."""

import keras
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf import cli
from selfsup_tf.config import EncoderConfig
from selfsup_tf.data.parts import labelled_fraction
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.results import read_results
from selfsup_tf.methods import find_method


@pytest.fixture(scope="module")
def photos(few_images, tmp_path_factory):
    """40 images of two classes."""
    place = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(few_images[0][:40]):
        path = place / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    return place


@pytest.fixture(scope="module")
def run(photos, tiny_config, tmp_path_factory):
    """A quarter of the labels; the recipe's batch is larger than they are many."""
    config = tiny_config("finetune", fraction=0.25, batch_size=64, held_out=0)
    method = find_method("finetune").load()(config)
    place = tmp_path_factory.mktemp("run") / "a"
    return selfsup.train(method, str(photos), run_dir=place, progress=False), method


def test_the_batch_is_lowered_to_the_labels_there_are(run):
    trained, method = run
    assert method.config.batch_size == 10  # 5 of each class
    assert trained.config.batch_size == 64  # the same command resumes
    assert trained.log[0]["images"] == 10
    assert max(record["step"] for record in trained.log) > 1


def test_the_labels_that_were_not_used_judge_it(run, photos, capsys):
    trained, method = run
    where = f"--run_dir={trained.run_dir}"
    cli.evaluate(["accuracy", where])
    assert "accuracy on 30 of photos" in capsys.readouterr().out
    (stored,) = [r for r in read_results(trained.run_dir) if r.name == "accuracy"]
    assert stored.result.measured_on["test"]["name"].endswith("labels not used")
    source = open_source(photos)
    learned = labelled_fraction(source, 0.25, seed=method.config.seed)
    unused = sorted(set(source.indices.tolist()) - set(learned.indices.tolist()))
    classifier = selfsup.load_network(trained.run_dir, "classifier")
    left = source.select(tf.constant(unused, tf.int64).numpy(), "left")
    expected = selfsup.classifier_accuracy(classifier, left).top_1
    assert stored.result.rows[0].value == pytest.approx(expected)


def test_all_labels_leave_nothing_to_judge_by(photos, tiny_config, tmp_path):
    config = tiny_config("finetune", fraction=1.0, batch_size=16, held_out=0)
    method = find_method("finetune").load()(config)
    selfsup.train(method, str(photos), run_dir=tmp_path / "a", progress=False)
    with pytest.raises(SystemExit):
        cli.evaluate(["accuracy", f"--run_dir={tmp_path / 'a'}"])


def test_a_contrast_keeps_its_batch(photos, tiny_config, tiny_method, tmp_path):
    method = tiny_method(tiny_config("simclr", batch_size=64))
    with pytest.raises(InputError, match=r"a batch no larger than the data \(40"):
        selfsup.train(method, str(photos), run_dir=tmp_path / "a", progress=False)


def test_the_same_call_resumes_with_the_same_method(run, photos):
    trained, method = run
    again = selfsup.train(method, str(photos), run_dir=trained.run_dir, progress=False)
    assert again.log == trained.log and method.config.batch_size == 10
    assert again.log[0]["batch_size"] == 10


def test_nothing_unused_is_known_of_arrays(few_images, photos, tiny_config, tmp_path):
    """Nothing tells which images of a folder were among the arrays."""
    config = tiny_config("finetune", fraction=0.25, batch_size=8, held_out=0)
    method = find_method("finetune").load()(config)
    selfsup.train(method, few_images, run_dir=tmp_path / "a", progress=False)
    with pytest.raises(SystemExit):
        cli.evaluate(["accuracy", f"--run_dir={tmp_path / 'a'}", f"--data={photos}"])


def test_other_labels_are_another_run(few_images, tiny_config, tmp_path):
    images, labels = few_images
    config = tiny_config("finetune", fraction=1.0, batch_size=16, held_out=0)
    load, options = find_method("finetune").load(), {"progress": False}
    options["run_dir"] = tmp_path / "a"
    selfsup.train(load(config), (images, labels), **options)
    selfsup.train(load(config), (images, labels), **options)
    with pytest.raises(InputError, match="other: labels"):
        selfsup.train(load(config), (images, labels[::-1]), **options)


def test_the_head_of_a_run_fits_its_last_encoder_alone(
    few_images, tiny_config, tmp_path
):
    images = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(4, 3)(images)
    best = tmp_path / "encoder_best.keras"
    keras.Model(images, keras.layers.GlobalAveragePooling2D()(maps)).save(best)
    options = {"pretrained": str(best), "held_out": 0}
    options["encoder"] = EncoderConfig(name="pretrained")
    config = tiny_config("finetune", head_layer=1, **options)
    method = find_method("finetune").load()(config)
    with pytest.raises(InputError, match="the head that fits the last encoder alone"):
        selfsup.train(method, few_images, run_dir=tmp_path / "a", progress=False)
