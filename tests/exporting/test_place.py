"""Where an export goes, and what one that was killed has left there."""

import json
import pathlib

import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.exporting.place import check_place, clear_left, work_beside


def test_what_a_killed_export_leaves_is_gone_after_the_next(tmp_path):
    place = tmp_path / "export"
    mine = (".export.mine", ".export.old.2024", ".export.old.backup", ".export.part-1")
    for name in (".export.part-abc_12xy", ".export.old.12", *mine):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tflite").write_text(name)
    manifest = {"versions": {}, "files": {"a.tflite": {}}}
    (tmp_path / ".export.old.12" / "manifest.json").write_text(json.dumps(manifest))
    # Killed after the one that was to be replaced had been moved aside.
    clear_left(place)
    assert sorted(p.name for p in tmp_path.iterdir()) == [*mine, "export"]
    assert (place / "a.tflite").read_text() == ".export.old.12"
    clear_left(place)
    assert sorted(p.name for p in tmp_path.iterdir()) == [*mine, "export"]


def test_what_a_file_manager_leaves_is_no_reason_to_keep_an_export(tmp_path):
    (tmp_path / "manifest.json").write_text('{"versions": {}, "files": {}}')
    (tmp_path / ".DS_Store").touch()
    check_place(tmp_path, overwrite=True)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds notes\.txt"):
        check_place(tmp_path, overwrite=True)


def test_what_can_not_be_renamed_is_refused_before_the_export():
    with pytest.raises(InputError, match="a file system is mounted"):
        check_place(pathlib.Path("/proc"), overwrite=True)


def test_an_export_in_progress_is_left_alone(tmp_path):
    place = tmp_path / "export"
    with work_beside(place) as work:
        clear_left(place)
        assert work.is_dir()
    assert list(tmp_path.iterdir()) == []
