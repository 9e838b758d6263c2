"""examples/browser installed in a folder of its own, and what the page says."""

import contextlib
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from artefacts import EXAMPLES, load

screen = load(EXAMPLES / "browser" / "screenshot.py")
edge = load(EXAMPLES / "edge" / "encoder.py")


def require_programs() -> None:
    """Skips a file of tests where what it drives is not installed."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    for program in ("chromium", "chromedriver", "npm"):
        if not shutil.which(program):
            pytest.skip(f"no {program} on the path", allow_module_level=True)


def give(browser, paths, kind="image-files") -> None:
    """Chooses files in the page, and waits until it has done with them."""
    screen.give_files(browser, kind, paths)


def assert_embeds(browser, model: pathlib.Path, paths: list[pathlib.Path]) -> dict:
    """Raises unless the page's images are these, embedded as by LiteRT; gives h."""
    correct, received = expected(model, paths), embeddings(browser)
    assert list(received) == list(correct)
    for name, h in correct.items():
        np.testing.assert_allclose(received[name], h, atol=1e-3, err_msg=name)
    return correct


@contextlib.contextmanager
def install(folder: pathlib.Path, model: pathlib.Path | None = None):
    """Installs the page as its head says, beside an encoder, and yields its address."""
    ignored = shutil.ignore_patterns("node_modules", "*.tflite")
    shutil.copytree(EXAMPLES / "browser", folder, ignore=ignored)
    try:
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=180,
        )
    except subprocess.SubprocessError as error:
        lines = (error.stderr or str(error)).strip().splitlines()
        pytest.skip(f"npm could not install LiteRT.js: {lines[0]}")
    if model is not None:
        shutil.copy(model, folder / "encoder_float32.tflite")
    with screen.serve(folder) as address:
        yield address


def embeddings(browser) -> dict[str, np.ndarray]:
    """Name -> representation, of all images in the page."""
    found = browser.execute_async_script(
        """const done = arguments[0];
        import("./main.js").then(({ images }) =>
            done(images.map(({ file, h }) => [file.name, [...h]])));"""
    )
    return {name: np.array(h, np.float32) for name, h in found}


def expected(model: pathlib.Path, paths: list[pathlib.Path]) -> dict[str, np.ndarray]:
    """The same by LiteRT in Python, after the decoder and the view of examples/edge."""
    encoder = edge.Encoder(model)
    views = [edge.evaluation_view(edge.read_image(p), encoder.size) for p in paths]
    return dict(zip([p.name for p in paths], encoder(np.stack(views)), strict=True))


def text(browser, selector: str) -> str:
    """What an element says."""
    element = browser.find_element("css selector", selector)
    return element.get_attribute("textContent")


def left_out(browser) -> dict[str, str]:
    """Name -> reason, of the files that the page refused."""
    lines = browser.execute_script(
        "return [...document.querySelectorAll('#problems li')].map(l => l.textContent)"
    )
    return dict(line.split(": ", 1) for line in lines)


def errors(browser) -> list[str]:
    """The console's errors but for what LiteRT's runtime calls an information."""
    return [
        record["message"]
        for record in browser.get_log("browser")
        if record["level"] == "SEVERE"
        and not re.search(r'litert_wasm\S+ \S+ "(INFO|WARNING)', record["message"])
    ]
