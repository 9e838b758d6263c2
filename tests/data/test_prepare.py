"""Images written once, resized: the same, counted, resumed, read by others."""

import pathlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf.data import prepared, preparing
from selfsup_tf.data.lost import check_read
from selfsup_tf.data.sources import open_source, open_splits
from selfsup_tf.errors import InputError

CLASSES = ("b", "c", "Äpfel")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """150 and 70 photographs of several sizes, in classes of two splits."""
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 150), ("test", 70)):
        for number in range(count):
            place = folder / split / CLASSES[number % 3]
            place.mkdir(parents=True, exist_ok=True)
            coarse = draw.integers(0, 256, (5, 7, 3), np.uint8)
            sides = (40, 56) if number % 2 else (24, 20)
            image = PIL.Image.fromarray(coarse).resize(sides, PIL.Image.BICUBIC)
            image.save(place / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("done") / "small"
    return selfsup.prepare(str(photos), output, size=24, encoding="png")


def elements(source):
    return list(source.ordered().as_numpy_iterator())


def shrink(image, size):
    """As Pillow does it, channel by channel in floats."""
    height, width = image.shape[:2]
    if min(height, width) <= size:
        return image
    share = size / min(height, width)
    to = (round(width * share), round(height * share))
    planes = [
        PIL.Image.fromarray(plane).convert("F").resize(to, PIL.Image.BICUBIC)
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.clip(np.rint(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)


def test_images_labels_and_names_are_kept(photos, done):
    assert done.images == {"train": 150, "test": 70}
    assert done.size_bytes == sum(p.stat().st_size for p in done.folder.iterdir())
    before, after = open_splits(str(photos)), open_splits(str(done.folder))
    for source, small in zip(before, after, strict=True):
        assert small.class_names == source.class_names == CLASSES
        np.testing.assert_array_equal(small.labels, source.labels)
        ends = [pathlib.Path(*pathlib.Path(p).parts[-3:]) for p in source.paths]
        assert [pathlib.Path(path) for path in small.paths] == ends
        for one, other in zip(elements(source), elements(small), strict=True):
            expected = shrink(one["image"], 24)
            assert other["image"].shape == expected.shape
            # TensorFlow and Pillow round weights of a resize otherwise: by one level.
            difference = np.abs(other["image"].astype(int) - expected)
            assert difference.max() <= (1 if min(one["image"].shape[:2]) > 24 else 0)
            assert (one["label"], one["index"]) == (other["label"], other["index"])


def test_any_order_costs_no_more(done):
    """It is no stream: parts, shuffles and the online k-NN are those of a folder."""
    source = open_source(done.folder)
    assert not source.streamed
    images = {e["index"]: e["image"] for e in elements(source)}
    shuffled = list(source.shuffled(seed=3, epoch=1).as_numpy_iterator())
    assert [e["index"] for e in shuffled] != sorted(images)
    for element in shuffled:
        np.testing.assert_array_equal(element["image"], images[element["index"]])


def test_tensorflow_datasets_reads_it(done):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(done.folder))
    assert builder.info.features["label"].names == list(CLASSES)
    for split, count in done.images.items():
        ours = elements(open_source(done.folder, split=split))
        theirs = list(tfds.as_numpy(builder.as_dataset(split=split)))
        assert builder.info.splits[split].num_examples == count == len(theirs)
        by_path = {one["path"].decode(): one for one in theirs}  # it mixes the files
        paths = open_source(done.folder, split=split).paths
        for path, one in zip(paths, ours, strict=True):
            np.testing.assert_array_equal(one["image"], by_path[path]["image"])
            assert one["label"] == by_path[path]["label"]


class Killed(Exception):
    pass


def test_a_killed_call_goes_on_where_it_was(photos, done, tmp_path, monkeypatch):
    output, write, written = tmp_path / "small", preparing.whole_file, []

    def killed(path):
        if pathlib.Path(path).name.startswith("images-"):
            written.append(path.name)
            if len(written) == 3:
                (path.parent / f".{path.stem}.12ab.tfrecord-x").write_bytes(b"half")
                raise Killed
        return write(path)

    options = {"size": 24, "encoding": "png"}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(preparing, "whole_file", killed)
        selfsup.prepare(str(photos), output, **options)
    with pytest.raises(InputError, match=r"an index of prepared images.*prepare"):
        open_source(output)
    with monkeypatch.context() as patch:
        written[:] = [None] * 9  # kills nobody
        patch.setattr(preparing, "whole_file", killed)
        again = selfsup.prepare(str(photos), output, **options)
    assert len(written) == 9 + 3  # of the five files two were there
    assert again.images == done.images
    for path in done.folder.iterdir():
        if path.name != "prepared.json":
            assert (output / path.name).read_bytes() == path.read_bytes(), path.name
    assert not list(output.glob(".*"))


def test_a_finished_one_is_left_alone(photos, done):
    times = {path: path.stat().st_mtime_ns for path in done.folder.iterdir()}
    again = selfsup.prepare(str(photos), done.folder, size=24, encoding="png")
    assert again == done
    assert times == {path: path.stat().st_mtime_ns for path in done.folder.iterdir()}


def test_another_plan_is_refused(photos, done, tmp_path):
    with pytest.raises(InputError, match="others: size"):
        selfsup.prepare(str(photos), done.folder, size=20, encoding="png")
    with pytest.raises(InputError, match="others: identity"):
        selfsup.prepare(str(photos / "train"), done.folder, size=24, encoding="png")
    (tmp_path / "letter.txt").touch()
    with pytest.raises(InputError, match="an empty folder"):
        selfsup.prepare(str(photos), tmp_path)
    with pytest.raises(InputError, match="jpeg or png"):
        selfsup.prepare(str(photos), tmp_path / "new", encoding="PNG")
    with pytest.raises(InputError, match="a size of 1 or more"):
        selfsup.prepare(str(photos), tmp_path / "new", size=0)
    assert not (tmp_path / "new").exists()


def test_splits_of_other_classes_are_refused(tmp_path):
    """One list of names would else give the labels of one of them other meanings."""
    for split, classes in (("train", "abc"), ("test", "bc")):
        for name in classes:
            place = tmp_path / "photos" / split / name
            place.mkdir(parents=True)
            PIL.Image.new("RGB", (9, 9)).save(place / "1.png")
    data, output = str(tmp_path / "photos"), tmp_path / "small"
    with pytest.raises(InputError, match=r"the same classes in .*--labels=False"):
        selfsup.prepare(data, output)
    assert selfsup.prepare(data, output, labels=False).images["test"] == 2


def test_what_is_left_out_is_named(photos, tmp_path, caplog):
    import logging
    import shutil

    shutil.copytree(photos / "train", tmp_path / "mine")
    (tmp_path / "mine" / "b" / "broken.png").write_bytes(b"no image")
    (tmp_path / "mine" / "letter.txt").touch()
    with caplog.at_level(logging.INFO, logger="selfsup_tf"):
        done = selfsup.prepare(str(tmp_path / "mine"), tmp_path / "small")
    said = [record.getMessage() for record in caplog.records]
    assert done.images == {"train": 150}
    assert any("Left out:" in line and "broken.png" in line for line in said)
    assert any("1 other file (.txt)" in line for line in said)


def test_what_was_edited_or_is_read_otherwise_is_another_plan(photos, tmp_path):
    import shutil

    mine, output = tmp_path / "photos", tmp_path / "small"
    shutil.copytree(photos, mine)
    selfsup.prepare(str(mine), output)
    with pytest.raises(InputError, match="others: identity"):
        selfsup.prepare(str(mine), output, exif=False)
    PIL.Image.new("RGB", (40, 56)).save(next((mine / "train" / "b").iterdir()))
    with pytest.raises(InputError, match="others: identity"):
        selfsup.prepare(str(mine), output)


def test_two_at_once_are_refused(photos, tmp_path):
    from selfsup_tf.locks import only_writer

    output = tmp_path / "small"
    output.mkdir()
    with only_writer(output / ".lock"), pytest.raises(InputError, match="writing in"):
        selfsup.prepare(str(photos), output)


def test_a_photo_folder_with_a_file_of_that_name_is_a_folder(photos, tmp_path):
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    for contents in ("{}", "no json", '{"format": "mine"}'):
        (tmp_path / "prepared.json").write_text(contents)
        assert open_source(tmp_path).size == 1


def test_damage_is_found(photos, tmp_path):
    output = tmp_path / "small"
    options = {"size": 8, "encoding": "png"}
    selfsup.prepare(str(photos), output, **options)
    file = output / prepared.shard_name("train", 1, 150)
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=f"{len(whole)} bytes in .*{file.name}"):
        open_source(output)
    # Before there is an index every checksum is compared, and the file written anew.
    (output / "index.npz").unlink()
    spoilt = bytearray(whole)
    spoilt[len(spoilt) // 2] ^= 1
    file.write_bytes(spoilt)
    with pytest.raises(InputError, match="the same command writes it again"):
        selfsup.prepare(str(photos), output, **options)
    selfsup.prepare(str(photos), output, **options)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("gone", [False, True])
def test_what_breaks_while_a_run_reads_is_one_message(photos, gone, tmp_path):
    output = tmp_path / "small"
    selfsup.prepare(str(photos), output, size=8, encoding="png")
    source = open_source(output)
    file = output / prepared.shard_name("train", 1, 150)
    file.write_bytes(bytes(file.stat().st_size))
    if gone:
        file.unlink()
    with pytest.raises(tf.errors.OpError) as caught:
        list(source.ordered())
    with pytest.raises(InputError, match="images of small:train that can be read"):
        check_read(caught.value, source)
    check_read(tf.errors.InvalidArgumentError(None, None, "shapes differ"), source)


@pytest.mark.parametrize("channels", [1, 4])
def test_arrays_of_other_channels(channels, few_images, tmp_path):
    images = np.concatenate([few_images[0]] * 2, axis=-1)[..., :channels]
    if channels == 4:
        with pytest.raises(InputError, match="--encoding=png"):
            selfsup.prepare(images, tmp_path / "jpeg")
    selfsup.prepare(images, tmp_path / "png", encoding="png", channels=channels)
    source = open_source(tmp_path / "png", channels=channels)
    assert (source.channels, source.labelled) == (channels, False)
    assert source.paths is None
    found = np.stack([e["image"] for e in elements(source)])
    np.testing.assert_array_equal(found, images)


def test_the_command_then_a_run(photos, tmp_path, run_program):
    """On photographs of more sizes than one; the run keeps labelled ones apart."""
    small, run = tmp_path / "small", tmp_path / "run"
    done = run_program(
        *("train.py", "prepare", f"--data={photos}", f"--output={small}", "--size=20")
    )
    assert f"{small}: 150 of train and 70 of test" in done.stdout
    assert f"simclr folder --data={small}" in done.stdout
    done = run_program(
        *("train.py", "simclr", "shapes", f"--data={small}", f"--run_dir={run}"),
        *("--image_size=16", "--batch_size=32", "--epochs=None", "--steps=2"),
        *("--encoder.width=0.0625", "--encoder.stem=small_stride2", "--held_out=15"),
    )
    assert "small:train:rest: 135 images" in done.stdout
    assert "eval/knn_top_1" in (run / "log.jsonl").read_text()
    knn = run_program("eval.py", "knn", f"--run_dir={run}").stdout
    assert "150" in knn and "70" in knn


def test_a_view_is_what_the_large_photograph_gives(tmp_path):
    """A crop of twice the view's size loses nothing that the view could show."""
    from selfsup_tf.data.views import evaluation_view

    coarse = np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)
    large = PIL.Image.fromarray(coarse).resize((1200, 800), PIL.Image.BICUBIC)
    (tmp_path / "photos").mkdir()
    large.save(tmp_path / "photos" / "a.png")
    selfsup.prepare(str(tmp_path / "photos"), tmp_path / "small", size=192)
    (small,) = elements(open_source(tmp_path / "small"))
    assert small["image"].shape == (192, 288, 3)
    expected = evaluation_view(tf.constant(np.asarray(large)), 96)
    found = evaluation_view(tf.constant(small["image"]), 96)
    # JPEG of quality 95 is off by 1 to 2 levels of 255, a resize in two steps by less.
    assert np.abs(found - expected).mean() < 2 / 255
