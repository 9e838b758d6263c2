"""The map: who lies beside whom, in which picture, and from which encoder."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import PIL.Image
import pytest
import sklearn.decomposition
from toys import mean_encoder

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.measures.embedding_map import embedding_map, lay_out
from selfsup_tf.evaluation.measures.map_picture import FEW, apart, draw_map, write_map


def coloured(count=48, size=8, seed=0):
    """Images of one of three colours, with a little noise, and which one."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])[labels]
    noise = random.integers(-20, 21, (count, size, size, 3))
    return np.clip(colours[:, None, None] + noise, 0, 255).astype(np.uint8), labels


IMAGES, LABELS = coloured()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_like_lies_beside_like_and_each_with_its_own_picture(method):
    found = embedding_map(mean_encoder(), (IMAGES, LABELS), method=method)
    assert found.positions.shape == (48, 2)
    assert found.positions.min() >= 0 and found.positions.max() <= 1
    assert np.ptp(found.positions, axis=0).max() == pytest.approx(1)
    distances = np.linalg.norm(found.positions[:, None] - found.positions, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (LABELS[distances.argmin(axis=1)] == LABELS).all()
    np.testing.assert_array_equal(found.indices, np.arange(48))
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_array_equal(found.thumbnails, IMAGES)


def test_pca_is_that_of_the_directions():
    random = np.random.default_rng(3)
    features = random.standard_normal((30, 6)).astype(np.float32)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = sklearn.decomposition.PCA(2, svd_solver="full").fit_transform(
        directions.astype(np.float64)
    )
    found = lay_out(features, method="pca", seed=0)
    # The same up to one scale for both axes and a shift.
    scale = np.ptp(expected, axis=0).max()
    np.testing.assert_allclose(
        found - found.mean(axis=0), expected / scale, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_seed_gives_one_map(method):
    maps = [
        embedding_map(mean_encoder(), (IMAGES, LABELS), method=method, count=30, seed=s)
        for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(maps[0].positions, maps[1].positions)
    np.testing.assert_array_equal(maps[0].indices, maps[1].indices)
    assert not np.array_equal(maps[0].indices, maps[2].indices)
    assert len(maps[0].indices) == 30
    # Those drawn keep their pictures and labels.
    np.testing.assert_array_equal(maps[0].thumbnails, IMAGES[maps[0].indices])
    np.testing.assert_array_equal(maps[0].labels, LABELS[maps[0].indices])


def test_without_labels_and_with_large_images():
    images, _ = coloured(12, size=64)
    found = embedding_map(mean_encoder(64), images, method="pca")
    assert found.labels is None and found.class_names is None
    assert found.thumbnails.shape == (12, 48, 48, 3)
    np.testing.assert_allclose(
        found.thumbnails.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=2
    )
    written = json.loads(json.dumps(found.to_dict()))
    assert written["labels"] is None and written["class_names"] is None


def test_the_files_belong_together(tmp_path):
    found = embedding_map(mean_encoder(), (IMAGES, LABELS), method="pca", count=20)
    path = tmp_path / "eval" / "map.png"
    write_map(found, path)
    names = {p.name for p in path.parent.iterdir()}
    assert names == {"map.png", "map_thumbnails.jpg"}
    written = found.to_dict()
    assert written["method"] == "pca" and written["thumbnail"] == 8
    assert written["indices"] == found.indices.tolist()
    assert written["labels"] == LABELS[found.indices].tolist()
    np.testing.assert_allclose(written["positions"], found.positions, atol=1e-5)
    sprite = np.asarray(PIL.Image.open(tmp_path / "eval" / "map_thumbnails.jpg"))
    columns = written["columns"]
    # A mean is off by half a step of the JPEG, .25 of 255, in each of Y, Cb, Cr, which
    # make up to 2.77 times that in blue; and by rounding and clipping, .5 each.
    for n, thumbnail in enumerate(found.thumbnails):
        row, column = (8 * place for place in divmod(n, columns))
        shown = sprite[row : row + 8, column : column + 8].mean(axis=(0, 1))
        np.testing.assert_allclose(shown, thumbnail.mean(axis=(0, 1)), atol=2)
    assert PIL.Image.open(path).size[0] > 1000


def test_a_name_with_dollars_is_no_formula(tmp_path):
    found = embedding_map(mean_encoder(), (IMAGES, LABELS), method="pca", count=20)
    write_map(dataclasses.replace(found, source="photos$_$2024"), tmp_path / "map.png")


def test_a_collapsed_encoder_has_a_map_of_one_point(tmp_path):
    for method in ("tsne", "pca"):
        places = lay_out(np.ones((12, 5)), method=method, seed=0)
        np.testing.assert_array_equal(places, np.full((12, 2), 0.5))
        lay_out(np.ones((12, 1)), method=method, seed=0)
        lay_out(np.zeros((12, 3)), method=method, seed=0)


def test_what_makes_no_map_is_refused():
    with pytest.raises(InputError, match="Perhaps you meant: tsne"):
        embedding_map(mean_encoder(), IMAGES, method="t-sne")
    with pytest.raises(InputError, match="10 images or more; received 9"):
        embedding_map(mean_encoder(), IMAGES[:9])
    with pytest.raises(InputError, match="10 images or more; received 5"):
        embedding_map(mean_encoder(), IMAGES, count=5)
    inputs = keras.Input((8, 8, 3))
    broken = keras.Model(
        inputs, keras.layers.Flatten()(keras.layers.Lambda(lambda x: x / 0)(inputs))
    )
    with pytest.raises(InputError, match="finite"):
        embedding_map(broken, IMAGES)


def test_few_images_are_all_drawn_with_the_names_of_their_files(tmp_path):
    for number, image in enumerate(IMAGES[:20]):
        PIL.Image.fromarray(image).save(tmp_path / f"Bild_$ü$_{number}.png")
    source = open_source(tmp_path)
    found = embedding_map(mean_encoder(), source, method="pca")
    assert found.files == tuple(pathlib.Path(path).name for path in source.paths)
    assert found.to_dict()["files"] == list(found.files)
    figure = draw_map(found)
    (axes,) = figure.axes
    assert len(axes.images) == 20 <= FEW  # none is a point
    boxes = [image.get_extent() for image in axes.images]
    for one in boxes:  # and none lies over another
        for other in boxes:
            apart_by = max(abs(one[0] - other[0]), abs(one[2] - other[2]))
            assert one is other or apart_by >= one[1] - one[0]
    names = [text.get_text() for text in axes.texts]
    assert names == [name.replace("$", r"\$") for name in found.files]
    figure.savefig(tmp_path / "map.png")  # a dollar is no formula


def test_places_move_together_as_little_as_can_be():
    grid = np.stack(np.meshgrid([0, 0.5, 1], [0, 0.5, 1]), -1).reshape(-1, 2)
    random = np.random.default_rng(0)
    order = random.permutation(9)[:6]
    moved = grid[order] + random.uniform(-0.2, 0.2, (6, 2))
    np.testing.assert_array_equal(apart(moved, 3), grid[order])
    heap = apart(np.full((9, 2), 0.5), 3)  # a collapsed encoder's
    assert len(np.unique(heap, axis=0)) == 9
