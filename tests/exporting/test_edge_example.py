"""examples/edge: the views, the index and the search of a board without TensorFlow."""

import re
import shutil
import textwrap

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from artefacts import (
    EXAMPLES,
    build_classifier,
    build_encoder,
    export_tflite,
    load,
    python,
    represent,
    views_of,
)
from mutations import mutated_files

from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.data.views import evaluation_view

SIZE = 40  # above 32, so that the views are crops
# Runs embed.py where neither TensorFlow nor this package can be imported, and says at
# the end how much memory it took.
PROGRAM = """
    import pathlib, runpy, sys
    for name in ("tensorflow", "keras", "selfsup_tf"):
        sys.modules[name] = None
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        # Not ru_maxrss, which begins with what the parent process had.
        status = pathlib.Path("/proc/self/status")
        if status.exists():
            print(status.read_text().partition("VmHWM:")[2][:16], file=sys.stderr)
"""


edge = load(EXAMPLES / "edge" / "encoder.py")


def run(*words, fails=False):
    """Runs embed.py; its output, its complaints, its most memory in kB (or 0)."""
    program = f"import sys; sys.path.insert(0, {str(EXAMPLES / 'edge')!r}); "
    program += f"sys.argv = sys.argv[1:]\n{textwrap.dedent(PROGRAM)}"
    done = python("-I", "-c", program, EXAMPLES / "edge" / "embed.py", *words)
    assert bool(done.returncode) == fails, done.stderr
    assert "Traceback" not in done.stderr
    memory = re.search(r"(\d+) kB", done.stderr)
    return done.stdout, done.stderr, int(memory.group(1)) if memory else 0


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 images in two folders and 2 files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    images, _ = make_shapes("test", size=24)
    for n, image in enumerate(images):
        path = folder / ("even" if n % 2 == 0 else "odd") / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        large = PIL.Image.fromarray(image).resize((61 + n, 50), PIL.Image.BICUBIC)
        large.save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / "odd" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / ".hidden").write_text("not to be mentioned")
    return folder


@pytest.fixture(scope="module")
def models(encoder, tmp_path_factory):
    """The encoder as TFLite files that are called in every way that there is."""
    place = tmp_path_factory.mktemp("models")
    images, _ = make_shapes("train", size=60)
    views = evaluation_view(tf.constant(images), SIZE).numpy()
    options = {
        "float32": {},
        "int8": dict(precision="int8", calibration_images=views),
        "uint8": dict(precision="uint8", calibration_images=views),
        "uint8_batch": dict(precision="uint8", calibration_images=views, batch=5),
        "batch": dict(batch=5),
        "pixels": dict(uint8_input=True),
    }
    return {
        name: export_tflite(encoder, place / f"{name}.tflite", **values)
        for name, values in options.items()
    }


def expected(encoder, paths):
    """The representations of files as the encoder is evaluated on them."""
    return represent(encoder, views_of([p.read_bytes() for p in paths], SIZE))


