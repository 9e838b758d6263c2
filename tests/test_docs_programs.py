"""The Python programs of the documents run as they stand there, page by page.

What a program expects to be there, such as a run or an array of images, is made before
it in a folder of its own. Programs of docs/keras.md and CONTRIBUTING.md have tests of
their own.
"""

import pathlib
import re
import sys

import numpy as np
import pytest

import selfsup_tf as selfsup
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.evaluation.features import extract_features
from selfsup_tf.models.resnet import BLOCKS

ROOT = pathlib.Path(__file__).parents[1]
ELSEWHERE = {
    "docs/addons.md": "tests/fidelity/test_addons.py",
    "docs/keras.md": "tests/test_keras_page.py",
    "CONTRIBUTING.md": "tests/test_doors.py",
}


def programs_of(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


DOCUMENTS = [
    str(path.relative_to(ROOT))
    for place in ("*.md", "*_tf/*.md", "docs/**/*.md")
    for path in sorted(ROOT.glob(place))
]
PAGES = [path for path in DOCUMENTS if programs_of(path) and path not in ELSEWHERE]


# --- what programs expect to be there


def small_encoder(size):
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def write_photos(folder):
    """Drawn shapes as files, larger than any encoder here takes them."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, image in enumerate(make_shapes("test", size=10)[0]):
        picture = Image.fromarray(image).resize((150, 120), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.jpg", quality=95)


def write_vectors(path):
    """Of files, of which one is there twice."""
    folder = path.parent / "copies"
    write_photos(folder)
    (folder / "copy.jpg").write_bytes((folder / "0.jpg").read_bytes())
    selfsup.embed(small_encoder(32), str(folder), path, normalise=True)


def write_cat(path):
    from PIL import Image

    Image.fromarray(make_shapes("test", size=1)[0][0]).save(path)


def write_spectra(path):
    """Drawn shapes in six channels of 12 bits."""
    images = make_shapes("train", size=128)[0].repeat(2, axis=1).repeat(2, axis=2)
    bands = np.concatenate([images, 255 - images[..., ::-1]], axis=-1)
    np.savez(path, x_train=bands.astype(np.uint16) << 4)


def write_export(size, folder):
    images = make_shapes("test", size=64)[0]
    formats = ("saved_model", "tflite_int8")
    selfsup.export(small_encoder(size), folder, formats=formats, images=images)


def write_checkpoint(folder):
    """A ResNet-50 as google-research/simclr saves it, but with random weights."""
    sys.path.insert(0, str(ROOT / "tests" / "simclr"))
    from google_simclr import GoogleSimCLR, save_checkpoint

    save_checkpoint(GoogleSimCLR(), folder)


def arrays(count):
    train, test = make_shapes("train", size=count), make_shapes("test", size=100)
    names = {"x_train": train[0], "y_train": train[1]}
    return names | {"x_test": test[0], "y_test": test[1]}


@pytest.fixture
def make(tmp_path, monkeypatch, tiny_config, tiny_method):
    """Makes the files that a program names and nobody has made yet, in a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 1, 1))  # time is tracing

    def write_run(folder):
        np.savez("images.npz", **arrays(300))
        own = {"data": "images.npz", "image_size": 32, "projector": (16, 16, 8)}
        method = tiny_method(tiny_config("simclr", **own))
        selfsup.train(method, run_dir=folder, progress=False)

    makers = {
        "runs/simclr": write_run,
        "runs/v2": write_run,
        "runs/a/export": lambda folder: write_export(32, folder),
        "runs/photos/export": lambda folder: write_export(96, folder),
        "cat.jpg": write_cat,
        "spectra.npz": write_spectra,
        "photos.npz": write_vectors,
        "photos/": write_photos,
        "~/photos": write_photos,
        "r50_1x_sk0": write_checkpoint,
    }

    def make(program):
        for name, maker in makers.items():
            path = pathlib.Path(name).expanduser()
            if f'"{name}' in program and not path.exists():
                maker(path)

    return make


# --- what a user would notice


