"""The log at Weights & Biases, in its offline mode: what lies there, and where."""

import importlib.machinery
import importlib.util
import json
import re
import socket
import struct

import pytest

import selfsup_tf as selfsup
from selfsup_tf.commands import installing
from selfsup_tf.errors import InputError
from selfsup_tf.training.log import RunLog
from selfsup_tf.training.wandb_log import WandbLog

wandb = pytest.importorskip("wandb", reason="pip install '.[wandb]'")


@pytest.fixture
def afresh():
    """The environment read anew, which wandb reads once a process otherwise."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def offline(afresh, monkeypatch, tmp_path):
    """A run's directory and an empty working directory, without a network."""

    def connect(self, address):
        assert self.family == socket.AF_UNIX, f"a connection to {address}"
        return original(self, address)

    original = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield tmp_path / "photos"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def records(path):
    """The records of a transaction log: protobufs in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768  # of this block; too short ones stay empty
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        record += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def segments(run_dir):
    """(id, project, name, config, {step: numbers}) of each time the run was open."""
    found = []
    paths = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    # Their names tell seconds apart, no more.
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
        history = []
        for record in records(path):
            if record.WhichOneof("record_type") == "run":
                run = record.run
                config = {i.key: json.loads(i.value_json) for i in run.config.update}
                about = (run.run_id, run.project, run.display_name, config)
            if record.WhichOneof("record_type") == "history":
                items = {
                    i.key or "/".join(i.nested_key): json.loads(i.value_json)
                    for i in record.history.item
                }
                history.append(items)
        found.append((*about, history))
    return found


def numbers(log):
    """What of a log.jsonl is sent, step by step."""
    return [
        {
            **{k: v for k, v in record.items() if isinstance(v, int | float)},
            "_step": record["step"],
        }
        for record in log
        if any("/" in name for name in record)  # the first says how the run began
    ]


def told(history):
    """Without the clock, and with the step under the log's name."""
    return [
        {k: v for k, v in items.items() if k not in ("_timestamp", "_runtime")}
        | {"step": items["_step"]}
        for items in history
    ]


def test_a_run_is_logged_in_its_own_directory(
    offline, tiny_config, tiny_method, few_images, capfd
):
    config = tiny_config("simclr", wandb="pictures")
    run = selfsup.train(
        tiny_method(config), few_images[0], run_dir=offline, progress=False
    )
    ((run_id, project, name, sent, history),) = segments(offline)
    assert (project, name) == ("pictures", "photos")
    assert sent["batch_size"] == 16 and sent["optimizer"]["name"] == "sgd"
    assert sent["method"] == "simclr"
    assert told(history) == numbers(run.log)
    assert [items["_step"] for items in history] == [2, 4, 6]
    assert json.loads((offline / "wandb.json").read_text())["id"] == run_id
    assert wandb.run is None
    assert "wandb" not in "".join(capfd.readouterr())


def test_a_resumed_run_goes_on_where_it_was(
    offline, tiny_config, tiny_method, few_images, monkeypatch
):
    """Stopped between two checkpoints: a step is trained twice and sent once."""

    class PowerCut(Exception):
        pass

    def write_and_stop(self, record):
        write(self, record)
        if record["step"] == 5:
            raise PowerCut

    config = tiny_config("simclr", wandb="pictures", steps_per_call=1)
    write = RunLog.write
    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "write", write_and_stop)
        with pytest.raises(PowerCut):
            selfsup.train(
                tiny_method(config), few_images[0], run_dir=offline, progress=False
            )
    run = selfsup.train(
        tiny_method(config), few_images[0], run_dir=offline, progress=False
    )
    assert [r["step"] for r in run.log] == list(range(7))
    first, second = segments(offline)
    assert first[:3] == second[:3]
    steps = [[items["_step"] for items in part[-1]] for part in (first, second)]
    assert steps == [[1, 2, 3, 4, 5], [6]]


def test_a_run_that_was_logged_here_alone_is_sent_later(
    offline, tiny_config, tiny_method, few_images
):
    for project in (None, "pictures", "pictures", "others"):
        run = selfsup.train(
            tiny_method(tiny_config("simclr", wandb=project)),
            few_images[0],
            run_dir=offline,
            progress=False,
        )
    first, second, third = segments(offline)
    assert told(first[-1]) == told(third[-1]) == numbers(run.log)
    assert second[-1] == []
    assert first[:2] == second[:2]
    assert third[0] != first[0] and third[1] == "others"


@pytest.mark.parametrize("spec", [None, importlib.machinery.ModuleSpec("wandb", None)])
def test_without_the_package_nothing_is_written(
    spec, tiny_config, tiny_method, few_images, tmp_path, monkeypatch
):
    """A folder called wandb, such as one of logs, is no package."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: spec if name == "wandb" else find(name),
    )
    with pytest.raises(InputError, match=re.escape(installing("wandb"))):
        selfsup.train(
            tiny_method(tiny_config("simclr", wandb="pictures")),
            few_images[0],
            run_dir=tmp_path / "run",
        )
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_there_is_advice(afresh, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(InputError, match="wandb login"):
        WandbLog(tmp_path, tiny_config("simclr", wandb="pictures"))


def test_an_empty_project_is_not_taken_for_a_missing_package(tiny_config):
    with pytest.raises(InputError, match="name of a project behind --wandb"):
        tiny_config("simclr", wandb="")
