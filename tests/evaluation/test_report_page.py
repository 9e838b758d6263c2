"""The report in a browser: no error, no request, no sideways scrolling, a live map."""

import io
import json
import shutil

import numpy as np
import PIL.Image
import planted_run
import pytest

from selfsup_tf.evaluation.report import write_comparison, write_report

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium or no chromedriver on the path"
)
FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
         "disable-background-networking", "disable-component-update", "disable-sync",
         "hide-scrollbars")  # fmt: skip
FEW = ("knn", "map")
PHONE, DESK = (360, 740), (1280, 900)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report, a comparison, and a report of a run with hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    run = planted_run.plant_run(folder / "run")
    other = planted_run.plant_run(folder / ("a-run-of-a-very-long-name" * 3), top_1=0.5)
    evil = "<script>document.title='owned'</script>"
    names = (evil, "b", "c")
    hostile = planted_run.plant_run(folder / "hostile", class_names=names, only=FEW)
    return {
        "report": write_report(run),
        "comparison": write_comparison([run, other], folder / "comparison.html"),
        "hostile": write_report(hostile),
        "map": planted_run.embedding_map(run, planted_run.CLASSES),
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium that keeps its console and its network's log."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def visit(browser, path, size=DESK):
    width, height = size
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri())


def errors(browser):
    return [r for r in browser.get_log("browser") if r["level"] == "SEVERE"]


def requests(browser):
    """What was asked for over the network or from disk."""
    events = (
        json.loads(r["message"])["message"] for r in browser.get_log("performance")
    )
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and not event["params"]["request"]["url"].startswith("data:")
    ]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("name", ["report", "comparison", "hostile"])
