"""docs/fidelity.md: every row has a verdict, and what it names is there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "fidelity.md").read_text()
HEADER = ["item", "paper / reference", "ours", "verdict", "where it is shown"]
VERDICTS = {"equal", "as read", "different", "guarded", "not run", "not there yet"}
PITFALLS = "What goes wrong, and has gone wrong for others"

LEAST = {
    "SimCLR v1 and v2 on ImageNet": 112,
    "SimCLR on CIFAR-10": 45,
    "BYOL on ImageNet, Imagenette and CIFAR-10": 98,
    "SimSiam on ImageNet and CIFAR-10": 19,
    "Barlow Twins on ImageNet and CIFAR-10": 15,
    "VICReg on ImageNet and CIFAR-10": 12,
    "MoCo on ImageNet and CIFAR-10": 23,
    "DINO on ImageNet and CIFAR-10": 36,
    PITFALLS: 46,
    "Corrections": 17,
}
"""Rows of each section's table: none goes without a word."""


def cells_of(line):
    """The cells of a table's line."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_tables():
    """The rows of each section's table, by the section's title."""
    tables = {}
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        title, *lines = section.splitlines()
        lines = [cells_of(line) for line in lines if line.startswith("|")]
        if lines:
            assert lines[0] == HEADER, title
            tables[title] = lines[2:]
    return tables


TABLES = read_tables()
ROWS = [row for rows in TABLES.values() for row in rows]


def test_no_row_is_lost():
    assert list(TABLES) == list(LEAST)
    for title, rows in TABLES.items():
        assert len(rows) >= LEAST[title], title
        assert len({row[0] for row in rows}) == len(rows), title


def test_every_pitfall_is_answered():
    found = [re.match(r"(\d+)\. ", row[0]) for row in TABLES[PITFALLS]]
    assert {int(number[1]) for number in found if number} == set(range(1, 23))


def test_every_row_is_whole():
    for row in ROWS:
        assert len(row) == len(HEADER) and all(row), row
        assert row[3] in VERDICTS, row


def test_what_the_rows_name_exists(has_test):
    """Tests as "path::test"; files, each followed by names that occur in it."""
    for item, *_, verdict, where in ROWS:
        named = re.findall(r"`([^`]+)`", where)
        assert named and not re.sub(r"`[^`]+`|, | ", "", where), item
        text = ""
        for name in named:
            if "::" in name:
                assert has_test(name), (item, name)
            elif re.search(r"\.(py|md)$", name):
                assert (ROOT / name).is_file(), (item, name)
                text = (ROOT / name).read_text()
            else:
                assert re.search(rf"\b{re.escape(name)}\b", text), (item, name)
        assert verdict != "equal" or "::" in where, item


def test_the_tests_that_the_prose_names_exist(has_test):
    for name in re.findall(r"`(tests/[^`]+)`", TEXT):
        assert has_test(name) if "::" in name else (ROOT / name).is_file(), name


def test_what_was_not_run_claims_no_number():
    for item, _, ours, verdict, _ in ROWS:
        if verdict in ("not run", "not there yet"):
            assert "%" not in ours, item


def test_it_stays_within_the_repository_and_the_margin():
    assert not re.search(r"`/|\.\./|/work|shared/", TEXT)
    prose = [line for line in TEXT.splitlines() if not line.startswith("|")]
    assert max(map(len, prose)) <= 100
