"""Images of other than three channels, from where they lie to the exported files."""

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf import config as configs
from selfsup_tf import layers
from selfsup_tf.config import EncoderConfig, ViewConfig
from selfsup_tf.data.channels import to_channels, to_picture
from selfsup_tf.data.views import View
from selfsup_tf.errors import InputError
from selfsup_tf.models.encoders import build_encoder
from selfsup_tf.models.own import check_fits
from selfsup_tf.models.teacher import make_teacher

U = 2.0**-24
RGB = ViewConfig(saturation=0.0, hue=0.0, grayscale=0.0, blur=1.0, solarize=0.5)
FULL = ViewConfig(blur=1.0, solarize=0.5)


def bands_of(images, channels):
    """Images of other channels, made of those of RGB."""
    return np.concatenate([images, 255 - images[..., ::-1]], axis=-1)[..., :channels]


def read(source):
    return np.stack([e["image"] for e in source.ordered().as_numpy_iterator()])


def luma_of(images):
    """The grey of RGB, in float64, rounded."""
    return np.rint(images @ np.array([0.2989, 0.587, 0.114]))[..., None]


@pytest.fixture
def bands(few_images):
    return bands_of(few_images[0], 5)


# --- what an image becomes


def test_grey_and_rgb_are_made_of_each_other():
    levels = np.arange(256, dtype=np.uint8)[:, None, None, None]
    as_rgb = to_channels(tf.constant(levels), 3)
    assert as_rgb.shape[-1] == 3
    np.testing.assert_array_equal(to_channels(as_rgb, 1), levels)
    colours = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    np.testing.assert_array_equal(
        to_channels(tf.constant(colours), 1), luma_of(colours)
    )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_view_treats_each_channel_as_that_of_rgb(few_images, count):
    """But for saturation, hue and grayscale, which are of RGB."""
    images = few_images[0][:8]
    other = np.repeat(images, 2, axis=-1)[..., :count]  # red, red, green, green, blue
    keys = tf.cast(tf.reshape(tf.range(16), (8, 2)), tf.uint32)
    expected = View(RGB, 24)(tf.constant(images), keys)
    expected = np.repeat(expected, 2, axis=-1)[..., :count]
    found = View(FULL, 24, channels=count)(tf.constant(other), keys)
    # Saturation by 1 and hue by 0 change RGB by rounding, a threshold passes that on.
    near = np.abs(found - expected) < 64 * U
    assert near.mean() > 0.999 and found.shape == (8, 24, 24, count)


@pytest.mark.parametrize("count", [1, 4])
def test_crops_and_whole_views_agree(bands, count):
    """Images of many sizes are cropped one by one, those of one size in a batch."""
    images = tf.constant(bands[:4, ..., :count])
    view = View(FULL, 24, channels=count)
    keys = tf.cast(tf.reshape(tf.range(8), (4, 2)), tf.uint32)
    crops = tf.stack([view.crop_one(*one) for one in zip(images, keys, strict=True)])
    np.testing.assert_allclose(view.finish(crops, keys), view(images, keys), atol=1e-5)


def test_layers_take_any_channels(bands):
    images = tf.constant(bands[:4])
    for layer in (
        layers.ColorJitter(seed=1),
        layers.RandomGrayscale(probability=1.0),
        layers.RandomGaussianBlur(seed=1),
        layers.RandomRotation(30, seed=1),
        layers.RandomView(16),
    ):
        assert layer(images).shape[-1] == 5, layer.name
    grey = layers.RandomGrayscale(probability=1.0)(images)
    np.testing.assert_allclose(grey, bands[:4] / 255, atol=4 * U)


def test_pictures_show_the_first_three_or_grey():
    images = np.arange(16, dtype=np.uint8).reshape(1, 2, 2, 4)
    np.testing.assert_array_equal(to_picture(images), images[..., :3])
    for few in (images[..., :1], images[..., :2]):
        np.testing.assert_array_equal(to_picture(few), few[..., :1].repeat(3, axis=-1))


# --- where they lie


def test_arrays_are_read_as_they_are(bands, few_images):
    assert selfsup.open_source(bands).channels == 5
    np.testing.assert_array_equal(read(selfsup.open_source(bands)), bands)
    grey = bands[..., :1]
    assert selfsup.open_source(grey).channels == 3
    np.testing.assert_array_equal(read(selfsup.open_source(grey, channels=1)), grey)
    found = read(selfsup.open_source(few_images[0], channels=1))
    np.testing.assert_array_equal(found, luma_of(few_images[0]))


def test_a_fourth_channel_may_be_alpha(bands):
    assert any("alpha" in note for note in selfsup.open_source(bands[..., :4]).notes)
    assert not selfsup.open_source(bands).notes


