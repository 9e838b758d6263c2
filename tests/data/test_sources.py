"""Arrays, .npz files, datasets, TFDS: what comes out, and what is refused."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.data.source import Share
from selfsup_tf.data.sources import (
    check_labelled,
    has_test_split,
    open_evaluation,
    open_source,
)
from selfsup_tf.data.sources.dataset import from_dataset
from selfsup_tf.data.sources.tfds import open_tfds
from selfsup_tf.data.streamed import StreamSource
from selfsup_tf.errors import InputError

TFDS = pathlib.Path(__file__).parents[3] / "shared/data/tfds"
SIZE = 300
IMAGES = np.random.default_rng(0).integers(0, 256, (SIZE, 4, 5, 3), np.uint8)
LABELS = np.arange(SIZE) % 3

needs_tfds = pytest.mark.skipif(
    not (TFDS / "cifar10").is_dir(), reason=f"no CIFAR-10 in {TFDS}"
)


def dataset():
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))


def unknown_length():
    return dataset().filter(lambda image, label: True)


SOURCES = {
    "array": lambda: open_source((IMAGES, LABELS)),
    "dataset": lambda: open_source(dataset()),
    "counted dataset": lambda: open_source(unknown_length()),
}


@pytest.fixture(params=SOURCES, scope="module")
def source(request):
    return SOURCES[request.param]()


def indices(elements):
    batches = elements.batch(64).as_numpy_iterator()
    return [int(i) for batch in batches for i in batch["index"]]


def test_elements(source):
    assert source.size == SIZE and source.image_shape == (4, 5, 3)
    assert source.class_names == ("0", "1", "2") and source.skipped == ()
    np.testing.assert_array_equal(source.labels, LABELS)
    for elements in (source.ordered(), source.shuffled(seed=0, epoch=0)):
        assert elements.element_spec == {
            "image": tf.TensorSpec((4, 5, 3), tf.uint8),
            "label": tf.TensorSpec((), tf.int64),
            "index": tf.TensorSpec((), tf.int64),
        }
        assert int(elements.cardinality()) == SIZE
        for element in elements.as_numpy_iterator():
            np.testing.assert_array_equal(element["image"], IMAGES[element["index"]])
            assert element["label"] == LABELS[element["index"]]


def test_order(source):
    first = indices(source.shuffled(seed=0, epoch=0))
    assert indices(source.ordered()) == sorted(first) == list(range(SIZE))
    others = [(0, 1), (1, 0), (-1, 0)]
    assert all(indices(source.shuffled(seed=s, epoch=e)) != first for s, e in others)
    assert first != sorted(first)
    tf.random.set_seed(1)  # of which the order is independent
    assert first == indices(source.shuffled(seed=0, epoch=0))


@pytest.mark.parametrize("start", [65, 300])
def test_start_gives_the_tail(source, start):
    whole = indices(source.shuffled(seed=3, epoch=2))
    tail = source.shuffled(seed=3, epoch=2, start=start)
    assert indices(tail) == whole[start:]
    assert int(tail.cardinality()) == SIZE - start


@pytest.mark.parametrize("name", SOURCES)
def test_other_images_of_the_same_number_have_other_contents(name, monkeypatch):
    known = SOURCES[name]().contents
    assert SOURCES[name]().contents == known
    assert SOURCES[name]().split(10)[0].contents == known
    monkeypatch.setattr(f"{__name__}.LABELS", LABELS[::-1])
    assert SOURCES[name]().contents == known
    exchanged = IMAGES.copy()
    exchanged[7] = exchanged[8]  # one is enough, where a dataset looks at it
    monkeypatch.setattr(f"{__name__}.IMAGES", exchanged)
    assert SOURCES[name]().contents != known


def test_without_labels(source):
    for elements in (
        source.ordered(labels=False),
        source.shuffled(seed=0, epoch=0, labels=False),
    ):
        assert set(elements.element_spec) == {"image", "index"}


def test_split(source):
    rest, part = source.split(40, seed=1)
    assert (rest.size, part.size) == (260, 40)
    assert indices(part.ordered()) == part.indices.tolist()
    assert indices(rest.ordered()) == rest.indices.tolist()
    assert sorted([*rest.indices, *part.indices]) == list(range(SIZE))
    np.testing.assert_array_equal(part.labels, LABELS[part.indices])
    for element in part.shuffled(seed=0, epoch=0).as_numpy_iterator():
        np.testing.assert_array_equal(element["image"], IMAGES[element["index"]])
    np.testing.assert_array_equal(source.split(40, seed=1)[1].indices, part.indices)
    assert set(source.split(40, seed=2)[1].indices) != set(part.indices)
    inner, _ = rest.split(60)
    assert set(indices(inner.ordered())) < set(rest.indices)
    assert source.split(0)[1].size == 0 == len(indices(source.split(0)[1].ordered()))
    with pytest.raises(InputError, match="fewer images held out"):
        source.split(SIZE)


def test_streams_shuffle_in_a_buffer():
    stream = from_dataset(dataset(), buffer=16)
    first = indices(stream.shuffled(seed=0, epoch=0))
    assert sorted(first) == list(range(SIZE)) and max(first[:16]) < 32


@pytest.mark.parametrize("shape", [(9, 4, 5), (9, 4, 5, 1)])
@pytest.mark.parametrize("streamed", [False, True])
def test_grey_and_floats(shape, streamed):
    grey = np.linspace(0, 1, np.prod(shape)).reshape(shape)
    data = tf.data.Dataset.from_tensor_slices(grey) if streamed else grey
    source = open_source(data)
    assert source.class_names is None and source.labels is None
    images = np.stack([e["image"] for e in source.ordered().as_numpy_iterator()])
    expected = np.rint(grey.reshape(9, 4, 5, 1) * 255)
    np.testing.assert_array_equal(images, np.broadcast_to(expected, (9, 4, 5, 3)))


def test_a_dataset_of_dicts():
    elements = dataset().map(lambda x, y: {"image": x, "label": y, "name": "a"})
    np.testing.assert_array_equal(open_source(elements).labels, LABELS)
    assert not open_source(elements.map(lambda e: {"image": e["image"]})).labelled


def test_a_source_is_returned_as_it_is():
    source = open_source(IMAGES)
    assert open_source(source) is source


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGES[0, 0], "Stack the images"),
        (IMAGES[0], r"x\[None\]"),
        (np.repeat(IMAGES, 6, axis=-1), "C from 1 to 16"),
        (np.zeros((2, 3, 8, 8), np.uint8), "moveaxis"),
        (IMAGES[:0], "at least one image"),
        (IMAGES.astype(int), "dtype uint8 or uint16, or floats"),
        (IMAGES.astype(float), "values from 0 to 255. Divide by 255"),
        (IMAGES / 255 - 1, "values from -1 to 0"),
        (np.full((2, 4, 5, 3), np.nan), "NaN among them"),
        ([IMAGES[0], IMAGES[0, :2]], "images of one size"),
        ((IMAGES, LABELS[1:]), "300 images; received 299"),
        ((IMAGES, LABELS / 2), "integer labels"),
        ((IMAGES, np.eye(3)[LABELS]), "argmax"),
        ((IMAGES, LABELS - 2), "labels from -2"),
        ((IMAGES, 0 * LABELS - 1), "labels from -1 to -1"),
        ((IMAGES, LABELS, LABELS), "a tuple of 3"),
        ({"image": IMAGES}, "type dict"),
    ],
)
def test_refused_arrays(data, message):
    with pytest.raises(InputError, match=message):
        open_source(data)


def of(*tensors):
    return tf.data.Dataset.from_tensor_slices(
        tensors if len(tensors) > 1 else tensors[0]
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dataset().repeat(), r"\.take\(n\)"),
        (lambda: dataset().take(0), "empty dataset"),
        (lambda: dataset().shuffle(SIZE), "shuffle=False"),
        (lambda: of(IMAGES, LABELS, LABELS), "elements image"),
        (lambda: of({"picture": IMAGES}), "elements image"),
        (lambda: of(np.repeat(IMAGES, 6, axis=-1)), r"\(4, 5, 18\)"),
        (lambda: of(IMAGES.astype(int)), "int64"),
        (lambda: of(IMAGES.astype("float32")), r"image / 255, \*label"),
        (lambda: of(IMAGES, LABELS / 2), "integer labels"),
        (lambda: of(IMAGES, np.eye(3)[LABELS]).batch(8), r"tf\.argmax\(label, -1\)"),
        (lambda: of(IMAGES * 2.0 + 300), "values from"),
    ],
)
def test_refused_datasets(make, message):
    with pytest.raises(InputError, match=message):
        open_source(make())


@pytest.fixture
def class_folders(tmp_path):
    for number, image in enumerate(IMAGES[:24]):
        path = tmp_path / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    return tmp_path


def test_what_keras_reads_of_a_folder_is_taken_or_mended(class_folders):
    """Both faults stand in one message, and its advice is followed word for word."""
    shuffled = keras.utils.image_dataset_from_directory(
        class_folders, image_size=(4, 5), verbose=False
    )
    with pytest.raises(InputError) as caught:
        open_source(shuffled)
    advice = ".map(lambda image, *label: (image / 255, *label))"
    assert advice in str(caught.value) and "shuffle=False" in str(caught.value)
    ordered = keras.utils.image_dataset_from_directory(
        class_folders, image_size=(4, 5), verbose=False, shuffle=False
    )
    source = open_source(eval(f"ordered{advice}", {"ordered": ordered}))
    assert source.size == 24 and source.image_shape == (4, 5, 3)
    np.testing.assert_array_equal(source.labels, np.repeat([0, 1, 2], 8))
    of_files = open_source(class_folders)
    for ours, theirs in zip(
        of_files.ordered().as_numpy_iterator(),
        source.ordered().as_numpy_iterator(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours["image"], theirs["image"])


def test_sixteen_bits_are_scaled_as_in_files():
    """By the fewest of 8, 10, 12, 14 and 16 that hold an image's largest value."""
    deep = IMAGES[:4].astype(np.uint16) * np.array([1, 4, 16, 256], np.uint16).reshape(
        4, 1, 1, 1
    )
    deep[:, 0, 0, 0] = (255, 1023, 4095, 65535)
    expected = [image >> bits for image, bits in zip(deep, (0, 2, 4, 8), strict=True)]
    for data in (deep, of(deep), of(deep).batch(3)):
        for element, image in zip(open_source(data).ordered(), expected, strict=True):
            np.testing.assert_array_equal(element["image"], image)


