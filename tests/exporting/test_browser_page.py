"""The page of examples/browser as it is used: by mouse, by keys, on a phone."""

import json
import shutil

import browser_site as site_lib
import numpy as np
import PIL.Image
import pytest
from artefacts import build_classifier, build_encoder, export_tflite
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
from mutations import encode, jpeg_of_scans, picture

from selfsup_tf.data.sources.shapes import make_shapes

site_lib.require_programs()

CLASS_NAMES = ("<b>tench</b>", "Brötchen, warm", "chain saw", "鳥")
PHONE, DESK = dict(width=360, height=740), dict(width=1280, height=900)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Encoders, and what is none that the page can use."""
    place = tmp_path_factory.mktemp("models")
    calibration = np.random.default_rng(0).random((20, 40, 40, 3), np.float32)
    uint8 = dict(precision="uint8", calibration_images=calibration)
    options = {
        "encoder_float32": (32, {}),
        "larger": (40, {}),
        "uint8": (40, uint8),
    }
    paths = {
        name: export_tflite(build_encoder(size), place / f"{name}.tflite", **values)
        for name, (size, values) in options.items()
    }
    encoder = build_encoder(32)
    paths["classifier"] = export_tflite(
        encoder,
        place / "classifier.tflite",
        classifier=build_classifier(encoder, 32, len(CLASS_NAMES)),
        class_names=CLASS_NAMES,
    )
    contents = paths["encoder_float32"].read_bytes()
    spoilt = {
        "text": b"no model",
        "cut": contents[: len(contents) // 2],
        "noise": contents[:64] + np.random.default_rng(0).bytes(5000),
    }
    for name, bytes_ in spoilt.items():
        paths[name] = place / f"{name}.tflite"
        paths[name].write_bytes(bytes_)
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Twenty drawn images."""
    folder = tmp_path_factory.mktemp("photos")
    images, _ = make_shapes("test", size=20)
    for n, image in enumerate(images):
        PIL.Image.fromarray(image).save(folder / f"{n:02}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("site") / "browser"


@pytest.fixture(scope="module")
def site(models, folder):
    with site_lib.install(folder, models["encoder_float32"]) as address:
        yield address


def test_nothing_leaves_the_origin(browser, site, files):
    give(browser, files)
    events = [
        json.loads(r["message"])["message"] for r in browser.get_log("performance")
    ]
    requested = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(requested) > 8
    assert [u for u in requested if not u.startswith((site, "data:"))] == []
    assert errors(browser) == []
    # And could not: the page's policy refuses requests, frames and scripts of others.
    answer = browser.execute_async_script(
        """const done = arguments[0];
        const image = new Image();
        image.src = "http://127.0.0.1:9/a.png";
        document.body.append(image);
        fetch("http://127.0.0.1:9/").catch((error) => done(String(error)));"""
    )
    assert "Failed to fetch" in answer
    said = " ".join(errors(browser))
    assert "connect-src" in said and "img-src" in said


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_page_never_scrolls_sideways(chromium, site, files, tmp_path, size):
    screen.visit(chromium, site, **size)
    long = tmp_path / ("a" * 200 + ".png")
    shutil.copy(files[0], long)
    text_file = tmp_path / ("no_image_" * 20 + ".png")
    text_file.write_text("text")
    give(chromium, [*files, long, text_file])
    assert left_out(chromium) == {text_file.name: "no JPEG, PNG, GIF, BMP or WebP"}
    width = "return document.documentElement.scrollWidth"
    assert chromium.execute_script(width) <= size["width"]
    wide = chromium.execute_script(
        """return [...document.querySelectorAll("body *")].filter((part) =>
        part.getBoundingClientRect().right > innerWidth + 1).map((p) => p.outerHTML)"""
    )
    assert wide == []


def test_all_of_it_is_reached_by_keys(browser, files):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    give(browser, files)
    keys = ActionChains(browser)
    browser.execute_script("document.activeElement.blur()")
    stops = []
    for _ in range(20):
        keys.send_keys(Keys.TAB).perform()
        stops.append(
            browser.execute_script(
                """const at = document.activeElement;
                return at.id || at.title || at.tagName"""
            )
        )
    for wanted in (
        "model-file",
        "accelerator",
        "image-files",
        "00.png",
        "save",
        "clear",
    ):
        assert wanted in stops
    # One stop for the images, between which the arrows walk, around the end too.
    first = browser.find_element("css selector", "#gallery button")
    browser.execute_script("arguments[0].focus()", first)
    for key, wanted in (
        (Keys.ARROW_RIGHT, "01.png"),
        (Keys.ARROW_LEFT, "00.png"),
        (Keys.ARROW_LEFT, "19.png"),
    ):
        keys.send_keys(key).perform()
        at = browser.switch_to.active_element
        assert at.get_attribute("title") == wanted
        assert at.get_attribute("aria-pressed") == "true"
        assert text(browser, "#query span") == wanted.removesuffix(".png")


def test_a_jpeg_of_endless_scans_is_refused(browser, tmp_path):
    # Chromium itself refuses a scan that comes twice, as other browsers may not.
    (tmp_path / "100.jpg").write_bytes(jpeg_of_scans(100, 50))
    (tmp_path / "101.jpg").write_bytes(jpeg_of_scans(101, 50))
    fine = encode(picture(), "JPEG", progressive=True)
    (tmp_path / "fine.jpg").write_bytes(fine + b"\xff\xda\0" * 90)
    give(browser, sorted(tmp_path.iterdir()))
    assert left_out(browser) == {
        "100.jpg": "a JPEG that can't be decoded",
        "101.jpg": "a JPEG of more than 100 scans",
    }
    assert list(embeddings(browser)) == ["fine.jpg"]


def test_dropped_files_are_taken(browser, models, files):
    contents = [
        (path.name, list(path.read_bytes())) for path in (models["larger"], *files[:3])
    ]
    browser.execute_script(
        """const data = new DataTransfer();
        for (const [name, bytes] of arguments[0])
          data.items.add(new File([Uint8Array.from(bytes)], name));
        document.body.dispatchEvent(
          new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
        );""",
        contents,
    )
    screen.wait(browser)
    assert "40 × 40" in text(browser, "#model-facts")
    assert_embeds(browser, models["larger"], files[:3])


def test_another_encoder_embeds_the_images_anew(browser, models, files):
    give(browser, files)
    give(browser, [models["larger"]], "model-file")
    assert_embeds(browser, models["larger"], files)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("text", "no TFLite file"),
        ("cut", "incomplete"),
        ("noise", ""),
        ("uint8", "it takes uint8 and gives uint8"),
    ],
)
def test_what_is_no_encoder_for_the_page_is_refused(
    browser, models, files, name, reason
):
    give(browser, [models[name]], "model-file")
    said = text(browser, "#model-status")
    assert said.startswith(f"{name}.tflite: ") and reason in said
    # The encoder that was there stays.
    give(browser, files)
    assert_embeds(browser, models["encoder_float32"], files)
    assert "encoder_float32.tflite" in text(browser, "#model-facts")


