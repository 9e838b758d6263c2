"""What is drawn, by its statistics over 10,000 images.

Seeds are fixed, so that a test passes always or never. A p-value has to exceed ALPHA:
of the some hundred comparisons here, one in ten fresh seeds would fail one by chance,
while a distribution function that is off by .02 anywhere (.03 between two samples), a
rate by .02, or a correlation of .05, which is five deviations, is found.
"""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from selfsup_tf.config import ViewConfig
from selfsup_tf.data import crop_boxes, layers, random, views

COUNT = 10_000
ALPHA = 1e-3
CORRELATION = 0.05
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
# Pixels so many that rounding is nothing.
HUGE = 100_000


def _keys(seed=0, epoch=0, view=0, count=COUNT):
    return random.image_keys(seed, epoch, tf.range(count), view)


def _sample(layer, keys=None, shape=(32, 32)):
    """Parameters of `layer` for each key as in a call, NumPy by name."""
    keys = random.fold_in(_keys() if keys is None else keys, layer.salt)
    return {name: v.numpy() for name, v in layer.sample(keys, shape).items()}


def _boxes(law, shape, area=AREA, **keys):
    layer = layers.RandomResizedCrop(32, area=area, law=law)
    return _sample(layer, _keys(**keys), shape)["boxes"].astype(float).T


def _assert_uniform(values, low, high, name=""):
    assert values.min() >= low and values.max() <= high, name
    test = scipy.stats.kstest(values, "uniform", args=(low, high - low))
    assert test.pvalue > ALPHA, (name, test)


def _assert_rate(chosen, probability):
    test = scipy.stats.binomtest(int(chosen.sum()), len(chosen), probability)
    assert test.pvalue > ALPHA, test


def _assert_equally_likely(values, count):
    _, counts = np.unique(values, axis=0, return_counts=True)
    assert len(counts) == count
    assert scipy.stats.chisquare(counts).pvalue > ALPHA


def _assert_unrelated(columns):
    """No two of several columns of equal length are correlated."""
    together = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(together).max() < CORRELATION


@pytest.mark.parametrize("law", ["log_uniform", "log_uniform_clipped"])
def test_area_is_uniform_aspect_log_uniform_and_place_uniform(law):
    """Up to half of the image, where every draw fits."""
    y, x, tall, wide = _boxes(law, (HUGE, HUGE), area=(0.1, 0.5))
    columns = {
        "area": (tall * wide / HUGE**2, 0.1, 0.5),
        "aspect": (np.log(wide / tall), np.log(3 / 4), np.log(4 / 3)),
        "y": (y / (HUGE - tall), 0, 1),
        "x": (x / (HUGE - wide), 0, 1),
    }
    for name, column in columns.items():
        _assert_uniform(*column, name)
    _assert_unrelated([values for values, _, _ in columns.values()])


def test_a_distorted_box_has_uniform_aspect_height_and_place():
    """The height between those whose areas are the bounds, given the aspect."""
    y, x, tall, wide = _boxes("distorted_box", (HUGE, HUGE), area=(0.1, 0.5))
    aspect = wide / tall
    least, most = (HUGE * np.sqrt(share / aspect) for share in (0.1, 0.5))
    columns = {
        "aspect": (aspect, 3 / 4, 4 / 3),
        # A row is rounded away at either end.
        "height": ((tall - least) / (most - least), -1e-4, 1 + 1e-4),
        "y": (y / (HUGE - tall), 0, 1),
        "x": (x / (HUGE - wide), 0, 1),
    }
    for name, column in columns.items():
        _assert_uniform(*column, name)
    _assert_unrelated([values for values, _, _ in columns.values()])


# Of SimCLR's crop, google-research/simclr, tf2/data_util.py crop_and_resize. The aspect
# is that of a square view.
@tf.function
def _boxes_of_the_op(shape, seed):
    def one(image):
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.concat([shape, [3]], axis=0),
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            seed=tf.stack([seed, image]),
            min_object_covered=0.1,
            aspect_ratio_range=ASPECT,
            area_range=AREA,
            max_attempts=100,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], extent[:2]], axis=0)

    return tf.map_fn(one, tf.range(COUNT), fn_output_signature=tf.int32)


@pytest.mark.parametrize(
    "shape",
    [(32, 32), (224, 224), (300, 200), (200, 300), (375, 500), (100, 1250)],
    ids=str,
)
def test_distorted_boxes_follow_the_op_of_tensorflow(shape):
    """In the last shape a draw seldom fits: a tenth are whole images."""
    theirs = _boxes_of_the_op(tf.constant(shape), 5).numpy().astype(float).T
    ours = _boxes("distorted_box", shape, seed=5)
    for name, measure in {
        "y": lambda y, x, tall, wide: y,
        "x": lambda y, x, tall, wide: x,
        "height": lambda y, x, tall, wide: tall,
        "width": lambda y, x, tall, wide: wide,
        "area": lambda y, x, tall, wide: tall * wide,
        "aspect": lambda y, x, tall, wide: wide / tall,
        "below": lambda y, x, tall, wide: shape[0] - tall - y,
    }.items():
        test = scipy.stats.ks_2samp(measure(*ours), measure(*theirs))
        assert test.pvalue > ALPHA, (name, test)


