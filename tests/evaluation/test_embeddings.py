"""Files of vectors: their values, their order, and the memory they take."""

import os
import tracemalloc

import keras
import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest
import tensorflow as tf

from selfsup_tf.data.source import Source
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import extract_features
from selfsup_tf.evaluation.measures.embeddings import embed


@pytest.fixture(params=[".npz", ".parquet"])
def output(request, tmp_path):
    return tmp_path / f"a{request.param}"


def small_encoder(size=8, channels=6):
    """A convolution with weights of no symmetry."""
    encoder = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Conv2D(channels, 3),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    random = np.random.default_rng(3)
    encoder.set_weights([random.normal(size=w.shape) for w in encoder.get_weights()])
    return encoder


@pytest.fixture(scope="module")
def encoder():
    return small_encoder()


def read(path):
    """The columns of a file by the readers that users have."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    table = pyarrow.parquet.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    columns["vectors"] = np.array(columns["vectors"], np.float32)
    return {name: np.array(values) for name, values in columns.items()}


@pytest.fixture
def folder(tmp_path):
    """Images of two classes, one with a name of several alphabets."""
    random = np.random.default_rng(0)
    for name in ("apfel/b.png", "apfel/a.png", "мяч, 球/c.png", "мяч, 球/d e.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return tmp_path / "images"


def test_a_folder_with_paths_and_classes(encoder, folder, output):
    source = open_source(folder)
    found = embed(encoder, source, output, batch_size=3)
    assert (found.path, found.count, found.size) == (output, 4, 6)
    columns = read(found.path)
    assert list(columns) == ["vectors", "index", "label", "class_name", "path"]
    expected = extract_features(encoder, source)
    assert columns["vectors"].dtype == np.float32
    np.testing.assert_array_equal(columns["vectors"], expected.features)
    np.testing.assert_array_equal(columns["index"], [0, 1, 2, 3])
    np.testing.assert_array_equal(columns["label"], [0, 0, 1, 1])
    assert columns["class_name"].tolist() == ["apfel"] * 2 + ["мяч, 球"] * 2
    names = ["apfel/a.png", "apfel/b.png", "мяч, 球/c.png", "мяч, 球/d e.png"]
    assert columns["path"].tolist() == [str(folder / name) for name in names]
    # Each vector is that of the file beside it.
    for vector, path in zip(columns["vectors"], columns["path"], strict=True):
        pixels = np.array(PIL.Image.open(path), np.float32)[None] / 255
        np.testing.assert_allclose(vector, encoder(pixels)[0], rtol=1e-4, atol=1e-5)


def test_a_part_without_labels(encoder, output):
    images = np.random.default_rng(1).integers(0, 256, (23, 8, 8, 3), np.uint8)
    part = open_source(images).select(np.arange(3, 20), "part")
    columns = read(embed(encoder, part, output, batch_size=5).path)
    assert list(columns) == ["vectors", "index"]
    np.testing.assert_array_equal(columns["index"], np.arange(3, 20))
    expected = encoder(images[3:20] / np.float32(255)).numpy()
    np.testing.assert_allclose(columns["vectors"], expected, rtol=1e-4, atol=1e-5)


def test_labels_below_0_have_no_name(encoder, output):
    labels = np.array([1, -1, 0, -1])
    pairs = (np.zeros((4, 8, 8, 3), np.uint8), labels)
    dataset = tf.data.Dataset.from_tensor_slices(pairs)
    columns = read(embed(encoder, dataset, output).path)
    assert columns["label"].tolist() == [1, -1, 0, -1]
    assert columns["class_name"].tolist() == ["1", "", "0", ""]


def test_normalised_vectors(encoder, output):
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
    path = embed(encoder, images, output, normalise=True).path
    h = np.float64(extract_features(encoder, images).features)
    expected = h / np.linalg.norm(h, axis=1, keepdims=True)
    # Square, sum, root and quotient: some roundings of 6e-8 each.
    np.testing.assert_allclose(read(path)["vectors"], expected, rtol=1e-6)


def test_a_path_that_is_no_text(encoder, output):
    folder = output.parent / "images"
    folder.mkdir()
    picture = PIL.Image.new("RGB", (8, 8))
    picture.save(folder / "plain.png")
    os.rename(folder / "plain.png", os.fsencode(folder) + b"/caf\xe9.png")
    columns = read(embed(encoder, folder, output).path)
    assert columns["path"].tolist() == [f"{folder}/caf\\xe9.png"]


def test_memory_does_not_grow_with_the_images(output):
    """What NumPy and Python hold at once is a few batches, of 32 in the file."""
    batch, batches, size = 64, 32, 2048
    images = tf.data.Dataset.range(batch * batches).map(
        lambda i: tf.fill((4, 4, 3), tf.cast(i % 251, tf.uint8))
    )
    source = open_source(images)
    encoder = small_encoder(4, size)
    embed(encoder, source, output.with_stem("warm"))  # imports, traces
    tracemalloc.start()
    found = embed(encoder, source, output, batch_size=batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one_batch = batch * size * 4
    assert found.path.stat().st_size > 20 * one_batch
    # The encoder's answer, its valid rows and a copy to be written, and as much again
    # for all that is small; a file held in memory would take 32.
    assert peak < 6 * one_batch
    np.testing.assert_array_equal(read(found.path)["index"], np.arange(batch * batches))


def test_bad_outputs_are_refused(encoder, tmp_path):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    for output in (tmp_path, tmp_path / "a.xls", tmp_path / "npz"):
        with pytest.raises(InputError, match=r"\.npz or \.parquet or \.csv"):
            embed(encoder, images, output)
    (tmp_path / "a.npz").write_text("precious")
    with pytest.raises(InputError, match="--overwrite=True"):
        embed(encoder, images, tmp_path / "a.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_text() == "precious"
    embed(encoder, images, tmp_path / "a.npz", overwrite=True)
    assert read(tmp_path / "a.npz")["vectors"].shape == (2, 6)


def test_nothing_is_left_of_a_failure(tmp_path, output):
    """The third image alone has no finite representation, minus infinity."""
    images = keras.Input((8, 8, 3))
    colours = keras.layers.GlobalAveragePooling2D()(images)
    encoder = keras.Model(images, keras.layers.Activation(tf.math.log)(colours))
    images = np.full((3, 8, 8, 3), 200, np.uint8)
    images[2] = 0
    output.write_text("precious")
    with pytest.raises(InputError, match="NaN or infinity"):
        embed(encoder, images, output, overwrite=True, batch_size=1)
    assert output.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [output]


class ShortSource(Source):
    """Says ten and has seven."""

    name, indices, labelled, image_shape = "short", np.arange(10), False, (8, 8, 3)
    class_names = labels = None

    def ordered(self, *, labels=True):
        return tf.data.Dataset.range(7).map(
            lambda i: {"image": tf.zeros((8, 8, 3), tf.uint8), "index": i}
        )

    def shuffled(self, **_):
        raise NotImplementedError

    def select(self, indices, name):
        raise NotImplementedError


def test_fewer_images_than_announced(encoder, tmp_path, output):
    with pytest.raises(InputError, match=r"the 10 images .* received 7 of them"):
        embed(encoder, ShortSource(), output, batch_size=4)
    assert list(tmp_path.iterdir()) == []
