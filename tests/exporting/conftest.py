"""What tests of this folder share: the modules beside them, and a browser."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="module")
def chromium():
    """A browser, for the page of a file of tests."""
    from browser_site import screen

    with screen.open_browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium, site):
    """The page of the fixture `site`, freshly opened."""
    from browser_site import screen

    chromium.get_log("performance")
    screen.visit(chromium, site)
    chromium.get_log("browser")
    return chromium