def test_a_distorted_box_covers_a_tenth_and_leaves_the_last_row():
    """Two things that the op does and its arguments hide."""
    for boxes in (
        _boxes("distorted_box", (224, 224)),
        _boxes_of_the_op(tf.constant([224, 224]), 0).numpy().T,
    ):
        y, x, tall, wide = boxes
        assert 0.1 <= (tall * wide).min() / 224**2 < 0.101
        assert (y + tall)[tall < 224].max() == (x + wide)[wide < 224].max() == 223


def test_the_laws_differ_in_the_size_of_their_crops():
    """The mean share of an image of 500 x 375 pixels, as `crop_boxes` says."""
    for law, share in {
        "log_uniform": 0.43,
        "log_uniform_clipped": 0.52,
        "distorted_box": 0.37,
    }.items():
        _, _, tall, wide = _boxes(law, (500, 375))
        # Its deviation is .25, that of the mean .0025; and the share is rounded.
        assert abs((tall * wide).mean() / (500 * 375) - share) < 0.013, law


@pytest.mark.parametrize("law", crop_boxes.LAWS)
@pytest.mark.parametrize("shape", [(32, 32), (20, 500), (500, 20), (1, 1), (1, 60)])
def test_boxes_lie_inside(law, shape):
    y, x, tall, wide = _boxes(law, shape)
    assert min(y.min(), x.min()) >= 0 and min(tall.min(), wide.min()) >= 1
    assert (y + tall).max() <= shape[0] and (x + wide).max() <= shape[1]


@pytest.mark.parametrize("mode", ["multiply", "add"])
def test_jitter_draws_each_factor_uniformly(mode):
    layer = layers.ColorJitter(
        brightness=0.4, contrast=1.2, saturation=0.2, hue=0.1, brightness_mode=mode
    )
    params = _sample(layer)
    low, high = (0.6, 1.4) if mode == "multiply" else (-0.4, 0.4)
    # Rounded to float32, a bound may be passed by as much.
    _assert_uniform(params["brightness"], low - 1e-7, high + 1e-7)
    _assert_uniform(params["contrast"], 0, 2.2 + 1e-6)
    _assert_uniform(params["saturation"], 0.8 - 1e-7, 1.2 + 1e-7)
    _assert_uniform(params["hue"], -0.1 - 1e-8, 0.1 + 1e-8)
    _assert_rate(params["chosen"], 0.8)
    _assert_equally_likely(params["order"], 24)
    order = np.argsort(params.pop("order"), axis=1)
    _assert_unrelated([*params.values(), *order.T[:3]][:6])
    _assert_unrelated([*params.values(), order[:, 3]])


def test_brightness_of_strength_1_stays_between_a_fifth_and_nine_fifths():
    """SimCLR v2's max(1 - .8 s, 0) ... 1 + .8 s."""
    layer = layers.ColorJitter()
    for name in ("brightness", "contrast", "saturation"):
        _assert_uniform(_sample(layer)[name], 0.2 - 1e-7, 1.8 + 1e-7, name)
    _assert_uniform(_sample(layer)["hue"], -0.2 - 1e-7, 0.2 + 1e-7)


def test_blur_draws_sigma_uniformly():
    params = _sample(layers.RandomGaussianBlur(sigma=(0.1, 2.0), probability=0.1))
    _assert_uniform(params["sigma"], 0.1, 2.0)
    _assert_rate(params["chosen"], 0.1)


def test_rotation_draws_its_angle_uniformly():
    params = _sample(layers.RandomRotation(30.0, probability=0.6))
    _assert_uniform(params["degrees"], -30, 30)
    _assert_rate(params["chosen"], 0.6)


def test_rotate90_takes_each_turn_equally_often():
    """Seen in the images."""
    layer = layers.RandomRotate90(probability=0.75)
    square = np.random.default_rng(0).uniform(size=(4, 4, 3)).astype(np.float32)
    results = layer(tf.tile(square[None], [COUNT, 1, 1, 1]), _keys()).numpy()
    matches = [(results == np.rot90(square, k)).all(axis=(1, 2, 3)) for k in range(4)]
    assert (np.sum(matches, axis=0) == 1).all()
    assert scipy.stats.chisquare(np.sum(matches, axis=1)).pvalue > ALPHA


@pytest.mark.parametrize(
    ("make", "probability"),
    [
        (layers.RandomHorizontalFlip, 0.5),
        (layers.RandomGrayscale, 0.2),
        (layers.RandomSolarize, 0.2),
        (layers.RandomGaussianBlur, 0.5),
        (layers.RandomGaussianBlur, 1.0),
        (layers.ColorJitter, 0.8),
    ],
)
def test_a_share_of_the_images_is_transformed(make, probability):
    """Seen in the images: the others are left as they are, to the bit."""
    image = np.random.default_rng(0).uniform(size=(1, 2, 2, 3)).astype(np.float32)
    options = {}
    if make is layers.RandomGaussianBlur:
        # Of a small sigma float32 sees nothing.
        options = {"size": 1.0, "sigma": (0.5, 2.0)}
    layer = make(probability=probability, **options)
    results = layer(tf.tile(image, [COUNT, 1, 1, 1]), _keys()).numpy()
    _assert_rate((results != image).any(axis=(1, 2, 3)), probability)


