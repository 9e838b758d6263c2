"""What tests of this folder share: modules beside them, environments, a browser."""

import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture
def build():
    """Makes an environment that is removed after the test."""
    from environments import Environment

    with tempfile.TemporaryDirectory() as place:
        yield lambda *packages: Environment(pathlib.Path(place) / "env", packages)


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