def test_classes_stand_under_the_images(browser, models, files, tmp_path):
    give(browser, [models["classifier"]], "model-file")
    give(browser, files)
    encoder = site_lib.edge.Encoder(models["classifier"])
    views = [
        site_lib.edge.evaluation_view(site_lib.edge.read_image(path), encoder.size)
        for path in files
    ]
    probabilities = encoder.classify(np.stack(views))
    best = probabilities.argmax(1)
    assert len(set(best)) > 1
    assert f"Classes{len(CLASS_NAMES)}" in text(browser, "#model-facts")
    said = text(browser, "#query i")
    name, _, percent = said.rpartition(", ")
    assert name == CLASS_NAMES[best[0]]
    assert float(percent[:-2]) == pytest.approx(100 * probabilities[0].max(), abs=0.6)
    saved = save(browser, tmp_path)["embeddings"]
    assert [e["class"] for e in saved] == [CLASS_NAMES[n] for n in best]
    received = [e["probability"] for e in saved]
    np.testing.assert_allclose(received, probabilities.max(1), atol=1e-3)
    # An encoder alone says nothing of classes.
    give(browser, [models["encoder_float32"]], "model-file")
    assert not browser.find_elements("css selector", "figcaption i")


def save(browser, folder):
    """What the page's button writes."""
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(folder)},
    )
    browser.find_element("id", "save").click()
    path = folder / "embeddings.json"
    # Chromium keeps the name with an empty file until all of it has come.
    screen.wait_until(browser, lambda _: path.exists() and path.stat().st_size > 0)
    return json.loads(path.read_text())


def test_embeddings_are_saved_and_images_removed(browser, models, files, tmp_path):
    give(browser, files)
    saved = save(browser, tmp_path)
    assert saved["encoder"] == "encoder_float32.tflite"
    correct = expected(models["encoder_float32"], files)
    for embedding in saved["embeddings"]:
        h = correct.pop(embedding["name"])
        np.testing.assert_allclose(embedding["h"], h, atol=1e-3)
    assert correct == {}
    browser.find_element("id", "clear").click()
    screen.wait(browser)
    assert embeddings(browser) == {}
    assert not browser.find_element("id", "neighbours").is_displayed()


def test_a_page_without_encoder_says_what_to_do(chromium, site, folder, models, files):
    (folder / "encoder_float32.tflite").unlink()
    try:
        screen.visit(chromium, site)
        assert "Choose an encoder" in text(chromium, "#model-status")
        give(chromium, files)
        assert "Choose an encoder first" in text(chromium, "#progress")
        give(chromium, [models["larger"]], "model-file")
        give(chromium, files)
        assert len(embeddings(chromium)) == len(files)
    finally:
        shutil.copy(models["encoder_float32"], folder)


def test_a_picture_of_the_page_is_taken(
    site, folder, models, files, tmp_path, run_program
):
    picture = tmp_path / "page.png"
    run_program(
        folder / "screenshot.py",
        *(models["larger"], files[0].parent, picture, "--width=900", "--height=700"),
    )
    with PIL.Image.open(picture) as image:
        assert image.size == (900, 700)
        assert len(image.convert("RGB").getcolors(2**24)) > 1000