def readme(names):
    assert names["run"].encoder.output_shape == (None, 128)
    for name in ("views.png", "exported/MODEL_CARD.md", "exported/encoder_int8.tflite"):
        assert pathlib.Path(name).stat().st_size > 1000
    assert names["h"].shape == (4, 128) and np.isfinite(names["h"]).all()


def evaluation(names):
    (first, *_), options = names["beside"].rows, names["beside"].options
    assert (first.name, options["k"]) == ("top_1", 20)
    low, high = first.beside["untrained"].gain_interval
    assert low <= first.beside["untrained"].gain <= high
    assert 0 < names["near"].top_1 < 1
    assert pathlib.Path("photos.parquet").stat().st_size > 100
    assert [found.name for found in selfsup.read_results("runs/simclr")] == ["health"]
    assert "</html>" in pathlib.Path("runs/simclr/report.html").read_text()


def data(names):
    assert names["run"].encoder.input_shape == (None, 64, 64, 6)
    assert pathlib.Path("spectra_encoder/encoder_int8.tflite").stat().st_size > 1000


def semi_supervised(names):
    assert names["few"].config.fraction == 0.1
    assert names["classifier"].output_shape == (None, 10)
    assert len(selfsup.load_class_names("runs/student")) == 10


def importing(names):
    imported = names["imported"]
    assert imported.encoder.input_shape == (None, 224, 224, 3)
    assert imported.encoder.output_shape == (None, 2048)
    assert imported.projector.output_shape == (None, 128)
    assert (imported.encoder_config.name, imported.encoder_config.width) == (
        "resnet50",
        1,
    )


def photos(names):
    """The vectors of the file are those of the encoder that it was made of."""
    source = selfsup.open_source(str(names["paths"][0].parent))
    h = extract_features(small_encoder(96), source).features
    expected = unit(unit(h) - unit(h).mean(axis=0))
    found = unit(names["index"] - names["index"].mean(axis=0))
    # The angle between the two, as a share of what parts one image from another: .04
    # for int8, .2 where the middle of the image is cut out of 70 % in place of 87.5 %.
    assert np.median((found * expected).sum(axis=1)) > np.cos(0.1)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


CHECKS = {
    "docs/data.md": data,
    "README.md": readme,
    "docs/evaluation.md": evaluation,
    "docs/semi_supervised.md": semi_supervised,
    "docs/import.md": importing,
    "docs/photos.md": photos,
}
COUNTS = {"docs/semi_supervised.md": 1000}  # a tenth of the labels fills a batch
NOT_AS_WRITTEN = ("docs/scaling.md",)  # CIFAR-10 for 1,000 epochs, on several machines


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NOT_AS_WRITTEN])
def test_programs_run(page, make):
    names = arrays(COUNTS.get(page, 300))
    names["images"] = names["x_test"][:4].astype(np.float32) / 255
    for program in programs_of(page):
        make(program)
        exec(compile(program, page, "exec"), names)
    CHECKS.get(page, len)(names)


ONE_WORKER = """
import inspect, sys, types
import selfsup_tf as selfsup

train, asked = selfsup.train, []


def stand_in(*arguments, **options):
    inspect.signature(train).bind(*arguments, **options)
    asked.append(arguments[0])
    saved = types.SimpleNamespace(save=lambda path: print("saved", path))
    return selfsup.Run(options["run_dir"], saved, arguments[0].config, [])


selfsup.train = stand_in
exec(sys.argv[1])
print(type(asked[0]).__name__, asked[0].config.strategy)
"""


def test_the_program_of_workers_connects(start_python, free_addresses, tmp_path):
    """The training that would follow is left out: its verb, names and run are not."""
    (program,) = programs_of("docs/scaling.md")
    process = start_python(
        *("-c", ONE_WORKER, program), cluster=free_addresses(1), cwd=tmp_path
    )
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said.splitlines() == ["saved encoder.keras", "SimCLR multi_worker"]


def test_every_program_has_its_test():
    assert len(PAGES) > 5
    for page, test in ELSEWHERE.items():
        name = pathlib.Path(page).name
        assert programs_of(page) and f'"{name}"' in (ROOT / test).read_text(), page
    # Only those with a name are written to files and run.
    assert all(p.startswith("# mine/") for p in programs_of("CONTRIBUTING.md"))