def unit(h):
    return h / np.linalg.norm(h, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", ["float32", "int8", "uint8", "uint8_batch", "batch"])
def test_the_embeddings_are_the_encoders(encoder, models, folder, tmp_path, name):
    paths = sorted(folder.glob("*/*.png"))[:12]
    output = tmp_path / "embeddings.npz"
    said, complaints, _ = run("embed", models[name], *paths, "--output", output)
    assert "(12, 12)" in said and "skipped" not in complaints
    with np.load(output) as file:
        assert file["names"].tolist() == list(map(str, paths))
        received = file["representation"]
    correct = expected(encoder, paths)
    assert received.dtype == np.float32
    if "8" in name:
        # Integers say the direction; that much is asked of a format of 8 bits.
        cosines = (unit(received) * unit(correct)).sum(1)
        assert cosines.mean() > 0.99
        lengths = np.linalg.norm(received, axis=1) / np.linalg.norm(correct, axis=1)
        np.testing.assert_allclose(lengths, 1, atol=0.1)
    else:
        np.testing.assert_allclose(received, correct, atol=1e-4)


def test_pixels_of_8_bits_are_what_an_input_without_scale_expects(encoder, models):
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    views = (pixels / 255).astype(np.float32)
    received = edge.Encoder(models["pixels"])(views)
    np.testing.assert_allclose(received, represent(encoder, views), atol=1e-5)


def test_a_search_finds_what_is_nearest(encoder, models, folder, tmp_path):
    index = tmp_path / "deep" / "photos.npz"
    said, complaints, _ = run("index", models["float32"], folder, "--index", index)
    assert "24 images" in said and "2 skipped" in said
    lines = [line for line in complaints.splitlines() if line.startswith("skipped")]
    assert len(lines) == 2
    assert "notes.txt: no JPEG" in complaints and "broken.jpg" in complaints
    query = folder / "even" / "4.png"
    words = "search", models["float32"], query, "--index", index, "--k=7"
    said, _, _ = run(*words, "--num_threads=1")
    paths = sorted(folder.glob("*/*.png"))
    h = unit(expected(encoder, paths))
    cosines = h @ h[paths.index(query)]
    nearest = np.argsort(-cosines)[:7]
    found = [line.split("  ") for line in said.splitlines()]
    assert [path for _, path in found] == [str(paths[n]) for n in nearest]
    assert [float(c) for c, _ in found] == pytest.approx(cosines[nearest], abs=1e-3)
    assert [path.name for path in index.parent.iterdir()] == ["photos.npz"]
    (tmp_path / "any").touch()
    assert index.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_an_index_follows_its_folder(models, folder, tmp_path):
    photos, index = tmp_path / "photos", tmp_path / "photos" / "index.npz"
    shutil.copytree(folder, photos)
    arguments = "index", models["float32"], photos, "--index", index
    assert "24 embedded" in run(*arguments)[0]
    # The index is not taken for an image, and nothing is embedded twice.
    said, complaints, _ = run(*arguments)
    assert "24 images; 0 embedded" in said and "index.npz:" not in complaints
    (photos / "even" / "0.png").unlink()
    shutil.copy(photos / "even" / "2.png", photos / "odd" / "1.png")
    shutil.copy(photos / "even" / "2.png", photos / "new.png")
    assert "24 images; 2 embedded" in run(*arguments)[0]
    with np.load(index) as file:
        h = dict(zip(file["names"].tolist(), file["representation"], strict=True))
    assert "even/0.png" not in h
    for copy in ("odd/1.png", "new.png"):
        np.testing.assert_array_equal(h[copy], h["even/2.png"])
    # A file that became unreadable is forgotten too.
    (photos / "new.png").write_text("gone")
    assert "23 images; 0 embedded" in run(*arguments)[0]
    # And so are all, of which nothing could be searched.
    for path in photos.glob("*/*.png"):
        path.unlink()
    _, complaints, _ = run(*arguments, fails=True)
    assert "received none that is readable" in complaints
    assert not index.exists()


def test_a_disk_that_is_not_there_costs_no_index(models, folder, tmp_path):
    photos, index = tmp_path / "photos", tmp_path / "photos.npz"
    shutil.copytree(folder / "even", photos)
    run("index", models["float32"], photos, "--index", index)
    before = index.read_bytes()
    shutil.rmtree(photos)
    photos.mkdir()
    _, complaints, _ = run(
        "index", models["float32"], photos, "--index", index, fails=True
    )
    assert "a disk that is not mounted" in complaints and index.read_bytes() == before


@pytest.mark.parametrize("command", ["index", "embed"])
def test_a_place_that_can_not_be_written_is_said_before_the_work(
    models, folder, tmp_path, command
):
    (tmp_path / "a.npz").mkdir()
    (tmp_path / "file").touch()
    image = folder if command == "index" else folder / "even" / "0.png"
    flag = "--index" if command == "index" else "--output"
    for place in ("a.npz", "file/b.npz"):
        words = command, models["float32"], image, flag, tmp_path / place
        said, complaints, _ = run(*words, fails=True)
        assert "expected a place to write" in complaints and not said


def test_an_interrupted_index_keeps_what_it_has(models, folder, tmp_path):
    index = tmp_path / "index.npz"
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(EXAMPLES / "edge")!r})
        import embed
        real, calls = embed.Encoder.__call__, []
        def interrupted(self, views):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return real(self, views)
        embed.Encoder.__call__ = interrupted
        embed.main()
        """
    )
    arguments = "index", models["float32"], folder, "--index", index
    assert python("-c", program, *arguments, "--batch=5").returncode != 0
    assert "14 embedded" in run(*arguments)[0]


@pytest.mark.parametrize(
    "damage", ["another model", "another folder", "cut", "text", "objects"]
)
def test_what_is_no_index_of_these_is_refused(models, folder, tmp_path, damage):
    index = tmp_path / "index.npz"
    run("index", models["float32"], folder / "even", "--index", index)
    arguments = [models["float32"], folder / "even"]
    wanted = "expected an index; received"
    if damage == "another model":
        arguments[0], wanted = models["int8"], "expected an index of this model"
    elif damage == "another folder":
        arguments[1], wanted = folder / "odd", "expected the index of"
    elif damage == "cut":
        index.write_bytes(index.read_bytes()[:300])
    elif damage == "objects":
        with np.load(index) as file:
            np.savez(index, **{key: np.array([print], object) for key in file.files})
    else:
        index.write_text("no index")
    before = index.read_bytes()
    _, complaints, _ = run("index", *arguments, "--index", index, fails=True)
    assert wanted in complaints
    assert index.read_bytes() == before
    if damage != "another folder":
        arguments[1] = folder / "even" / "0.png"
        _, complaints, _ = run("search", *arguments, "--index", index, fails=True)
        assert wanted in complaints


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_classes_are_those_of_the_classifier(encoder, folder, tmp_path, precision):
    classifier = build_classifier(encoder, SIZE, 3)
    images, _ = make_shapes("train", size=60)
    model = export_tflite(
        encoder,
        tmp_path / "model.tflite",
        precision=precision,
        classifier=classifier,
        class_names=("a cat", "a dog", "a bird"),
        calibration_images=evaluation_view(tf.constant(images), SIZE).numpy()
        if precision == "uint8"
        else None,
    )
    paths = sorted(folder.glob("*/*.png"))[:6]
    broken = folder / "notes.txt"
    words = "classify", model, *paths, broken, "--k=3", "--batch=4"
    said, complaints, _ = run(*words, fails=True)  # for the one that is left out
    assert f"skipped {broken}: no JPEG" in complaints
    found = [line.split("  ") for line in said.splitlines()]
    correct = keras.ops.softmax(expected(classifier, paths)).numpy()
    assert len(found) == 3 * len(paths)
    # In integers a probability is a multiple of 1/256 of an inexact logit's.
    tolerance = 1e-3 if precision == "float32" else 0.05
    for n, path in enumerate(paths):
        three = found[3 * n : 3 * n + 3]
        assert [where for *_, where in three] == [str(path)] * 3
        shares = [float(share) for share, *_ in three]
        assert shares == sorted(shares, reverse=True)
        received = {name: float(share) for share, name, _ in three}
        for name, share in zip(("a cat", "a dog", "a bird"), correct[n], strict=True):
            assert received[name] == pytest.approx(share, abs=tolerance)


def test_classes_without_names_have_numbers(encoder, folder, tmp_path):
    path = tmp_path / "model.tflite"
    model = export_tflite(encoder, path, classifier=build_classifier(encoder, SIZE, 3))
    said, _, _ = run("classify", model, folder / "even" / "0.png", "--k=3")
    assert sorted(line.split("  ")[1] for line in said.splitlines()) == ["0", "1", "2"]


def test_classes_need_a_classifier(models, folder):
    path = folder / "even" / "0.png"
    _, complaints, _ = run("classify", models["float32"], path, fails=True)
    assert "expected a file with a classifier" in complaints


def test_what_can_not_be_used_is_named(models, folder, tmp_path):
    model, index = models["float32"], tmp_path / "index.npz"
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    cases = {
        "expected the TFLite file of an encoder": ("index", tmp_path / "bad.tflite"),
        "expected a folder of images": ("index", model, tmp_path / "none"),
        "none that is readable": ("index", model, tmp_path / "empty"),
    }
    for wanted, words in cases.items():
        words = [*words, folder][:3]
        _, complaints, _ = run(*words, "--index", index, fails=True)
        assert wanted in complaints
    assert not index.exists()
    run("index", model, folder, "--index", index)
    words = "index", model, folder, "--index", index, "--batch=0"
    _, complaints, _ = run(*words, fails=True)
    assert "--batch: expected 1 or more; received 0" in complaints
    text = folder / "notes.txt"
    _, complaints, _ = run("search", model, text, "--index", index, fails=True)
    assert f"{text}: no JPEG" in complaints


def test_broken_and_hostile_files_are_embedded_or_named(models, tmp_path):
    files = dict(mutated_files(200, seed=0))
    photos, index = tmp_path / "photos", tmp_path / "index.npz"
    photos.mkdir()
    for name, contents in files.items():
        (photos / name).write_bytes(contents)
    _, complaints, memory = run("index", models["float32"], photos, "--index", index)
    with np.load(index) as file:
        embedded, h = file["names"].tolist(), file["representation"]
    assert np.isfinite(h).all()
    skipped = dict(re.findall(rf"skipped {photos}/(\S+): (.+)", complaints))
    assert sorted([*embedded, *skipped]) == sorted(files)
    assert not [name for name in skipped if "_fine_" in name]
    for name in files:
        if "_huge_" in name:
            assert "at most 67,108,864" in skipped[name]
    # 80 MB are the interpreter and the libraries; the largest honest image here has 4
    # million pixels, a claim of 400 million would take 1,600 MB.
    assert memory < 200e3
