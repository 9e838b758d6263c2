"""Encoders that exist, by name: read, pooled, preprocessed, refused."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from hub_presets import SIDE, write_preset

import selfsup_tf as selfsup
from selfsup_tf.errors import InputError
from selfsup_tf.models.copies import copy_network
from selfsup_tf.models.teachers import open_teacher, open_teachers

ARTEFACTS = pathlib.Path(__file__).parents[1] / "exporting" / "artefacts.py"
spec = importlib.util.spec_from_file_location("artefacts", ARTEFACTS)
artefacts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(artefacts)
FAMILIES = ("DINOV2", "DINOV3", "SigLIP", "CLIP", "ViT", "MobileNet")


def literal(backbone, images):
    """What the authors of a family take for the representation of an image."""
    if hasattr(backbone, "get_vision_embeddings"):
        return np.asarray(backbone.get_vision_embeddings(images))
    names = backbone.input if isinstance(backbone.input, dict) else ()
    given = {name: images for name in names} or images
    found = np.asarray(backbone.predict(given, verbose=0))
    return found[:, 0] if found.ndim == 3 else found.mean((1, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_preset_is_read_as_keras_hub_means_it(
    family, tiny_config, tiny_method, few_images, tmp_path
):
    backbone, converter = write_preset(family, tmp_path / "preset")
    (tmp_path / "preset" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    expected = literal(backbone, np.asarray(converter(pixels)))
    teacher = open_teacher(f"hub:{tmp_path / 'preset'}")
    views = (pixels / np.float32(255)).astype(np.float32)
    found = np.asarray(teacher.network(views))
    assert found.shape == expected.shape and np.ptp(expected) > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert teacher.licence == "apache-2.0" and teacher.image_size == SIDE
    assert any("averaged" in note for note in teacher.notes) == (family == "MobileNet")
    copy = copy_network(teacher.network)
    np.testing.assert_array_equal(copy(views), found)
    # A student learns from it, which leaves it as it is.
    name = f"hub:{tmp_path / 'preset'}"
    options = {
        "loss": "regression",
        "image_size": SIDE,
        "steps": 1,
        "steps_per_call": 1,
    }
    method = tiny_method(tiny_config("distill", teacher=name, **options))
    selfsup.train(method, few_images[0], run_dir=tmp_path / "run", progress=False)
    frozen = method.model.get_layer("frozen").network
    np.testing.assert_array_equal(frozen(views, training=False), found)
    # As an encoder it goes to a phone.
    path = artefacts.export_tflite(teacher.network, tmp_path / "encoder.tflite")
    run = artefacts.runner(path)
    (name,) = run.get_input_details()
    np.testing.assert_allclose(
        run(**{name: views[:1]})["representation"], found[:1], rtol=1e-4, atol=1e-4
    )


def test_a_run_or_file_ends_where_it_is_told_and_takes_that_size(tmp_path):
    encoder, classifier = artefacts.make_network(16, classes=3)
    classifier.save(tmp_path / "classifier.keras")
    name = str(tmp_path / "classifier.keras")
    views = np.random.default_rng(0).uniform(size=(2, 24, 24, 3)).astype(np.float32)
    pooled = next(layer.name for layer in classifier.layers if "pooling" in layer.name)
    teacher = open_teacher(f"{name}#{pooled}@24")
    assert teacher.image_size == 24 and teacher.network.output_shape == (None, 24)
    whole = open_teacher(f"{name}#{pooled}")
    resized = tf.image.resize(views, (16, 16), antialias=True)
    np.testing.assert_allclose(whole.network(resized), encoder(resized), atol=1e-6)
    np.testing.assert_allclose(
        whole.taking(24)(views), encoder(resized), rtol=1e-5, atol=1e-5
    )
    assert whole.digest != teacher.digest  # another size is another function
    encoder.save(tmp_path / "encoder.keras")
    of_run = open_teacher(str(tmp_path))
    np.testing.assert_array_equal(of_run.network(resized), encoder(resized))


def test_signs_in_the_name_of_a_file_that_exists_are_its_own(tmp_path):
    folder = tmp_path / "run#1@96"
    folder.mkdir()
    artefacts.make_network(16).save(folder / "encoder.keras")
    assert open_teacher(str(folder)).image_size == 16
    assert open_teacher(f"{folder}/encoder.keras@24").image_size == 24


def test_feature_maps_are_averaged_and_it_is_said(tmp_path):
    images = keras.Input((16, 16, 3))
    maps = keras.Model(images, keras.layers.Conv2D(5, 3, name="maps")(images))
    maps.save(tmp_path / "maps.keras")
    teacher = open_teacher(str(tmp_path / "maps.keras"))
    views = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)
    expected = np.asarray(maps(views)).mean((1, 2))
    np.testing.assert_allclose(teacher.network(views), expected, rtol=1e-5, atol=1e-6)
    assert "feature maps" in teacher.notes[0] and "averaged" in teacher.notes[0]


@pytest.mark.parametrize("channels_first", [False, True])
def test_an_onnx_file_of_either_layout(channels_first, tmp_path):
    pytest.importorskip("onnxruntime")
    encoder = artefacts.make_network(16)
    shape = (3, 16, 16) if channels_first else (16, 16, 3)
    images = keras.Input(shape)
    x = keras.layers.Permute((2, 3, 1))(images) if channels_first else images
    path = tmp_path / "encoder.onnx"

    def write(network):
        whole = keras.Model(images, network(x))
        whole(np.zeros((1, *shape), np.float32))
        whole.export(path, format="onnx", verbose=False)

    write(encoder)
    teacher = open_teacher(str(path))
    views = np.random.default_rng(0).uniform(size=(3, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(
        teacher.network(views), encoder(views), rtol=1e-4, atol=1e-5
    )
    in_graph = tf.function(teacher.network)(views)
    np.testing.assert_array_equal(in_graph, teacher.network(views))
    assert not teacher.compiles and teacher.image_size == 16
    moved = path.with_name("moved.onnx")
    moved.write_bytes(path.read_bytes())
    assert open_teacher(str(moved)).digest == teacher.digest
    write(artefacts.make_network(16, seed=5))
    assert open_teacher(str(path)).digest != teacher.digest


def test_a_saved_model_of_ours_and_of_others(tmp_path):
    encoder = artefacts.make_network(16)
    views = np.random.default_rng(0).uniform(size=(3, 16, 16, 3)).astype(np.float32)
    ours = artefacts.export_saved_model(encoder, tmp_path / "ours")
    encoder.export(tmp_path / "theirs", verbose=False)
    for path in (ours, tmp_path / "theirs"):
        teacher = open_teacher(str(path))
        assert teacher.image_size == 16
        np.testing.assert_allclose(
            teacher.network(views), encoder(views), rtol=1e-5, atol=1e-5
        )
        copy = copy_network(teacher.network)
        np.testing.assert_array_equal(copy(views), teacher.network(views))
        # A .keras file that loads a program would be none of Keras's safe ones.
        teacher.network.save(tmp_path / "wrapped.keras")
        with pytest.raises(TypeError, match="SavedModelEncoder"):
            keras.saving.load_model(tmp_path / "wrapped.keras")


def test_an_imagenet_name_is_built_at_its_own_size(monkeypatch):
    from selfsup_tf.models.teachers import imagenet

    asked = []

    def build(config, size):
        asked.append((config.name, config.weights, size))
        return artefacts.make_network(16)

    monkeypatch.setattr(imagenet, "build_encoder", build)  # nothing to download here
    for name in ("imagenet:efficientnetb1", "imagenet:ResNet50@96"):
        open_teacher(name)
    assert asked == [("EfficientNetB1", "imagenet", 240), ("ResNet50", "imagenet", 96)]


def test_the_sizes_are_those_of_keras():
    from selfsup_tf.models.teachers.imagenet import SIZES

    for name in ("EfficientNetB1", "EfficientNetV2B2", "MobileNetV2"):
        whole = getattr(keras.applications, name)(weights=None)
        assert whole.input_shape[1] == SIZES.get(name, 224)


def test_what_is_no_encoder_is_refused_in_one_message(tmp_path):
    def write(name, *layers, shape=(16, 16, 3)):
        keras.Sequential([keras.Input(shape), *layers]).save(tmp_path / name)

    flat = keras.layers.Flatten
    write("softmax.keras", flat(name="rest"), keras.layers.Dense(3, "softmax"))
    write("wide.keras", flat(), shape=(16, 20, 3))
    write("free.keras", keras.layers.Conv2D(4, 3), shape=(None, None, 3))
    write(
        "pixels.keras", keras.layers.Rescaling(1 / 255), flat(), keras.layers.Dense(3)
    )
    module = tf.Module()
    module.call = tf.function(
        lambda words: {"n": tf.strings.length(words)},
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, tmp_path / "words", signatures=module.call)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("softmax.keras", "softmax.keras#rest"),
        ("softmax.keras#nothing", "received 'nothing'. Its last ones: rest, dense"),
        ("wide.keras", "images of shape (N, S, S, 3)"),
        ("free.keras", "free.keras@224"),
        ("pixels.keras", "images in [0, 1]"),
        ("words", "a signature of"),
        ("broken.onnx", "an ONNX file at"),
        ("none.onnx", "received no file"),
        ("none.keras", "received no file"),
        ("empty", "an encoder that exists"),
    ):
        with pytest.raises(InputError) as caught:
            open_teacher(str(tmp_path / name))
        assert said in str(caught.value), name
    before = open_teacher(str(tmp_path / "softmax.keras#rest"))  # as it was offered
    assert before.network.output_shape == (None, 768)
    for name, said in (
        ("", "imagenet:NAME"),
        ("resnet50", "imagenet:NAME"),
        ("imagenet:ResNet51", "ResNet50"),
        ("imagenet:ResNet50#layer", "up to its pooling"),
    ):
        with pytest.raises(InputError) as caught:
            open_teacher(name)
        assert said in str(caught.value), name
    with pytest.raises(InputError, match="Name each of them once"):
        open_teachers(["a.keras", "a.keras"])


def test_presets_that_cannot_be_had_are_refused(tmp_path):
    hub = pytest.importorskip("keras_hub")
    text = hub.models.BertBackbone(
        vocabulary_size=50,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=8,
    )
    text.save_to_preset(tmp_path / "text")
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("hub:dinov2_smal", "dinov2_small"),
        ("hub:", "Name a preset"),
        (f"hub:{tmp_path / 'text'}", "a network of images"),
        (f"hub:{tmp_path / 'empty'}", "a network of images"),
    ):
        with pytest.raises(InputError) as caught:
            open_teacher(name)
        assert said in str(caught.value), name
