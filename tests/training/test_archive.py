"""What a run leaves on disk, where the disk is full or the directory is gone."""

import contextlib
import resource
import shutil

import keras
import numpy as np
import pytest

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.models.saved import load_encoder
from selfsup_tf.run import RunDirectory
from selfsup_tf.training.archive import Archive


@contextlib.contextmanager
def files_of_at_most(size):
    """What writes more is told by the system that it may not, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def archive(tiny_config, tiny_method, few_images, tmp_path):
    """Opens a run in tmp_path / "run" that has not trained; a new one goes on there."""

    def open_archive():
        method = tiny_method(tiny_config("simclr"))
        method.build()
        optimizer = keras.optimizers.SGD(momentum=0.9)
        optimizer.build(method.trainable_variables)
        directory = RunDirectory(tmp_path / "run")
        archive = Archive(directory, method.config, method, optimizer)
        return archive, archive.open(open_source(few_images))

    return open_archive


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if "tensorboard" not in str(path)}


def test_a_full_disk_is_one_message_and_all_before_is_safe(archive, tmp_path):
    first, step = archive()
    assert step == 0
    first.write({"step": 2, "train/loss": 1.0})
    first.save(2)
    before = contents(tmp_path / "run")
    sizes = {path.name: len(written) for path, written in before.items()}
    networks = max(sizes[f"{name}.keras"] for name in ("encoder", "projector"))
    state = sizes["ckpt-2.data-00000-of-00001"]
    assert networks < state
    for size in (networks - 1, state - 1):
        with files_of_at_most(size), pytest.raises(InputError) as error:
            first.save(4)
        assert "MB for another state" in str(error.value)
        assert "MB free (File too large)" in str(error.value)
        assert "are safe. Make room" in str(error.value)
        assert contents(tmp_path / "run").keys() == before.keys()
    with (
        files_of_at_most(sizes["log.jsonl"] + 9),
        pytest.raises(InputError, match="Make room"),
    ):
        first.write({"step": 4, "train/loss": 1.0})
    again, step = archive()
    assert step == 2
    assert [record["step"] for record in again.records] == [0, 2]


def test_a_full_disk_is_one_message_where_tensorboard_notices_it(archive, tmp_path):
    first, _ = archive()
    written = {f"a/{i}": 1 for i in range(20)}  # much shorter in the log
    limit = (tmp_path / "run" / "log.jsonl").stat().st_size + 3000
    with files_of_at_most(limit), pytest.raises(InputError, match="too large") as error:
        for step in range(1, 12):
            first.write({"step": step, **written})
    assert "tfevents" in str(error.value.__cause__)


def test_a_run_deleted_while_it_is_written_stays_deleted(archive, tmp_path):
    first, _ = archive()
    shutil.rmtree(tmp_path / "run")
    for write in (
        lambda: first.write({"step": 2}),
        lambda: first.keep_if_best({"eval/knn_top_1": 0.5}, 2),
        lambda: first.save(2),
        first.close,
    ):
        with pytest.raises(InputError, match="It was deleted or moved meanwhile"):
            write()
    assert not (tmp_path / "run").exists()


def test_a_network_damaged_anywhere_is_one_message(archive, tmp_path):
    first, _ = archive()
    first.save(2)
    file = tmp_path / "run" / "encoder.keras"
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    starts = np.linspace(0, len(whole) - 40, 25).astype(int)
    refused = 0
    for start in starts:
        for damage in (whole[:start], np.r_[whole[:start], 0 * whole[start:]]):
            file.write_bytes(damage.tobytes())
            with pytest.raises(InputError, match=r"a readable Keras model at .*encod"):
                load_encoder(tmp_path / "run")
        few = whole.copy()
        few[start : start + 40] ^= 255
        file.write_bytes(few.tobytes())
        try:
            load_encoder(tmp_path / "run")
        except InputError:
            refused += 1
    assert refused > 12  # some bytes are of no consequence
