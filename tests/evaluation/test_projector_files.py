"""What TensorBoard's projector serves of the files, asked over its own routes."""

import io
import json
import pathlib
import urllib.parse

import keras
import numpy as np
import PIL.Image
import pytest
import werkzeug.test
from tensorboard.backend.event_processing.data_provider import (
    MultiplexerDataProvider,
)
from tensorboard.backend.event_processing.plugin_event_multiplexer import (
    EventMultiplexer,
)
from tensorboard.plugins import base_plugin
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from toys import mean_encoder

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import extract_features
from selfsup_tf.evaluation.measures.projector_files import write_projector


class Projector:
    """The plugin over a directory, as `tensorboard --logdir` sets it up."""

    def __init__(self, directory):
        multiplexer = EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(directory))
        multiplexer.Reload()
        context = base_plugin.TBContext(
            logdir=str(directory),
            multiplexer=multiplexer,
            data_provider=MultiplexerDataProvider(multiplexer, str(directory)),
        )
        self.apps = ProjectorPlugin(context).get_plugin_apps()

    def get(self, route, **query):
        client = werkzeug.test.Client(self.apps[route])
        response = client.get("/?" + urllib.parse.urlencode(query))
        assert response.status_code == 200, response.get_data(as_text=True)
        return response

    def read(self):
        """Config, vectors, lines of metadata and sprite of the only run."""
        (run,) = json.loads(self.get("/runs").data)
        (config,) = json.loads(self.get("/info", run=run).data)["embeddings"]
        query = {"run": run, "name": config["tensorName"]}
        vectors = np.frombuffer(self.get("/tensor", **query).data, np.float32)
        # As the page cuts it up.
        rows = self.get("/metadata", **query, num_rows=10_000).get_data(as_text=True)
        cells = [line.split("\t") for line in rows.split("\n") if line.strip()]
        sprite = self.get("/sprite_image", **query)
        assert sprite.mimetype == "image/png"
        return (
            config,
            vectors.reshape(config["tensorShape"]),
            cells,
            np.array(PIL.Image.open(io.BytesIO(sprite.data))),
        )


def cell(sprite, number, side):
    """Thumbnail `number`, found as the page finds it."""
    row, column = divmod(number, sprite.shape[1] // side)
    return sprite[row * side :, column * side :][:side, :side]


def test_tensorboard_serves_a_folder(tmp_path):
    """With a name that holds a tab and a line's end."""
    random = np.random.default_rng(0)
    names = ["a\tb\nc/1.png", "a\tb\nc/2.png", "ø/3.png", "ø/4.png", "ø/5.png"]
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    source = open_source(tmp_path / "images")
    directory = write_projector(
        mean_encoder(), source, tmp_path / "projector", thumbnail=8
    )
    config, vectors, cells, sprite = Projector(directory).read()
    assert config["sprite"]["singleImageDim"] == [8, 8]
    # Nine digits give every float32 back.
    expected = extract_features(mean_encoder(), source).features
    np.testing.assert_array_equal(vectors, expected)
    assert cells[0] == ["class", "index", "path"]
    assert [row[:2] for row in cells[1:]] == [
        ["a b c", "0"],
        ["a b c", "1"],
        ["ø", "2"],
        ["ø", "3"],
        ["ø", "4"],
    ]
    for row, name in zip(cells[1:], names, strict=True):
        assert row[2].endswith(name.replace("\t", " ").replace("\n", " "))
    assert sprite.shape == (24, 24, 3)
    for number, name in enumerate(names):
        pixels = np.array(PIL.Image.open(tmp_path / "images" / name))
        np.testing.assert_array_equal(cell(sprite, number, 8), pixels)
    assert (cell(sprite, 5, 8) == 255).all()


def test_some_of_many_images_without_labels(tmp_path):
    """Grey levels tell which image a vector, a row and a thumbnail are of."""
    levels = np.arange(100, dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (100, 8, 8, 3))
    directory = write_projector(
        mean_encoder(), images, tmp_path, count=10, thumbnail=3, seed=1
    )
    _, vectors, cells, sprite = Projector(directory).read()
    # The projector takes a line without a tab for an image.
    indices = [int(index) for (index,) in cells]
    assert len(set(indices)) == 10 and indices != list(range(10))
    # A quarter's mean is of 16 float32 numbers: some roundings of 6e-8.
    np.testing.assert_allclose(vectors[:, 0] * 255, indices, rtol=1e-6)
    assert [int(cell(sprite, n, 3).mean()) for n in range(10)] == indices
    again = write_projector(
        mean_encoder(), images, tmp_path / "b", count=10, thumbnail=3, seed=1
    )
    for file in directory.glob("*.*"):
        assert file.read_bytes() == (again / file.name).read_bytes()
    other = write_projector(mean_encoder(), images, tmp_path / "c", count=10, seed=2)
    assert (other / "metadata.tsv").read_text() != "\n".join(map(str, indices)) + "\n"


def test_a_cloud_too_large_for_its_picture_is_refused(tmp_path):
    images = np.zeros((10, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"fit in 8192 x 8192 .* 2048 pixels or less"):
        write_projector(mean_encoder(), images, tmp_path, thumbnail=2049)
    assert list(tmp_path.iterdir()) == []
    for wrong in ({"count": 0}, {"thumbnail": 0}):
        with pytest.raises(InputError, match="1"):
            write_projector(mean_encoder(), images, tmp_path, **wrong)


def test_a_broken_encoder_leaves_what_was_there(tmp_path):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    write_projector(mean_encoder(), images, tmp_path)
    before = {p: p.read_bytes() for p in pathlib.Path(tmp_path).iterdir()}
    broken = keras.Sequential([mean_encoder(), keras.layers.Rescaling(np.nan)])
    with pytest.raises(InputError, match="NaN or infinity"):
        write_projector(broken, images, tmp_path)
    assert {p: p.read_bytes() for p in pathlib.Path(tmp_path).iterdir()} == before