RANDOM_LAYERS = [
    layers.RandomResizedCrop(32),
    layers.RandomResizedCrop(32, law="log_uniform_clipped"),
    layers.RandomResizedCrop(32, law="distorted_box"),
    layers.RandomHorizontalFlip(),
    layers.ColorJitter(),
    layers.RandomGrayscale(),
    layers.RandomGaussianBlur(),
    layers.RandomSolarize(),
    layers.RandomRotate90(),
    layers.RandomRotation(30.0, probability=0.5),
]


def _columns(layer, **keys):
    """What `layer` draws, each (COUNT,), by name."""
    columns = {}
    for name, values in _sample(layer, _keys(**keys), shape=(300, 200)).items():
        for place, column in enumerate(np.reshape(values, (COUNT, -1)).T):
            columns[f"{name} {place}"] = column.astype(float)
    return columns


@pytest.mark.parametrize("layer", RANDOM_LAYERS, ids=lambda x: type(x).__name__)
def test_draws_are_independent_across_epochs_views_seeds_and_images(layer):
    first = _columns(layer)
    others = [_columns(layer, **{name: 1}) for name in ("epoch", "view", "seed")]
    for name, column in first.items():
        _assert_unrelated([column, *(other[name] for other in others)])
        for lag in (1, 2, 4, 8, 64):
            assert abs(np.corrcoef(column[lag:], column[:-lag])[0, 1]) < CORRELATION


def test_the_operations_of_a_view_draw_independently():
    """Each from the same key, told apart by its salt."""
    columns = []
    for layer in RANDOM_LAYERS[2:]:
        # Of the order one place, of a box the top and the height, since the others
        # follow in part.
        for name, column in _columns(layer).items():
            if name not in ("order 1", "order 2", "order 3", "boxes 1", "boxes 3"):
                columns.append((type(layer).__name__, name, column))
    for (layer, name, one), (other, its, two) in itertools.combinations(columns, 2):
        if layer != other:
            assert abs(np.corrcoef(one, two)[0, 1]) < CORRELATION, (name, its)


def test_both_views_of_a_pair_flip_independently():
    """A quarter of the pairs each: neither, one, the other, both."""
    flip = layers.RandomHorizontalFlip()
    pair = [_sample(flip, _keys(view=view))["chosen"] for view in (0, 1)]
    _assert_equally_likely(np.stack(pair, axis=1), 4)


def _only(**widths):
    """A jitter of one operation."""
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    return layers.ColorJitter(probability=1.0, **(none | widths))


@pytest.mark.parametrize(
    "layer",
    [
        layers.RandomResizedCrop(16),
        layers.RandomResizedCrop(16, law="log_uniform_clipped"),
        layers.RandomResizedCrop(16, law="distorted_box"),
        layers.ColorJitter(probability=1.0),
        _only(brightness=0.8),
        _only(brightness=0.8, brightness_mode="add"),
        _only(contrast=0.8),
        _only(saturation=0.8),
        _only(hue=0.2),
        layers.RandomGaussianBlur(probability=1.0, sigma=(0.5, 2.0)),
        layers.RandomRotation(30.0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_image_draws_its_own(layer):
    """8 copies of one image become 8 different ones."""
    image = np.random.default_rng(0).uniform(size=(1, 32, 32, 3)).astype(np.float32)
    results = layer(tf.tile(image, [8, 1, 1, 1]), _keys(count=8)).numpy()
    assert len(np.unique(results.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize(
    ("layer", "outcomes"),
    [
        (layers.RandomHorizontalFlip(), 2),
        (layers.RandomGrayscale(probability=0.5), 2),
        (layers.RandomSolarize(probability=0.5), 2),
        (layers.RandomRotate90(), 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_image_decides_for_itself(layer, outcomes):
    """64 copies of one image have all outcomes that the operation has."""
    image = np.random.default_rng(0).uniform(size=(1, 8, 8, 3)).astype(np.float32)
    results = layer(tf.tile(image, [64, 1, 1, 1]), _keys(count=64)).numpy()
    assert len(np.unique(results.reshape(64, -1), axis=0)) == outcomes


@pytest.mark.parametrize("law", crop_boxes.LAWS)
def test_every_image_of_a_view_draws_its_own_one_by_one_too(law):
    view = views.View(ViewConfig(crop_law=law), 16)
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
    crops = [view.crop_one(tf.constant(image), key).numpy() for key in _keys(count=8)]
    assert len({crop.tobytes() for crop in crops}) == 8
    finished = view.finish(tf.tile(crops[0][None], [8, 1, 1, 1]), _keys(count=8))
    assert len(np.unique(finished.numpy().reshape(8, -1), axis=0)) == 8
