"""Where an export goes, and what one that was killed has left there."""

from selfsup_tf.exporting.place import clear_left, work_beside


def test_what_a_killed_export_leaves_is_gone_after_the_next(tmp_path):
    place = tmp_path / "export"
    for name in (".export.part-abc", ".export.old.12", ".export.mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text(name)
    # Killed after the one that was to be replaced had been moved aside.
    clear_left(place)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".export.mine", "export"]
    assert (place / "saved_model.pb").read_text() == ".export.old.12"


def test_an_export_in_progress_is_left_alone(tmp_path):
    place = tmp_path / "export"
    with work_beside(place) as work:
        clear_left(place)
        assert work.is_dir()
    assert list(tmp_path.iterdir()) == []