def test_datasets_and_npz_files(bands, tmp_path):
    """12 bits in 16, which are scaled as all images of 16 bits."""
    deep = bands.astype(np.uint16) << 4
    np.savez(tmp_path / "bands.npz", x_train=deep)
    dataset = tf.data.Dataset.from_tensor_slices(deep)
    sizes = tf.data.Dataset.from_generator(
        lambda: iter(deep), output_signature=tf.TensorSpec(None, tf.uint16)
    )
    for data in (str(tmp_path / "bands.npz"), dataset, dataset.batch(7), sizes):
        source = selfsup.open_source(data)
        assert source.channels == 5
        np.testing.assert_array_equal(read(source), bands)
    grey = dataset.map(lambda image: image[..., :1])
    assert selfsup.open_source(grey).channels == 3
    found = selfsup.open_source(grey, channels=1)
    np.testing.assert_array_equal(read(found), bands[..., :1])


def test_files_give_their_grey(few_images, tmp_path):
    for number, image in enumerate(few_images[0][:6]):
        PIL.Image.fromarray(image).save(tmp_path / f"{number}.png")
    source = selfsup.open_source(tmp_path, channels=1)
    assert source.image_shape == (32, 32, 1)
    np.testing.assert_array_equal(read(source), luma_of(few_images[0][:6]))
    assert source.fingerprint != selfsup.open_source(tmp_path).fingerprint
    shapes = selfsup.open_source("shapes", channels=1)
    assert next(iter(shapes.ordered()))["image"].shape == (32, 32, 1)


def write_tiffs(folder, bands):
    """One of each way to lay out channels, depth and compression."""
    tifffile = pytest.importorskip("tifffile", reason="pip install '.[tiff]'")
    pytest.importorskip("imagecodecs", reason="pip install '.[tiff]'")
    first = np.moveaxis(bands, -1, 1)
    separate = {"planarconfig": "separate", "photometric": "minisblack"}
    together = {"planarconfig": "contig", "photometric": "minisblack"}
    written = {
        "together": (bands[0], together),
        "separate": (first[1], separate),
        "lzw": (bands[2], {**together, "compression": "lzw"}),
        "deflate": (first[3], {**separate, "compression": "deflate"}),
        "deep": (bands[4].astype(np.uint16) << 4, together),
        "float": (bands[5].astype(np.float32) / 255, together),
        "imagej": (first[6], {"imagej": True, "metadata": {"axes": "CYX"}}),
        "pages": (first[7], {"photometric": "minisblack"}),
    }
    folder.mkdir(exist_ok=True)
    for number, (name, (image, options)) in enumerate(written.items()):
        tifffile.imwrite(folder / f"{number}_{name}.tif", image, **options)
    return bands[: len(written)]


