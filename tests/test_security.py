"""docs/security.md: every row says what shows it, or that nothing guards."""

import pathlib
import re

TEXT = (pathlib.Path(__file__).parents[1] / "docs" / "security.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| what |")
]


def test_every_row_names_its_test_or_that_nothing_guards(has_test):
    assert len(ROWS) >= 30
    for what, holds, shown in ROWS:
        named = re.findall(r"`([^`]+)`", shown)
        assert holds and (named or "nothing guards" in shown), what
        for name in named:
            assert has_test(name), (what, name)


def test_what_the_document_names_is_there(has_test):
    assert not has_test("tests/test_security.py::test_that_is_not_there")
    assert not has_test("tests/nowhere.py::test_it")
    root = pathlib.Path(__file__).parents[1]
    for name in re.findall(r"`((?:tests|examples)/[^`:]+)`", TEXT):
        assert (root / name).exists(), name
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (root / "docs" / link).is_file(), link
