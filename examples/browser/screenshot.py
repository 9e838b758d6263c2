"""Opens the page in headless Chromium, gives it images and takes its picture.

    npm ci && pip install selenium                   in this folder
    python screenshot.py encoder_float32.tflite photos browser.png --select=7

Chromium and chromedriver must be on the path. The tests of the page use the functions.
docs/images/browser.png shows the encoder of `train.py simclr shapes` and the first
1,000 test images of the shapes as PNG files: --select=36 --count=1000 --height=1060.
"""

import argparse
import contextlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FLAGS = ("headless=new", "no-sandbox", "disable-quic", "no-first-run",
         "disable-background-networking", "disable-component-update", "disable-sync",
         "hide-scrollbars")  # fmt: skip
HERE = pathlib.Path(__file__).resolve().parent


@contextlib.contextmanager
def serve(folder: pathlib.Path = HERE):
    """Serves a folder by Python's own server and yields its address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [*command, "--directory", str(folder)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            (port,) = re.findall(r" port (\d+)", server.stdout.readline())
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait()


@contextlib.contextmanager
def open_browser(*more_flags: str):
    """Headless Chromium that keeps its console and its network's log."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, *more_flags, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        browser = webdriver.Chrome(options=options, service=service)
        browser.set_script_timeout(120)
        try:
            yield browser
        finally:
            browser.quit()


def visit(browser, address: str, *, width: int = 1180, height: int = 900) -> None:
    """Opens the page in a window of that many pixels and waits until it is ready."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    wait(browser)


def give_files(browser, kind: str, paths: list[pathlib.Path]) -> None:
    """Chooses files in the page, "image-files" or "model-file", and waits for it."""
    chooser = browser.find_element("id", kind)
    chooser.send_keys("\n".join(map(str, paths)))
    wait(browser)


def wait(browser) -> None:
    """Waits until the page has done all that it was asked for."""
    idle = "main[aria-busy=false]"
    wait_until(browser, lambda browser: browser.find_elements("css selector", idle))


def wait_until(browser, condition, seconds: float = 120) -> None:
    """Waits until a function of the browser is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, seconds, poll_frequency=0.05).until(condition)


def main() -> None:
    """Takes the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", type=pathlib.Path)
    parser.add_argument("images", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("picture", metavar="PNG", type=pathlib.Path)
    parser.add_argument("--count", default=300, type=int, help="images to give it")
    parser.add_argument("--select", default=0, type=int, help="which one is the query")
    parser.add_argument("--width", default=1180, type=int, help="of the window")
    parser.add_argument("--height", default=1000, type=int, help="of the window")
    flags = parser.parse_args()
    paths = sorted(path.resolve() for path in flags.images.rglob("*") if path.is_file())
    if not paths:
        parser.error(f"no files in {flags.images}")
    with serve() as address, open_browser() as browser:
        visit(browser, address, width=flags.width, height=flags.height)
        give_files(browser, "model-file", [flags.model.resolve()])
        give_files(browser, "image-files", paths[: flags.count])
        buttons = browser.find_elements("css selector", "#gallery button")
        buttons[flags.select].click()
        browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
        flags.picture.write_bytes(browser.get_screenshot_as_png())


if __name__ == "__main__":
    main()