def test_labels_can_be_put_aside(class_folders):
    labelled = open_source(class_folders)
    without = open_source(class_folders, labels=False)
    assert labelled.class_names == ("0", "1", "2")
    assert not without.labelled and without.labels is without.class_names is None
    assert set(without.ordered().element_spec) == {"image", "index"}
    assert without.fingerprint != labelled.fingerprint
    files = {**labelled.files}
    files |= {name: files[name][:-1] for name in ("files", "lengths")}
    begun = without.as_begun(files)
    assert begun.size == 23 and not begun.labelled
    arrays = open_source((IMAGES, LABELS), labels=False)
    assert not arrays.labelled and not from_dataset(dataset()).without_labels().labels


def test_a_late_bad_float_stops_the_reading():
    images = np.zeros((20, 4, 5, 3), np.float32)
    images[15] = 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="Divide by 255"):
        list(open_source(of(images)).ordered())


def test_splits_of_objects():
    assert not has_test_split((IMAGES, LABELS))
    with pytest.raises(InputError, match="split train"):
        open_source(IMAGES, split="test")


def test_npz(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:9], y_test=[[1]] * 9)
    assert has_test_split(path)
    assert open_source(path).name == "digits:train"
    train, test = open_evaluation(str(path))
    assert (train.size, test.size) == (SIZE, 9)
    assert train.class_names == test.class_names == ("0", "1", "2")
    with pytest.raises(InputError, match="Choose one of: test, train"):
        open_source(path, split="dev")


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_npz_with_the_labels_of_keras_datasets(tmp_path, kind):
    """mnist.npz has them as uint8; a part may lack the last class."""
    path = tmp_path / "mnist.npz"
    y = LABELS.astype(kind)
    np.savez(path, x_train=IMAGES, y_train=y, x_test=IMAGES[:9], y_test=0 * y[:9])
    for source in open_evaluation(path):
        assert source.class_names == ("0", "1", "2")


