"""The documentation site: it builds without a warning and has every public name."""

import importlib
import pathlib
import re

import pytest

import selfsup_tf as selfsup

ROOT = pathlib.Path(__file__).parents[1]
PARTS = [f"selfsup_tf.{part}" for part in selfsup.PARTS]
METHODS = [f"{method}_tf" for method in selfsup.list_methods()]


def names_of(module):
    return [f"{module}.{name}" for name in importlib.import_module(module).__all__]


VERBS = sorted(set(f"selfsup_tf.{name}" for name in dir(selfsup)) - set(PARTS))
OTHERS = [name for module in (*PARTS, *METHODS) for name in names_of(module)]
NAMES = [*VERBS, *OTHERS]


def directives():
    pages = (ROOT / "docs" / "reference").glob("*.md")
    return re.findall(r"^::: (\S+)", "\n".join(p.read_text() for p in pages), re.M)


def test_every_public_name_has_its_place():
    found = directives()
    assert set(NAMES) <= set(found)
    assert len(set(found)) == len(found), "a name stands twice"


@pytest.fixture(scope="module")
def site(tmp_path_factory, start_python):
    """The site, built as `make docs` builds it, with a warning for an error."""
    pytest.importorskip("mkdocs", reason="mkdocstrings needs Python 3.11")
    place = tmp_path_factory.mktemp("site")
    command = ("-m", "mkdocs", "build", "--strict", "--site-dir", place)
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # of the theme, on its own future
    process = start_python(*command, env=quiet)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0 and "WARNING" not in said, said
    return place


def test_every_public_name_is_shown(site):
    pages = (site / "reference").glob("*/index.html")
    shown = {name for p in pages for name in re.findall(r'id="([^"]+)"', p.read_text())}
    assert set(NAMES) - {f"{method}.recipes" for method in METHODS} <= shown
    for method in METHODS:
        recipes = selfsup.find_method(method.removesuffix("_tf")).recipes
        assert {f"{method}.recipes.{name}" for name in recipes} <= shown
    assert "selfsup_tf.config.Config.batch_size" in shown


def test_links_that_leave_docs_lead_to_pages_of_the_site(site):
    encoders = (site / "encoders" / "index.html").read_text()
    assert 'href="../methods/distill_tf/"' in encoders
    method = (site / "methods" / "distill_tf" / "index.html").read_text()
    assert 'href="../../encoders/"' in method
    readme = (site / "readme" / "index.html").read_text()
    assert 'src="../images/report.png"' in readme
    assert 'href="../scaling/#who-reaches-the-workers"' in readme


def test_notebooks_are_pages_with_their_pictures(site):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        page = site / "notebooks" / path.stem
        text = (page / "index.html").read_text()
        pictures = re.findall(r'src="\.\./(\w+\.png)"', text)
        assert len(pictures) == path.read_text().count('"image/png"') > 1
        assert all((page.parent / name).exists() for name in pictures)
        assert f'href="{path.stem}/"' in (page.parent / "index.html").read_text()


def test_pages_ask_nobody_but_the_site(site):
    loaded = r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\s\">]+)"
    styles = r"<link[^>]*\srel=\"?stylesheet\"?[^>]*>"
    for page in site.rglob("*.html"):
        text = page.read_text()
        asked = re.findall(loaded, text) + re.findall(styles, text)
        assert asked and not [one for one in asked if "//" in one], page
