"""The states of a run on disk: how many, what a death leaves, which are read."""

import keras
import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.training.checkpoints import Checkpoints


@pytest.fixture
def states(tmp_path):
    """Opens the states in a folder, as a new process would."""

    def open_states(folder=tmp_path):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        optimizer = keras.optimizers.SGD(momentum=0.9)
        optimizer.build(model.trainable_variables)
        return Checkpoints(folder, model, optimizer)

    return open_states


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def files_of(*steps):
    endings = ("data-00000-of-00001", "index")
    return sorted(f"ckpt-{step}.{ending}" for step in steps for ending in endings)


def test_two_states_are_kept_whoever_writes_them(states, tmp_path):
    for step in (5, 9, 10):  # as text, 10 comes first
        states().save(step)
    assert names(tmp_path) == files_of(9, 10)
    assert states().restore() == 10


def test_what_a_death_leaves_is_gone_after_the_next_start(states, tmp_path):
    for step in (2, 4):
        states().save(step)
    # Killed between the third state and the removal of the first, and in the midst of
    # a fourth.
    for file in files_of(2):
        (tmp_path / file.replace("2.", "1.", 1)).write_bytes(
            (tmp_path / file).read_bytes()
        )
    (tmp_path / "ckpt-6_temp").mkdir()
    left = ("ckpt-6_temp/part-0", "ckpt-6.data-00000-of-00001")
    for name in (*left, "ckpt-6.index.tempstate7"):
        (tmp_path / name).touch()
    assert states().restore() == 4
    assert names(tmp_path) == files_of(2, 4)


def test_a_death_before_the_first_state_leaves_nothing_either(states, tmp_path):
    (tmp_path / "ckpt-6_temp").mkdir()
    (tmp_path / "ckpt-6.data-00000-of-00001").touch()
    assert states().restore() == 0
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["ckpt-abc.index", "ckpt-.index", "ckpt-007.index"])
def test_a_file_of_another_name_is_no_state(name, states, tmp_path):
    states().save(4)
    (tmp_path / name).touch()
    assert states().restore() == 4
    assert names(tmp_path) == sorted([name, *files_of(4)])


def test_unreadable_states_stay_where_they_are(states, tmp_path):
    for step in (2, 4):
        states().save(step)
    for file in tmp_path.glob("*.index"):
        file.write_bytes(b"\0" * 40)
    with pytest.raises(InputError, match="a readable checkpoint"):
        states().restore()
    assert names(tmp_path) == files_of(2, 4)


def test_the_state_before_a_damaged_one_stays(states, tmp_path):
    for step in (2, 4):
        states().save(step)
    (tmp_path / "ckpt-4.data-00000-of-00001").write_bytes(b"")
    assert states().restore() == 2
    states().save(3)  # the damaged one makes room for it
    assert names(tmp_path) == files_of(2, 3)


@pytest.mark.parametrize("name", ["lr=[1]", "a*b", "what?", "]", "a[!b]"])
def test_a_path_that_tensorflow_takes_for_a_pattern(name, states, tmp_path):
    (tmp_path / "a-b").mkdir()  # which some of the patterns match
    folder = tmp_path / name / "checkpoints"
    folder.parent.mkdir()
    states(folder).save(4)
    assert states(folder).restore() == 4
    (folder / "ckpt-4.index").write_bytes(b"")
    with pytest.raises(InputError, match="a readable checkpoint"):
        states(folder).restore()
