"""A folder as people have them, from `train.py` to a board, every file counted."""

import json

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from artefacts import EXAMPLES, load, python

from selfsup_tf import cli
from selfsup_tf.data.decode import decode_image
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.data.views import evaluation_view

edge = load(EXAMPLES / "edge" / "encoder.py")
TURNED = PIL.Image.Exif()
TURNED[0x0112] = 6
SMALL = [
    *("--image_size=16", "--batch_size=16", "--epochs=None", "--steps=2"),
    *("--encoder.name=resnet18", "--encoder.width=0.0625", "--held_out=0"),
    "--encoder.stem=small_stride2",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """30 files that can be read, of every kind, and others that can't."""
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    heif.register_heif_opener()
    place = tmp_path_factory.mktemp("Fotos") / "2024 Übersee"
    place.mkdir()
    pictures = [PIL.Image.fromarray(x).resize((60, 44)) for x in make_shapes("test")[0]]
    deep = np.random.default_rng(0).integers(0, 2**12, (44, 60), np.uint16)
    rgba = np.dstack([np.asarray(pictures[0]), np.full((44, 60), 90, np.uint8)])
    # Squares as large as JPEG's own, of which decoders disagree by a rounding at most.
    squares = np.random.default_rng(0).integers(0, 32, (6, 8), np.uint8) * 8
    squares = PIL.Image.fromarray(squares.repeat(8, 0).repeat(8, 1)).convert("RGB")
    squares.save(place / "gedreht.jpg", exif=TURNED, quality=100)
    pictures[1].save(place / "IMG_0001.HEIC")
    pictures[2].save(place / "scan.tif", compression="tiff_lzw")
    PIL.Image.fromarray(deep).save(place / "sensor.tiff")
    PIL.Image.fromarray(deep).save(place / "sensor.png")
    pictures[3].convert("L").save(place / "grau.jpg")
    pictures[4].convert("CMYK").save(place / "druck.jpg")
    PIL.Image.fromarray(rgba).save(place / "alpha.png")
    pictures[5].resize((20, 20)).save(place / "winzig.png")
    pictures[6].save(place / "größe.webp")
    pictures[7].save(place / "neu.avif")
    pictures[8].quantize(16).save(place / "alt.gif")
    for number in range(9, 27):
        pictures[number].save(place / f"{number}.jpg")
    for name in ("a.cr2", "b.CR2", "c.svg"):
        (place / name).write_bytes(b"?")
    (place / "Thumbs.db").write_bytes(b"?")
    return place


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """Trained and exported by the commands."""
    place = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        where = f"--run_dir={place / 'a'}"
        cli.train(["simclr", "folder_cpu", f"--data={photos.parent}", where, *SMALL])
        formats = ["--formats", "saved_model", "tflite_float32", "tflite_int8"]
        # Two steps of nothing make no encoder that eight bits could keep.
        cli.export([where, *formats, "--min_cosine", "int8", "-1"])
    return place / "a"


def test_every_file_is_used_or_counted(run, photos, tmp_path):
    begun = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    assert begun["images"] == 30
    (line,) = begun["skipped"]
    assert line.startswith("3 files not read: 2 .cr2, 1 .svg, such as ")
    index = tmp_path / "photos.npz"
    file = run / "export" / "encoder_int8.tflite"
    done = python(
        *(EXAMPLES / "edge" / "embed.py", "index", file, photos, f"--index={index}")
    )
    assert done.returncode == 0, done.stderr
    assert "30 images; 30 embedded" in done.stdout and "4 skipped" in done.stdout
    assert len(np.load(index)["names"]) == 30


def test_a_turned_photograph_has_one_vector_everywhere(run, photos):
    """That of a browser is a TFLite file's: test_browser_example.py, turned_6.jpg."""
    contents = (photos / "gedreht.jpg").read_bytes()
    encoder = keras.saving.load_model(run / "encoder.keras")

    def in_python(**options):
        view = evaluation_view(decode_image(tf.constant(contents), **options), 16)
        return encoder(view[None]).numpy()[0]

    expected = in_python()
    served = tf.saved_model.load(str(run / "export" / "saved_model"))
    found = served.signatures["serve_bytes"](tf.constant([contents]))
    on_board = edge.Encoder(run / "export" / "encoder_float32.tflite")
    view = edge.evaluation_view(edge.read_image(photos / "gedreht.jpg"), 16)
    size = np.linalg.norm(expected)
    for vector in (found["representation"][0], on_board(view[None])[0]):
        assert np.linalg.norm(vector - expected) < 1e-3 * size
    assert np.linalg.norm(in_python(exif=False) - expected) > 1e-2 * size  # it matters
