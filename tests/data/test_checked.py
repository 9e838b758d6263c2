"""What was found of a folder's files is kept, and found again."""

import logging
import os

import numpy as np
import PIL.Image
import pytest

from selfsup_tf.data import image_files
from selfsup_tf.data.sources import open_source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (40, 9, 12, 3), np.uint8)
    for number, image in enumerate(images):
        PIL.Image.fromarray(image).save(folder / f"größe {number:02d}.png")
    return folder


@pytest.fixture
def looked_at(monkeypatch):
    """Names of the files that are decoded to check them, call after call."""
    calls, decode = [], image_files._decode_all

    def spy(paths, *arguments, **options):
        calls.append(sorted(os.path.basename(path) for path in paths))
        return decode(paths, *arguments, **options)

    monkeypatch.setattr(image_files, "_decode_all", spy)
    return calls


def test_only_what_is_new_or_has_changed_is_looked_at(folder, looked_at):
    first = open_source(folder)
    assert len(looked_at[-1]) == 40
    again = open_source(folder)
    assert looked_at[-1] == []
    assert again.paths == first.paths and again.image_shape == first.image_shape
    assert again.fingerprint == first.fingerprint
    PIL.Image.new("RGB", (20, 20)).save(folder / "new.png")
    changed = folder / "größe 03.png"
    changed.write_bytes(changed.read_bytes()[:60])
    (folder / "größe 04.png").unlink()
    source = open_source(folder)
    assert looked_at[-1] == ["größe 03.png", "new.png"]
    assert (source.size, source.image_shape) == (39, None)
    (line,) = source.skipped
    assert "größe 03.png: " in line


def test_what_is_bad_is_looked_at_again(folder, looked_at):
    """Its reason may be another than its bytes, such as a lack of permission."""
    (folder / "empty.png").touch()
    for _ in range(2):
        (line,) = open_source(folder).skipped
        assert "empty file" in line and "empty.png" in looked_at[-1]
    assert looked_at[-1] == ["empty.png"]


def test_what_changes_while_it_is_looked_at_is_looked_at_again(
    folder, looked_at, monkeypatch
):
    growing, decode = folder / "größe 05.png", image_files._decode_all
    whole = growing.read_bytes()
    growing.write_bytes(whole[:50])

    def copy_meanwhile(*arguments, **options):
        found = decode(*arguments, **options)
        growing.write_bytes(whole)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(image_files, "_decode_all", copy_meanwhile)
        assert open_source(folder).size == 39
    assert open_source(folder).size == 40
    assert looked_at[-1] == ["größe 05.png"]


def test_it_is_the_same_folder_by_another_path(folder, looked_at, monkeypatch):
    open_source(folder)
    monkeypatch.chdir(folder.parent)
    assert open_source("photos").size == 40
    assert looked_at[-1] == []


def test_what_depends_on_how_files_are_read_is_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    PIL.Image.new("RGB", (20, 10)).save(tmp_path / "photos" / "a.jpg", exif=exif)
    for _ in range(2):
        assert open_source(tmp_path / "photos").image_shape == (20, 10, 3)
        stored = open_source(tmp_path / "photos", exif=False)
        assert stored.image_shape == (10, 20, 3)


@pytest.mark.parametrize(
    "contents", [b"", b"no gzip", b"{}", b"[1]", b'{"a": 1}', b'{"x": [[1, 2], 3]}']
)
def test_a_damaged_file_of_findings_is_made_anew(folder, looked_at, tmp_path, contents):
    import gzip

    open_source(folder)
    (kept,) = (tmp_path / "cache").rglob("*.json.gz")
    whole = kept.read_bytes()
    is_json = contents[:1] in (b"{", b"[")
    kept.write_bytes(gzip.compress(contents) if is_json else contents)
    assert open_source(folder).size == 40
    assert len(looked_at[-1]) == 40 and kept.read_bytes() == whole


def test_findings_that_make_no_sense_are_not_believed(folder, looked_at, tmp_path):
    from selfsup_tf.files import read_object, write_json

    open_source(folder)
    (kept,) = (tmp_path / "cache").rglob("*.json.gz")
    findings = read_object(kept)
    for number, name in enumerate(findings):
        findings[name][1] = [None, [1, 2], ["9", "12", "0"], {"a": 1}][number % 4]
    write_json(kept, findings)
    assert open_source(folder).image_shape == (9, 12, 3)
    assert len(looked_at[-1]) == 40


def test_where_nothing_can_be_kept_all_is_looked_at(folder, looked_at, monkeypatch):
    for place in ("/dev/null/cache", "/proc/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        for _ in range(2):
            assert open_source(folder).size == 40
            assert len(looked_at[-1]) == 40


def test_a_long_look_is_said(folder, caplog, monkeypatch):
    monkeypatch.setattr(image_files, "_MANY", 40)
    with caplog.at_level(logging.INFO, logger="selfsup_tf"):
        open_source(folder)
        open_source(folder)
    assert [r.message for r in caplog.records].count("Looking at 40 files, once.") == 1