def test_the_page_is_quiet_alone_and_never_scrolls_sideways(browser, pages, name, size):
    visit(browser, pages[name], size)
    folds = "document.querySelectorAll('details').forEach(fold => fold.open = true)"
    browser.execute_script(folds)
    assert errors(browser) == []
    assert requests(browser) == [pages[name].as_uri()]
    width = "return [innerWidth, document.documentElement.scrollWidth]"
    assert browser.execute_script(width) == [size[0], size[0]]
    # Nothing but the boxes that scroll is wider than the page.
    wide = browser.execute_script(
        """return [...document.querySelectorAll("main *")].filter((part) =>
        !part.closest(".scroll, nav, .unseen, svg, [hidden]") &&
        part.getBoundingClientRect().right > window.innerWidth + 1
        ).map((part) => part.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    assert browser.title != "owned"


def test_the_log_reports_an_error_and_the_policy_forbids_requests(browser, pages):
    visit(browser, pages["report"])
    browser.execute_script(
        """const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        document.body.append(script);
        const image = new Image();
        image.src = "http://127.0.0.1:9/a.png";
        document.body.append(image);
        fetch("http://127.0.0.1:9/").catch(() => 0);"""
    )
    said = " ".join(record["message"] for record in errors(browser))
    assert "violates the following Content Security Policy directive" in said
    assert "script-src" in said and "img-src" in said
    assert browser.title == "run: encoder report"


def look(browser, number, *, clicks=0):
    """What is shown once the mouse is at a point, where it double-clicks at first."""
    from selenium.webdriver import ActionChains

    for _ in range(clicks + 1):
        mouse = ActionChains(browser, duration=0)
        mouse.w3c_actions.pointer_action.move_to_location(*place_of(browser, number))
        mouse.perform()
        if clicks:
            ActionChains(browser).double_click().perform()
            clicks -= 1
    return shown(browser)


def shown(browser):
    """The words and the place in the sprite of the image that is shown, or None."""
    return browser.execute_script(
        """const tooltip = document.querySelector(".tooltip");
        return tooltip.checkVisibility()
          ? [tooltip.querySelector(".words").textContent,
             tooltip.querySelector(".thumb").getAttribute("viewBox")]
          : null"""
    )


def expected(pages, number):
    """What is to be shown of a point."""
    values, side = pages["map"], planted_run.SIDE
    name = values["class_names"][values["labels"][number]]
    row, column = divmod(number, planted_run.COLUMNS)
    words = f"{name}, image {values['indices'][number]}"
    return [words, f"{column * side} {row * side} {side} {side}"]


def place_of(browser, number):
    """Where on the screen a point of the map lies, once it is scrolled to."""
    return browser.execute_script(
        """const point = document.querySelectorAll(".points use")[arguments[0]];
        point.scrollIntoView({ block: "center", behavior: "instant" });
        const box = point.getBoundingClientRect();
        return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];
        """,
        number,
    )


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_a_point_shows_its_own_image(browser, pages, size):
    visit(browser, pages["report"], size)
    places = np.array(pages["map"]["positions"])
    gaps = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(gaps, np.inf)
    # Those that stand alone, so that the pixel that is pointed at is theirs alone.
    for n in map(int, np.argsort(-gaps.min(axis=1))[:6]):
        assert look(browser, n) == expected(pages, n)
        # What is seen is the thumbnail's own colour, which no other one has.
        thumb = browser.find_element("css selector", ".tooltip .thumb")
        seen = np.asarray(PIL.Image.open(io.BytesIO(thumb.screenshot_as_png)))
        middle = seen[seen.shape[0] // 2, seen.shape[1] // 2, :3].astype(int)
        assert np.abs(middle - planted_run.colour(n)).max() <= 6
        box = browser.execute_script(
            "return document.querySelector('.tooltip').getBoundingClientRect().toJSON()"
        )
        assert box["left"] >= 0 and box["right"] <= size[0]
    assert errors(browser) == []


def test_a_point_shows_its_image_from_close_by(browser, pages):
    visit(browser, pages["report"])
    drawing = browser.find_element("css selector", ".map-drawing")
    whole = drawing.get_dom_attribute("viewBox")
    assert look(browser, 17, clicks=2) == expected(pages, 17)
    width = float(drawing.get_dom_attribute("viewBox").split()[2])
    assert width == pytest.approx(640 / 4)
    button = browser.find_element("css selector", "[data-zoom='all']")
    browser.execute_script("arguments[0].click()", button)
    assert drawing.get_dom_attribute("viewBox") == whole
    assert errors(browser) == []


def test_a_tap_shows_an_image_and_leaves_it(browser, pages):
    visit(browser, pages["report"], PHONE)
    x, y = place_of(browser, 42)
    touch = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", touch)
    lifted = {"type": "touchEnd", "touchPoints": []}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", lifted)
    # Of points that lie over each other it may be a neighbour's.
    places = np.array(pages["map"]["positions"])
    near = np.flatnonzero(np.linalg.norm(places - places[42], axis=1) < 0.02)
    assert shown(browser) in [expected(pages, int(n)) for n in near]


def test_keys_walk_and_the_legend_hides(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["report"])
    drawing = browser.find_element("css selector", ".map-drawing")
    browser.execute_script("arguments[0].focus({ preventScroll: true })", drawing)
    drawing.send_keys(Keys.ARROW_RIGHT)
    first = shown(browser)
    assert first
    drawing.send_keys(Keys.ARROW_LEFT)
    assert shown(browser) not in (None, first)
    said = browser.find_element("css selector", ".map-said")
    assert said.get_attribute("textContent") == shown(browser)[0]
    drawing.send_keys(Keys.ESCAPE)
    assert shown(browser) is None
    count = "return document.querySelectorAll('.points use:not(.away)').length"
    button = browser.find_element("css selector", "[data-label='3']")
    browser.execute_script("arguments[0].click()", button)
    assert button.get_attribute("aria-pressed") == "false"
    each = planted_run.COUNT // len(planted_run.CLASSES)
    assert browser.execute_script(count) == planted_run.COUNT - each
    browser.execute_script("arguments[0].click()", button)
    assert browser.execute_script(count) == planted_run.COUNT
    assert errors(browser) == []