def test_a_label_of_minus_one_stands_for_none():
    source = open_source((IMAGES, np.where(LABELS == 2, -1, LABELS)))
    assert source.class_names == ("0", "1")
    with pytest.raises(InputError, match="labels below 0"):
        check_labelled(source)


@pytest.mark.parametrize(("x", "y"), [("images", "labels"), ("x", "y")])
def test_npz_without_splits(tmp_path, x, y):
    path = tmp_path / "a.npz"
    np.savez(path, **{x: IMAGES, y: LABELS})
    assert not has_test_split(path)
    train, test = open_evaluation(path)
    assert (train.name, train.size) == ("a:train:80%", 240)
    assert (test.name, test.size) == ("a:train:20%", 60)
    np.savez(path, **{x: IMAGES})
    assert not open_source(path).labelled


def test_refused_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, pictures=IMAGES)
    with pytest.raises(InputError, match="the keys pictures"):
        open_source(path)
    np.savez(path, x=np.array([{}], object))
    with pytest.raises(InputError, match="without pickled objects"):
        open_source(path)
    path.write_bytes(b"PK nothing")
    for open_it in (open_source, open_evaluation):
        with pytest.raises(InputError, match=r"a file of np\.savez"):
            open_it(path)


def test_shapes():
    assert has_test_split("shapes")
    train, test = open_evaluation("shapes")
    assert (train.name, train.size) == ("shapes:train", 8000)
    assert (test.name, test.size) == ("shapes:test", 2000)
    assert "heart" in train.class_names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shaps", "Perhaps you meant: shapes"),
        ("cifar11", "Perhaps you meant: cifar10"),
        ("qqqqqqqq", "Name a folder"),
        ("~/no/such", "folder not found.*no/such"),
        ("no/such", "folder not found"),
        ("gone.npz", "folder not found"),
    ],
)
def test_unknown_names(name, message):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(InputError, match=message):
        open_source(name)


