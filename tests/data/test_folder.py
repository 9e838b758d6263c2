"""Folders of image files, nasty ones among them."""

import io
import os
import shutil

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from selfsup_tf.data.decode import decode_image
from selfsup_tf.data.sources import (
    has_test_split,
    open_evaluation,
    open_pair,
    open_source,
)
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import extract_features
from selfsup_tf.evaluation.measures.robustness import robustness

RAMP = np.stack(np.meshgrid(np.arange(0, 240, 6), np.arange(0, 240, 8)), -1)
PIXELS = np.concatenate([RAMP, 255 - RAMP[..., :1]], -1).astype(np.uint8)  # 30x40
PICTURE = PIL.Image.fromarray(PIXELS)


def encode(picture, form, **options):
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


JPEG = encode(PICTURE, "JPEG", quality=95)
PNG = encode(PICTURE, "PNG")


def write(path, contents=JPEG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)


def fill(folder, count, suffix=".jpg"):
    for i in range(count):
        write(folder / f"{i:03}{suffix}")


def images_of(source):
    return [e["image"] for e in source.ordered().as_numpy_iterator()]


FORMATS = {
    "jpeg": (JPEG, PIXELS, 12),
    "progressive jpeg": (encode(PICTURE, "JPEG", progressive=True), PIXELS, 25),
    "grey jpeg": (encode(PICTURE.convert("L"), "JPEG"), PICTURE.convert("L"), 8),
    "cmyk jpeg": (encode(PICTURE.convert("CMYK"), "JPEG", quality=95), PIXELS, 25),
    "png": (PNG, PIXELS, 0),
    "grey png": (encode(PICTURE.convert("L"), "PNG"), PICTURE.convert("L"), 0),
    "palette png": (encode(PICTURE.quantize(64), "PNG"), PICTURE.quantize(64), 0),
    "bmp": (encode(PICTURE, "BMP"), PIXELS, 0),
    "palette bmp": (encode(PICTURE.quantize(64), "BMP"), PICTURE.quantize(64), 0),
    "webp": (encode(PICTURE, "WEBP", lossless=True), PIXELS, 0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_become_rgb_bytes(name):
    contents, expected, tolerance = FORMATS[name]
    if not isinstance(expected, np.ndarray):
        expected = np.asarray(expected.convert("RGB"))
    graph = tf.function(decode_image, input_signature=[tf.TensorSpec((), tf.string)])
    for image in (decode_image(tf.constant(contents)), graph(contents)):
        assert image.dtype == tf.uint8
        assert np.abs(image.numpy().astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_alpha_is_dropped(form):
    alpha = PICTURE.copy()
    alpha.putalpha(100)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    image = decode_image(tf.constant(encode(alpha, form, **options)))
    np.testing.assert_array_equal(image, PIXELS)


def test_16_bits_become_8():
    deep = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    image = decode_image(tf.constant(encode(PIL.Image.fromarray(deep), "PNG"))).numpy()
    assert image.shape == (8, 8, 3)
    assert np.abs(image[..., 0] - deep / 257).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colour", [False, True])
def test_16_bits_that_hold_fewer_are_scaled_by_these(bits, colour):
    values = np.linspace(0, 2**bits - 1, 600).astype(np.uint16).reshape(20, 30, 1)
    values = values * np.ones(3 if colour else 1, np.uint16)
    png = tf.io.encode_png(values)
    graph = tf.function(decode_image, input_signature=[tf.TensorSpec((), tf.string)])
    for image in (decode_image(png), graph(png)):
        literal = np.broadcast_to(values // 2 ** (bits - 8), (20, 30, 3))
        np.testing.assert_array_equal(image, literal)
    assert image.numpy().max() == 255
    black = tf.io.encode_png(np.zeros_like(values))
    assert not decode_image(black).numpy().any()


def test_files_of_16_bits_that_hold_fewer_are_told(tmp_path):
    for number, largest in enumerate((4095, 3000, 1000, 65535)):
        values = np.full((8, 8, 1), largest, np.uint16)
        write(tmp_path / f"{number}.png", tf.io.encode_png(values).numpy())
    (note,) = open_source(tmp_path).notes
    assert note.startswith("Of the files of 16 bits 1 hold 10, 2 hold 12, 1 hold 16;")
    (tmp_path / "1.png").unlink(), (tmp_path / "0.png").unlink()
    (tmp_path / "2.png").write_bytes(PNG)
    assert open_source(tmp_path).notes == ()


def test_animations():
    frames = [PIL.Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    gif = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image = decode_image(tf.constant(gif)).numpy()
    np.testing.assert_array_equal(image, np.broadcast_to([255, 0, 0], (9, 9, 3)))
    # This one would end the process, if TensorFlow's decoder saw it.
    webp = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(tf.errors.InvalidArgumentError, match="animated WebP"):
        decode_image(tf.constant(webp))


def test_labels_names_and_order(tmp_path):
    for name in ("zebra/a b.JPG", "zebra/deep/er/c.jpeg", "Ähre/ü.png", "Ähre/1.Bmp"):
        contents = {"png": PNG, "Bmp": encode(PICTURE, "BMP")}
        write(tmp_path / name, contents.get(name.split(".")[-1], JPEG))
    write(tmp_path / ".hidden/x.jpg", b"")
    write(tmp_path / "zebra/.x.jpg", b"")
    write(tmp_path / "notes.txt", b"not an image")
    (tmp_path / "zebra/loop").symlink_to(tmp_path)
    os.link(tmp_path / "zebra/a b.JPG", tmp_path / "linked.dat")
    (tmp_path / "zebra/link.jpg").symlink_to(tmp_path / "zebra/a b.JPG")
    source = open_source(tmp_path)
    assert source.class_names == ("zebra", "Ähre")
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.skipped == () and source.image_shape == (30, 40, 3)
    elements = list(source.ordered().as_numpy_iterator())
    assert [e["label"] for e in elements] == [0, 0, 0, 1, 1]
    assert [e["index"] for e in elements] == list(range(5))
    np.testing.assert_array_equal(elements[4]["image"], PIXELS)  # ü.png
    element = next(source.shuffled(seed=0, epoch=0, labels=False).as_numpy_iterator())
    assert set(element) == {"image", "index"}


def test_a_folder_that_was_moved_holds_what_it_held(tmp_path):
    """Nor do times count, which copying changes; other files do."""
    fill(tmp_path / "a" / "cat", 12), fill(tmp_path / "a" / "dog", 12)
    began = open_source(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    moved = tmp_path / "b"
    os.utime(moved / "cat" / "000.jpg", (0, 0))
    write(moved / "cat" / "000.jpg", PNG)  # saved again, which one in twenty may be
    there = open_source(moved)
    assert there.as_begun(began.files).contents == there.contents == began.contents
    (moved / "dog" / "000.jpg").rename(moved / "dog" / "new.jpg")
    assert open_source(moved).contents != began.contents
    write(moved / "cat" / "001.jpg", PNG)
    with pytest.raises(InputError, match="list of files that the run began with"):
        there.as_begun({"files": []})
    with pytest.raises(InputError, match=r"2 of 24 files of another length.*cat/000"):
        open_source(moved).as_begun(began.files)


@pytest.mark.parametrize("extra", ["root.jpg", None])
def test_unlabelled(tmp_path, extra):
    fill(tmp_path / "a", 2)
    if extra:
        fill(tmp_path / "b", 2)
        write(tmp_path / extra)
    source = open_source(str(tmp_path))
    assert source.class_names is None and source.labels is None
    assert not source.labelled
    said = "root.jpg lies beside the 2 sub-folders, so these are not taken as classes"
    assert any(said in note for note in source.notes) == bool(extra)
    assert set(next(source.ordered().as_numpy_iterator())) == {"image", "index"}
    with pytest.raises(InputError, match="sub-folder for each class"):
        open_evaluation(tmp_path)


def test_a_folder_that_may_not_be_opened_is_named(tmp_path, monkeypatch):
    """As lost+found on a disk of one's own. Root may open all, so it is acted."""
    fill(tmp_path / "cat", 2), fill(tmp_path / "dog", 2)
    fill(tmp_path / "cat" / "lost+found", 1)
    scandir = os.scandir

    def refusing(path):
        if str(path).rstrip("/").endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    source = open_source(tmp_path)
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.skipped == (f"{tmp_path}/cat/lost+found: permission denied",)
    (tmp_path / "all" / "lost+found").mkdir(parents=True)
    with pytest.raises(InputError, match=r"received .*lost.found: permission denied"):
        open_source(tmp_path / "all" / "lost+found")


def test_links_that_lead_nowhere_are_named(tmp_path):
    fill(tmp_path, 30)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    source = open_source(tmp_path)
    assert source.size == 30
    assert source.skipped == (
        f"{tmp_path}/gone.jpg: no file, or a link that leads nowhere",
        f"{tmp_path}/round.jpg: no file, or a link that leads nowhere",
    )
    for file in tmp_path.glob("0*.jpg"):
        file.unlink()
    with pytest.raises(InputError, match=r"that can be read; received .*gone\.jpg: no"):
        open_source(tmp_path)


def test_the_name_of_a_class_is_text_whatever_its_bytes(tmp_path):
    """As folders of old archives have them."""
    for name in (b"M\xfcnchen", "Köln".encode()):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        with open(os.path.join(folder, b"1.jpg"), "wb") as file:
            file.write(JPEG)
    names = open_source(tmp_path).class_names
    assert names == ("Köln", r"M\xfcnchen")


def test_images_of_different_sizes(tmp_path):
    fill(tmp_path, 2)
    write(tmp_path / "x.png", encode(PICTURE.resize((1, 1)), "PNG"))
    source = open_source(tmp_path)
    assert source.image_shape is None
    assert [i.shape for i in images_of(source)] == [(30, 40, 3), (30, 40, 3), (1, 1, 3)]


BAD = {
    "zero.jpg": (b"", "empty file"),
    "text.jpg": (b"I am no image at all", "Unknown image file format"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "Invalid JPEG"),
    "half.png": (PNG[: len(PNG) // 2], "Invalid PNG"),
    "riff.webp": (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
    "short.bmp": (encode(PICTURE.quantize(64), "BMP")[:90], ""),
}


def test_bad_files_are_skipped_and_listed(tmp_path):
    fill(tmp_path, 120)
    write(tmp_path / "png_inside.jpg", PNG)
    for name, (contents, _) in BAD.items():
        write(tmp_path / name, contents)
    source = open_source(tmp_path)
    assert source.size == 121 == len(images_of(source))
    assert len(source.skipped) == len(BAD)
    for line in source.skipped:
        path, _, reason = line.partition(": ")
        assert BAD[os.path.basename(path)][1] in reason and reason


def test_many_bad_files_are_refused(tmp_path):
    fill(tmp_path, 10)
    write(tmp_path / "bad.jpg", b"")
    with pytest.raises(InputError, match=r"1 bad of 11 \(bad.jpg: empty file\)"):
        open_source(tmp_path)


def test_no_images(tmp_path):
    with pytest.raises(InputError, match=r"\.jpg, \.jpeg, \.png.*received no files"):
        open_source(tmp_path)
    write(tmp_path / "scan.svg", b"<svg>")
    with pytest.raises(InputError, match=r"1 other file \(\.svg\)"):
        open_source(tmp_path)


def test_splits(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for name in ("cat", "dog"):
            fill(tmp_path / split / name, count)
    assert has_test_split(tmp_path)
    assert open_source(tmp_path).size == 6
    assert open_source(tmp_path, split="val").name == f"{tmp_path.name}:val"
    train, test = open_evaluation(tmp_path)
    assert (train.size, test.size) == (6, 4)
    assert train.class_names == test.class_names == ("cat", "dog")
    with pytest.raises(InputError, match="Choose one of: train, val"):
        open_source(tmp_path, split="holdout")
    fill(tmp_path / "val" / "emu", 1)
    with pytest.raises(InputError, match="emu only in"):
        open_evaluation(tmp_path)


def fill_classes(folder, names=("cat", "dog"), count=2):
    for name in names:
        fill(folder / name, count)


@pytest.mark.parametrize(
    ("train", "test", "word"),
    [
        ("train", "valid", "valid"),
        ("Train", "Test", "test"),
        ("Training", "Testing", "testing"),
        ("TRAIN", "dev", "dev"),
        ("imagenette_train", "imagenette_val", "val"),
        ("training_set", "test_set", "test"),
        ("train2017", "val2017", "val"),
        ("trainset", "testset", "test"),
        ("around/train", "around/validation", "validation"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
    ],
)
def test_every_usual_name_of_a_split(tmp_path, train, test, word):
    fill_classes(tmp_path / train, count=3)
    fill_classes(tmp_path / test)
    write(tmp_path / "labels.csv")
    (tmp_path / "__empty").mkdir()
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "dog") and source.size == 6
    assert has_test_split(tmp_path)
    assert [part.size for part in open_evaluation(tmp_path)] == [6, 4]
    assert open_source(tmp_path, split=word).name == f"{tmp_path.name}:{word}"
    assert any(f", {word}" in note for note in source.notes)


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "test"),
        ("cat", "dev", "test"),
        ("plane", "train"),
        ("express_train", "freight_train"),
        ("plane", "test", "trainer"),
    ],
)
def test_classes_with_names_like_splits(tmp_path, names):
    fill_classes(tmp_path, names)
    source = open_source(tmp_path)
    assert source.class_names == names and source.notes == ()
    assert not has_test_split(tmp_path)


def test_splits_of_which_none_is_learned_from(tmp_path):
    fill_classes(tmp_path, ("test", "valid"))
    (note,) = open_source(tmp_path).notes
    assert note.startswith("test, valid are taken for classes")


@pytest.mark.parametrize("around", ["train", "photos", "photos/Training", "test"])
def test_a_folder_around_all_is_seen_through(tmp_path, around):
    fill_classes(tmp_path / around, count=5)
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "dog") and source.name == tmp_path.name
    assert not has_test_split(tmp_path)


def test_images_without_a_class_beside_those_to_learn_from(tmp_path):
    fill_classes(tmp_path / "train", count=5)
    fill(tmp_path / "unlabeled", 3)
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "dog") and source.size == 10
    assert source.notes == ("Splits: train, unlabeled.",)
    assert not has_test_split(tmp_path)
    assert open_source(tmp_path, split="unlabeled").size == 3


@pytest.mark.parametrize("flat", ["test", "test/images"])
def test_a_test_split_without_classes_judges_nothing(tmp_path, flat):
    fill_classes(tmp_path / "train", count=5)
    fill(tmp_path / flat, 3)
    assert open_source(tmp_path, split="test").size == 3
    assert "No class folders, so no judge, in test." in open_source(tmp_path).notes
    train, test = open_evaluation(tmp_path)
    assert (train.size, test.size) == (8, 2)
    with pytest.raises(InputError, match="a test split"):
        open_evaluation(tmp_path, learned=True)
    fill_classes(tmp_path / "valid")
    train, test = open_evaluation(tmp_path)
    assert (train.size, test.size) == (10, 4)


def test_a_test_split_of_one_class_is_not_seen_through(tmp_path):
    fill_classes(tmp_path / "train")
    fill(tmp_path / "test" / "cat", 2)
    assert has_test_split(tmp_path)
    with pytest.raises(InputError, match="test"):
        open_evaluation(tmp_path)


def test_what_lies_beside_splits_is_named(tmp_path):
    fill_classes(tmp_path / "Training")
    fill_classes(tmp_path / "Test")
    fill(tmp_path / "papers", 1)
    write(tmp_path / "cover.png", PNG)
    source = open_source(tmp_path)
    assert source.size == 4 and source.notes == (
        "Splits: train (Training), test (Test).",
        "Of no split, and left out: papers, the images beside them.",
    )


def test_pictures_that_are_not_read_are_counted_by_suffix(tmp_path):
    for name in ("a.jfif", "b.JPE", "c.jpg", "d.pjpeg"):
        write(tmp_path / name)
    for name in ("1.CR2", "2.cr2", "3.jxl", "4.svg", "5.dng", "6.psd"):
        write(tmp_path / name, b"a picture")
    for name in ("notes.txt", "labels.csv", "boxes.json", "README"):
        write(tmp_path / name, b"none")
    source = open_source(tmp_path)
    assert [os.path.basename(p) for p in source.paths] == [
        *("a.jfif", "b.JPE", "c.jpg", "d.pjpeg")
    ]
    (line,) = source.skipped
    kinds, _, example = line.partition(", such as ")
    assert kinds == "6 files not read: 2 .cr2, 1 .jxl, 1 .svg, 1 .dng, 1 .psd"
    assert example == f"{tmp_path / '1.CR2'}; convert to PNG or JPEG"
    assert source.notes == (
        "Left out, as no pictures: 4 other files (.csv, .json, .txt, no suffix).",
    )


def test_without_splits(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 10)
    assert not has_test_split(tmp_path)
    with pytest.raises(InputError, match="Choose one of: train"):
        open_source(tmp_path, split="test")
    train, test = open_evaluation(tmp_path)
    assert train.name.endswith(":80%") and test.name.endswith(":20%")
    assert np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2]
    assert sorted([*train.indices, *test.indices]) == list(range(20))


def test_a_single_file_is_refused(tmp_path):
    write(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"the file .*a\.jpg"):
        open_source(tmp_path / "a.jpg")


def test_paths_and_fingerprints_follow_the_files(tmp_path):
    for name in ("a/1", "a/2", "b/3"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        image = tf.fill((8, 8, 3), tf.constant(ord(name[-1]), tf.uint8))
        path.write_bytes(tf.io.encode_png(image).numpy())
    source = open_source(tmp_path)
    assert [os.path.basename(p) for p in source.paths] == ["1.png", "2.png", "3.png"]
    part = source.select(np.array([0, 2]), "part")
    assert [os.path.basename(p) for p in part.paths] == ["1.png", "3.png"]
    before = source.fingerprint
    assert before == open_source(tmp_path).fingerprint != part.fingerprint
    (tmp_path / "a/1.png").write_bytes((tmp_path / "b/3.png").read_bytes())
    assert open_source(tmp_path).fingerprint != before


def grey(folder, count):
    """`count` images of 8 x 8, the first all 0, the next all 1, and so on."""
    for i in range(count):
        picture = PIL.Image.new("RGB", (8, 8), (i, i, i))
        write(folder / f"{i:03}.png", encode(picture, "PNG"))


def damage(folder):
    """Loses 3 and 5, 58 and 59; gives 7 another size."""
    (folder / "003.png").unlink()
    write(folder / "005.png", b"")
    write(folder / "058.png", b"I was an image")
    write(folder / "059.png", PNG[:100])
    write(folder / "007.png", encode(PIL.Image.new("RGB", (20, 9), (7, 7, 7)), "PNG"))


def test_images_lost_since_are_replaced_counted_and_named(tmp_path):
    grey(tmp_path, 80)
    source = open_source(tmp_path)
    before = _read(source)
    damage(tmp_path)
    lost = {3, 5, 58, 59}
    order = [*before, *before]  # the first follows the last
    expected = [next(i for i in order[n:] if i not in lost) for n in range(80)]
    assert _read(source) == expected
    for start in (0, 16, 64):
        assert _read(source, start=start) == expected[start:]
    assert source.check_readable() == len(source.skipped) == 4
    reasons = dict(line.split(": ", 1) for line in source.skipped)
    assert reasons[str(tmp_path / "003.png")] == "No such file or directory"
    assert reasons[str(tmp_path / "005.png")] == "empty file"
    assert all(i["image"].shape == (8, 8, 3) for i in source.ordered())


def _read(source, **options):
    """The shade of each image, in the order of an epoch."""
    elements = source.shuffled(seed=1, epoch=2, **options).as_numpy_iterator()
    return [int(element["image"].mean()) for element in elements]


def test_a_source_opens_as_a_run_began_with_it(tmp_path):
    grey(tmp_path, 80)
    source = open_source(tmp_path)
    damage(tmp_path)
    write(tmp_path / "000_new.png", PNG)
    again = open_source(tmp_path)
    assert again.size == 77
    again = again.as_begun(source.files)
    assert again.size == 80 and again.image_shape == (8, 8, 3)
    assert "Left out: 1 file that came after the run began" in " ".join(again.notes)
    assert len(again.skipped) == 4  # named before any is read
    assert _read(again) == _read(source)
    assert again.as_begun(None) is again


def test_a_folder_that_goes_is_no_matter_of_a_few_files(tmp_path):
    grey(tmp_path, 40)
    source = open_source(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(tf.errors.OpError):
        _read(source)
    with pytest.raises(InputError, match="40 that can't be read any longer"):
        source.check_readable(look=True)


def test_nor_are_labels_compared_with_the_answers_to_another(tmp_path):
    grey(tmp_path / "cat", 20), grey(tmp_path / "dog", 20)
    test = open_source(tmp_path)
    train = np.zeros((8, 8, 8, 3), np.uint8), np.arange(8) % 2
    encoder = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    options = {"corruptions": ("noise",), "k": 1}
    assert robustness(encoder, train, test, **options).num_test == 40
    (tmp_path / "dog" / "003.png").unlink()
    with pytest.raises(InputError, match=r"every image of .*dog/003\.png: No such"):
        robustness(encoder, train, test, **options)


def test_no_evaluation_takes_one_image_for_another(tmp_path):
    grey(tmp_path, 80)
    source = open_source(tmp_path)
    damage(tmp_path)
    encoder = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    with pytest.raises(InputError, match=r"every image of .* received .*/059\.png: "):
        extract_features(encoder, source)
    found = extract_features(encoder, source, skip_lost=True)
    shades = np.rint(found.features.mean(1) * 255).astype(int).tolist()
    assert shades == found.indices.tolist()
    assert shades == [i for i in range(80) if i not in (3, 5, 58, 59)]


def test_labels_of_the_beginning_stay_whatever_is_put_beside_the_classes(tmp_path):
    fill(tmp_path / "a" / "cat", 5), fill(tmp_path / "a" / "dog", 5)
    began = open_source(tmp_path / "a")
    write(tmp_path / "a" / "loose.jpg")
    now = open_source(tmp_path / "a")
    assert not now.labelled
    again = now.as_begun(began.files)
    assert again.class_names == ("cat", "dog")
    np.testing.assert_array_equal(again.labels, began.labels)
    unread = open_source(tmp_path / "a", labels=False).as_begun(began.files)
    assert not unread.labelled and unread.size == 10


def test_images_of_the_beginning_are_found_in_a_folder_that_has_grown(tmp_path):
    """Of pictures in one sub-folder that stands for all, and then in two."""
    fill(tmp_path / "a" / "photos", 5)
    began = open_source(tmp_path / "a")
    fill(tmp_path / "a" / "others", 3)
    now = open_source(tmp_path / "a")
    assert now.class_names == ("others", "photos")
    again = now.as_begun(began.files)
    assert again.paths == began.paths and again.check_readable(look=True) == 0
    assert "Left out: 3 files that came after the run began" in " ".join(again.notes)


@pytest.mark.parametrize(
    "files", [["lr_find.json", "lr_find.png"], ["config.json", "log.jsonl", "a.png"]]
)
def test_charts_of_a_run_within_its_images_are_no_images(tmp_path, files):
    fill(tmp_path / "cat", 3), fill(tmp_path / "dog", 3)
    for name in files:
        write(tmp_path / "runs" / "a" / name, PNG if name.endswith("png") else b"{}")
    write(tmp_path / "runs" / "a" / "eval" / "knn.png", PNG)
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "dog") and source.size == 6
    (line,) = source.skipped
    assert "runs/a" in line and "the directory of a run" in line


def test_folders_of_one_image_each_are_no_classes(tmp_path):
    for n in range(20):
        write(tmp_path / f"product{n}" / "1.jpg")
    train, test = open_pair(tmp_path)
    assert (train.size, test.size) == (16, 4)
    assert not train.labelled and not test.labelled
    with pytest.raises(InputError, match="two images or more of a class"):
        open_evaluation(tmp_path)
    fill(tmp_path / "product0", 30)
    assert all(source.labelled for source in open_pair(tmp_path))