def test_tiff_files_of_any_layout(bands, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = write_tiffs(tmp_path / "tiffs", bands)
    source = selfsup.open_source(tmp_path / "tiffs", channels=5)
    np.testing.assert_array_equal(read(source), expected)
    # Converted once: the second time no file of the cache is touched.
    cached = sorted((tmp_path / "cache").rglob("*.png"))
    times = [path.stat().st_mtime_ns for path in cached]
    selfsup.open_source(tmp_path / "tiffs", channels=5)
    assert [path.stat().st_mtime_ns for path in cached] == times


def test_what_has_another_number_is_skipped_and_named(bands, tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile", reason="pip install '.[tiff]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "tiffs"
    folder.mkdir()
    options = {"planarconfig": "contig", "photometric": "minisblack"}
    for number in range(60):
        tifffile.imwrite(folder / f"{number:02d}.tif", bands[number], **options)
    tifffile.imwrite(folder / "four.tif", bands[0][..., :4], **options)
    PIL.Image.fromarray(bands[0][..., :3]).save(folder / "rgb.png")
    (folder / "broken.tif").write_bytes((folder / "00.tif").read_bytes()[:300])
    source = selfsup.open_source(folder, channels=5)
    assert source.size == 60
    skipped = "\n".join(source.skipped)
    assert "four.tif: expected a TIFF of 5 channels" in skipped
    assert "--channels=4" in skipped
    assert "rgb.png: no TIFF, which alone has 5 channels" in skipped
    assert "broken.tif" in skipped
    with pytest.raises(InputError, match="--channels=N reads those of N"):
        selfsup.open_source(folder)


@pytest.mark.parametrize(
    ("channels", "asked", "message"),
    [
        (5, 3, "images of 3 channels; received 5 .*--channels=5"),
        (3, 5, "images of 5 channels; received 3 .*--channels=3"),
        (17, None, r"C from 1 to 16; .*x\[..., :16\]"),
    ],
)
def test_refusals(channels, asked, message):
    images = np.zeros((4, 20, 20, channels), np.uint8)
    with pytest.raises(InputError, match=message):
        selfsup.open_source(images, channels=asked)


def test_a_cube_is_one_image():
    with pytest.raises(InputError, match=r"x\[None\]"):
        selfsup.open_source(np.zeros((40, 40, 6), np.uint8))


def test_channels_that_come_first_are_told():
    for shape in ((4, 3, 24, 24), (4, 1, 8, 8), (4, 5, 12, 12)):
        with pytest.raises(InputError, match=r"np.moveaxis\(x, 1, -1\)"):
            selfsup.open_source(np.zeros(shape, np.uint8))


# --- the networks


@pytest.mark.parametrize("name", ["resnet18", "MobileNetV3Small", "ResNet50V2"])
@pytest.mark.parametrize("channels", [1, 5])
def test_encoders_take_them(name, channels, recwarn):
    encoder = build_encoder(EncoderConfig(name=name), 32, channels=channels)
    assert encoder.input_shape == (None, 32, 32, channels)
    h = encoder(np.random.default_rng(0).random((2, 32, 32, channels), np.float32))
    assert np.isfinite(h).all()
    assert not [w for w in recwarn if "1 or 3 input channels" in str(w.message)]


@pytest.mark.parametrize(
    "options", [{"name": "ResNet50", "weights": "imagenet"}, {"mean": (0.5, 0.5, 0.5)}]
)
def test_what_is_for_three_channels_is_refused(options):
    with pytest.raises(InputError, match="5 channels"):
        build_encoder(EncoderConfig(**options), 32, channels=5)


def test_an_own_encoder_of_other_channels_is_told_the_flag():
    encoder = keras.Sequential(
        [keras.Input((16, 16, 1)), keras.layers.GlobalAveragePooling2D()]
    )
    with pytest.raises(InputError, match="--channels=1"):
        check_fits(encoder, 16, 3)
    check_fits(encoder, 16, 1)


def test_a_teacher_of_rgb_sees_grey_images_repeated():
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    teacher = make_teacher("a", network)
    grey = np.random.default_rng(0).random((3, 16, 16, 1), np.float32)
    expected = network(grey.repeat(3, axis=-1))
    np.testing.assert_allclose(teacher.taking(16, 1)(grey), expected, rtol=1e-5)
    with pytest.raises(InputError, match="images of 5 channels; received 3"):
        teacher.taking(16, 5)


# --- the whole way


def small_encoder(size, channels):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((size, size, channels)),
            keras.layers.Conv2D(8, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(16, 3, strides=2),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


@pytest.fixture(scope="module", params=[5, 1])
def begun(request, few_images, tiny_config, tmp_path_factory):
    """What trains on five channels, or an encoder for grey images on those of RGB."""
    channels, (images, labels) = request.param, few_images
    images = images if channels == 1 else bands_of(images, channels)
    config = tiny_config("simclr", views=(FULL, FULL), image_size=40, steps=2)
    folder = tmp_path_factory.mktemp("run") / "run"

    def train():
        own = small_encoder(40, channels) if channels == 1 else None
        method = selfsup.find_method("simclr").load()(config, encoder=own)
        return selfsup.train(method, (images, labels), run_dir=folder, progress=False)

    return train, images, labels


@pytest.fixture(scope="module")
def run(begun):
    train, images, labels = begun
    return train(), images, labels


def test_the_input_follows_the_images_and_a_run_is_resumed(begun, run):
    run, images, _labels = run
    channels = 1 if images.shape[-1] == 3 else 5
    assert run.encoder.input_shape == (None, 40, 40, channels)
    again = begun[0]()
    for a, b in zip(again.encoder.weights, run.encoder.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_protocol_judges_it(run):
    run, images, labels = run
    given = (run.encoder, (images, labels), (images[::-1], labels[::-1]))
    for word in ("knn", "linear", "retrieval", "health", "neighbours", "map", "views"):
        selfsup.evaluate(word, *given, run_dir=str(run.run_dir))
    for name in ("neighbours.png", "map.png", "views.png"):
        assert (run.run_dir / "eval" / name).stat().st_size > 1000
    options = {"run_dir": str(run.run_dir)}
    if run.encoder.input_shape[-1] == 5:
        with pytest.raises(InputError, match="jpeg, which has 1 or 3"):
            selfsup.evaluate("robustness", *given, **options)
        options["corruptions"] = ("blur", "noise", "brightness")
    robust = selfsup.evaluate("robustness", *given, **options)
    assert all(0 <= row.value <= 1 for row in robust.rows)


@keras.saving.register_keras_serializable(package="test_channels")
class OnFive(keras.layers.Layer):
    """A layer of one's own that fits five channels alone."""

    def call(self, images):
        return images * tf.constant([1.0, 0.9, 0.8, 0.7, 0.6])


def test_a_layer_of_ones_own_sees_the_channels(few_images, tiny_config, tmp_path):
    view = ViewConfig(layers=(configs.layer("test_channels>OnFive"),))
    config = tiny_config("simclr", views=(view, view), steps=1)
    images = bands_of(few_images[0], 5)
    method = selfsup.find_method("simclr").load()(config)
    selfsup.train(method, images, run_dir=tmp_path / "run", progress=False)
    selfsup.health(small_encoder(16, 5), images, config=config)


@pytest.mark.parametrize("sees", ["image", "view"])
def test_a_student_of_grey_images_has_a_teacher_of_rgb(
    sees, teacher, few_images, tiny_config, tmp_path
):
    config = tiny_config(
        *("distill",), teacher=teacher, teacher_sees=sees, loss="regression", channels=1
    )
    method = selfsup.find_method("distill").load()(config, small_encoder(16, 1))
    run = selfsup.train(method, few_images[0], run_dir=tmp_path / "r", progress=False)
    assert run.encoder.input_shape == (None, 16, 16, 1)


def test_an_opened_source_is_not_opened_again(few_images, tiny_config, tmp_path):
    method = selfsup.find_method("simclr").load()(tiny_config("simclr", channels=1))
    with pytest.raises(InputError, match="Open them with channels=1"):
        opened = selfsup.open_source(few_images[0])
        selfsup.train(method, opened, run_dir=tmp_path / "run", progress=False)


def test_a_dataset_of_grey_and_rgb_becomes_rgb(few_images):
    images = [image[..., : 1 + 2 * (n % 2)] for n, image in enumerate(few_images[0])]
    spec = tf.TensorSpec((None, None, None), tf.uint8)
    mixed = tf.data.Dataset.from_generator(lambda: iter(images), output_signature=spec)
    for one, other in zip(read(selfsup.open_source(mixed)), images, strict=True):
        np.testing.assert_array_equal(one, np.broadcast_to(other, one.shape))
    images[3] = few_images[0][3][..., :2]
    with pytest.raises(InputError, match="one number of channels; received 1, 2, 3"):
        selfsup.open_source(mixed)


def test_images_of_other_channels_do_not_fit_it(run):
    run, _images, _labels = run
    other = np.zeros((4, 40, 40, 2), np.uint8)
    with pytest.raises(InputError, match=r"channels?; received 2"):
        selfsup.embed(run.encoder, other, "nowhere.npz")
    opened = selfsup.open_source(other)
    with pytest.raises(InputError, match="channels that the encoder takes; received 2"):
        selfsup.embed(run.encoder, opened, "nowhere.npz")


def test_every_format_is_proven_and_the_cards_programs_run(run, run_program, tmp_path):
    from selfsup_tf.data.views import evaluation_view
    from selfsup_tf.exporting.card import format_programs

    run, images, _labels = run
    result = selfsup.export(
        run.encoder,
        tmp_path / "export",
        formats=("saved_model", "tflite_float32", "tflite_int8", "onnx"),
        images=images,
    )
    channels = run.encoder.input_shape[-1]
    expected_channels = "grey" if channels == 1 else "5 channels, as in training"
    assert result.manifest["preprocessing"]["channels"] == expected_channels
    signatures = {parity.signature for parity in result.parities}
    assert ("serve_bytes" in signatures) == (channels == 1)
    picture = bands_of(images[0].repeat(3, axis=0).repeat(3, axis=1), 6)
    picture = picture[..., :channels] if channels == 5 else picture[..., :3]
    if channels == 5:
        np.save(tmp_path / "export" / "image.npy", picture)
    else:
        PIL.Image.fromarray(picture).save(tmp_path / "export" / "image.jpg", "PNG")
        picture = luma_of(picture).astype(np.uint8)
    view = evaluation_view(tf.constant(picture), 40)[tf.newaxis]
    expected = run.encoder(view, training=False).numpy()[0]
    for name, program in format_programs(result.manifest).items():
        end = "np.save('h.npy', representation)"
        run_program(
            "-c", f"{program}\nimport numpy as np\n{end}", cwd=tmp_path / "export"
        )
        h = np.load(tmp_path / "export" / "h.npy")[0]
        cosine = h @ expected / np.linalg.norm(h) / np.linalg.norm(expected)
        assert cosine > 0.99, name