def test_no_network(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def fail(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    # Names can be looked up, so that it is the download that fails.
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [])
    with pytest.raises(InputError, match=r"no route to host.*--data_dir"):
        open_source("mnist", data_dir=tmp_path)


@needs_tfds
def test_tfds():
    import tensorflow_datasets as tfds

    train, test = open_evaluation("cifar10", data_dir=TFDS)
    assert (train.size, test.size) == (50_000, 10_000)
    assert (train.name, test.name) == ("cifar10:train", "cifar10:test")
    assert train.image_shape == (32, 32, 3) and train.class_names[3] == "cat"
    total = np.zeros(3)
    for batch in test.ordered(labels=False).batch(1000).as_numpy_iterator():
        total += batch["image"].mean((0, 1, 2)) / 10 / 255
    np.testing.assert_allclose(total, [0.4942, 0.4851, 0.4504], atol=1e-4)
    stock = tfds.load("cifar10", data_dir=TFDS, download=False, split="test")
    for ours, theirs in zip(test.ordered().take(50), stock.take(50), strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        assert ours["label"] == theirs["label"]
    assert np.bincount(test.labels).tolist() == [1000] * 10


@needs_tfds
def test_tfds_streamed_equals_in_memory(tmp_path):
    kept = open_source("cifar10", data_dir=TFDS, split="test[:2%]")
    streamed = open_tfds("cifar10", data_dir=TFDS, split="test[:2%]", memory=0)
    (tmp_path / "moved").symlink_to(TFDS)
    moved, other = (
        open_tfds("cifar10", data_dir=str(tmp_path / "moved"), split=split, memory=0)
        for split in ("test[:2%]", "test[2%:4%]")
    )
    assert streamed.contents == moved.contents != other.contents
    assert isinstance(streamed, StreamSource) and streamed.size == kept.size == 200
    np.testing.assert_array_equal(streamed.labels, kept.labels)
    for a, b in zip(streamed.ordered(), kept.ordered(), strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
    tail = indices(streamed.shuffled(seed=0, epoch=1, start=150))
    assert tail == indices(streamed.shuffled(seed=0, epoch=1))[150:]
    with pytest.raises(InputError, match="Choose one of: train, test"):
        open_source("cifar10", data_dir=TFDS, split="dev")


@pytest.mark.parametrize("start", [0, 12])
def test_the_shares_of_workers_make_up_the_whole(start):
    """Of a stream and of arrays alike: every other three, from where a run resumes."""
    images = np.arange(32, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 2, 3), np.uint8
    )
    stream = open_source(tf.data.Dataset.from_tensor_slices(images))
    for source in (stream, open_source(images)):
        options = {"seed": 3, "epoch": 1, "start": start}
        whole = indices(source.shuffled(**options))
        rows = np.reshape(whole[: len(whole) // 6 * 6], (-1, 6))
        for first in (0, 3):
            share = Share(first, count=3, every=6)
            dataset = source.shuffled(**options, share=share)
            assert indices(dataset) == rows[:, first : first + 3].ravel().tolist()
            assert int(dataset.cardinality()) == 3 * len(rows)
