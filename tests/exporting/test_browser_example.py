"""examples/browser, driven in Chromium: what it computes, refuses and shows."""

import io
import re
import struct

import browser_site as site_lib
import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from artefacts import build_encoder, export_tflite
from browser_site import (
    assert_embeds,
    embeddings,
    errors,
    expected,
    give,
    left_out,
    screen,
    text,
)
from mutations import encode, mutated_files, picture, png

from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.data.views import evaluation_view

site_lib.require_programs()


# Chromium's own WebGPU without a GPU.
SOFTWARE_GPU = ("enable-unsafe-webgpu", "use-webgpu-adapter=swiftshader",
                "enable-features=Vulkan", "use-vulkan=swiftshader")  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """TFLite files of every kind that the page can run."""
    place = tmp_path_factory.mktemp("models")
    images, _ = make_shapes("train", size=60)
    views = evaluation_view(tf.constant(images), 40).numpy()
    calibrated = dict(size=40, calibration_images=views)
    classifier = keras.Sequential([build_encoder(40), keras.layers.Dense(3)])
    options = {
        "float32": dict(size=32),
        "float32_224": dict(size=224),
        "float16": dict(size=40, precision="float16"),
        "dynamic": dict(size=40, precision="dynamic"),
        "int8": dict(precision="int8", **calibrated),
        "batch": dict(size=40, batch=3),
        "pixels": dict(size=40, uint8_input=True),
        # With the batch left open a Flatten has no fixed shape, which WebGPU asks for.
        "gpu": dict(size=40, batch=1),
        "gpu_unit": dict(size=40, batch=1, l2_normalize=True),
        "unit": dict(size=40, l2_normalize=True),
        "classes": dict(size=40, classifier=classifier, class_names=("a", "b", "c")),
    }
    return {
        name: export_tflite(
            build_encoder(values.pop("size")), place / f"{name}.tflite", **values
        )
        for name, values in options.items()
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Readable images of many kinds and sizes."""
    folder = tmp_path_factory.mktemp("photos")
    chosen = re.compile(r"\d+_(fine_|odd_(grey_16|rgb_16|animated|L.bmp))")
    for name, contents in mutated_files():
        if chosen.match(name) and not name.endswith(".txt"):
            (folder / name).write_bytes(contents)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (45, 61, 4), np.uint8)
    PIL.Image.fromarray(pixels).save(folder / "transparent.png")
    deep = random.integers(0, 2**16, (45, 61), np.uint16)
    PIL.Image.fromarray(deep).save(folder / "grey_of_16_bits.png")
    PIL.Image.fromarray(pixels[..., :3]).save(folder / "noise.jpg", quality=70)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = PIL.Image.fromarray(pixels[..., :3])
    turned.save(folder / "turned.png", exif=exif)
    turned.save(folder / "turned.webp", exif=exif, lossless=True)
    for value in range(2, 9):
        exif[0x0112] = value
        exif.endian = "<>"[value % 2]
        turned.save(folder / f"turned_{value}.jpg", exif=exif.tobytes(), quality=95)
    large = PIL.Image.fromarray(make_shapes("test", size=1)[0][0])
    large.resize((1210, 907), PIL.Image.BICUBIC).save(folder / "photo.jpg")
    gif = bytearray(encode(picture(), "GIF"))
    gif[6:10] = struct.pack("<HH", 90, 80)  # a screen larger than the frame
    (folder / "screen.gif").write_bytes(gif)
    # A gamma that would change what is seen, were it applied.
    rows = b"".join(b"\0" + row.tobytes() for row in pixels[..., :3])
    linear = (b"gAMA", struct.pack(">I", 100_000))
    (folder / "gamma.png").write_bytes(png(61, 45, 8, 2, rows, linear))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "browser"
    with site_lib.install(folder, models["float32"]) as address:
        yield address


@pytest.mark.parametrize(
    "name",
    ["float32", "float32_224", "float16", "dynamic", "int8", "batch",
     "pixels", "unit", "classes"],
)  # fmt: skip
def test_the_embeddings_are_those_of_litert_in_python(browser, models, files, name):
    if name != "float32":  # which lies beside the page
        give(browser, [models[name]], "model-file")
    give(browser, files)
    assert left_out(browser) == {}
    h = np.stack(list(assert_embeds(browser, models[name], files).values()))
    # The tolerance means something: other images are far.
    assert np.abs(h - h[0]).max(1)[1:].mean() > 0.05
    assert errors(browser) == []


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_of_exif_the_orientation_of_a_jpeg_alone_is_left(browser, form):
    """In every browser, whichever of these formats it would turn."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = 300.0  # a resolution, by which Chromium would scale it
    contents = encode(picture(), form, exif=exif)
    received = browser.execute_async_script(
        """const [contents, done] = arguments;
        import("./header.js").then(async ({ orientedFile, readHeader }) => {
          const bytes = Uint8Array.from(contents);
          const rest = new Blob(orientedFile(bytes, readHeader(bytes)));
          done([...new Uint8Array(await rest.arrayBuffer())]);
        });""",
        list(contents),
    )
    turned, plain = (PIL.Image.open(io.BytesIO(c)) for c in (contents, bytes(received)))
    assert turned.getexif().get(0x0112) == 6
    assert dict(plain.getexif()) == ({0x0112: 6} if form == "JPEG" else {})
    np.testing.assert_array_equal(np.asarray(plain), np.asarray(turned))


@pytest.mark.parametrize("size", [16, 32, 33, 96, 224])
def test_the_view_is_that_of_the_evaluation(browser, size):
    random = np.random.default_rng(size)
    for height, width in (1, 1), (1, 7), (12, 40), (36, 50), (60, 44), (233, 300):
        image = random.integers(0, 256, (height, width, 4), np.uint8)
        received = browser.execute_async_script(
            """const [pixels, width, height, size, done] = arguments;
            import("./view.js").then(({ resize, viewBox }) => {
              const box = viewBox(width, height, size);
              const inside = [];
              for (let y = box.top; y < box.top + box.height; y++)
                for (let x = box.left; x < box.left + box.width; x++)
                  for (let c = 0; c < 4; c++)
                    inside.push(pixels[(y * width + x) * 4 + c]);
              const part = Uint8ClampedArray.from(inside);
              done([...resize(part, box.width, box.height, size)]);
            });""",
            *(image.ravel().tolist(), width, height, size),
        )
        correct = evaluation_view(tf.constant(image[..., :3]), size).numpy()
        # As for examples/edge: TensorFlow keeps places in float32.
        np.testing.assert_allclose(
            np.reshape(received, correct.shape), correct, rtol=0, atol=4 * size * 2**-23
        )


def test_the_neighbours_are_the_nearest(browser, models, files):
    give(browser, files)
    names = [path.name for path in files]
    h = np.stack([expected(models["float32"], files)[name] for name in names])
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    buttons = browser.find_elements("css selector", "#gallery button")
    assert [b.get_attribute("aria-label") for b in buttons] == names
    for query in (0, 5):
        buttons[query].click()
        cosines = h @ h[query]
        cosines[query] = -np.inf
        nearest = np.argsort(-cosines, kind="stable")[:10]
        shown = browser.execute_script(
            """return [...document.querySelectorAll("#nearest li")].map((item) => [
              item.querySelector("button").title,
              Number(item.querySelector("b").textContent)])"""
        )
        assert [c for _, c in shown] == pytest.approx(cosines[nearest], abs=2e-3)
        # Images that hold the same picture are nearest in any order.
        assert {name for name, c in shown if c < 0.999} <= {names[n] for n in nearest}
        assert names[query] not in [name for name, _ in shown]
    # A neighbour becomes the query, and the keyboard stays where it was.
    neighbour = browser.find_element("css selector", "#nearest button")
    name = neighbour.get_attribute("title")
    browser.execute_script("arguments[0].focus()", neighbour)
    neighbour.send_keys("\n")
    pressed = browser.find_element("css selector", "#gallery [aria-pressed=true]")
    assert pressed.get_attribute("title") == name
    focused = "return document.activeElement.closest('#nearest') !== null"
    assert browser.execute_script(focused)


def test_broken_and_hostile_files_are_embedded_or_named(browser, tmp_path, models):
    files = [(name, c) for name, c in mutated_files(200) if not name.endswith(".svg")]
    for name, contents in files:
        (tmp_path / name).write_bytes(contents)
    give(browser, sorted(tmp_path.iterdir()))
    received, refused = embeddings(browser), left_out(browser)
    assert sorted([*received, *refused]) == sorted(name for name, _ in files)
    assert not [name for name in refused if "_fine_" in name]
    for name, reason in refused.items():
        if "_huge_" in name:
            assert "at most 67,108,864" in reason
    assert not [name for name in received if "_huge_" in name]
    good = tmp_path / "000_fine_jpeg.jpg"
    give(browser, [good])
    correct = expected(models["float32"], [good])[good.name]
    np.testing.assert_allclose(embeddings(browser)[good.name], correct, atol=1e-3)
    assert errors(browser) == []


def test_webgpu_gives_the_same(site, models, files):
    """One encoder that it runs whole, one of whose operations it lacks."""
    from selenium.webdriver.support.ui import Select

    with screen.open_browser(*SOFTWARE_GPU) as browser:
        screen.visit(browser, site)
        adapter = browser.execute_async_script(
            "navigator.gpu.requestAdapter().then((a) => arguments[0](a !== null))"
        )
        if not adapter:
            pytest.skip("this Chromium has no WebGPU in software")
        Select(browser.find_element("id", "accelerator")).select_by_value("webgpu")
        screen.wait(browser)
        assert "WebGPU can't run it here" in text(browser, "#model-status")
        for name in ("gpu", "gpu_unit"):
            give(browser, [models[name]], "model-file")
            assert "GPU" in text(browser, "#model-facts")
            if name == "gpu":
                give(browser, files)
            assert_embeds(browser, models[name], files)
