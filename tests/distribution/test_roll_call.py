"""The workers' meeting: threads as workers, on this machine's ports."""

import contextlib
import json
import logging
import random
import socket
import threading
import time

import pytest

from selfsup_tf.distribution.cluster import Cluster
from selfsup_tf.distribution.roll_call import LONGEST, roll_call
from selfsup_tf.errors import InputError


def differences(theirs, mine):
    keys = theirs.keys() | mine.keys()
    return [
        f"{key}: {theirs.get(key)}, not {mine.get(key)}"
        for key in sorted(keys)
        if theirs.get(key) != mine.get(key)
    ]


class Worker(threading.Thread):
    """A worker that takes part in a roll call, `delay` seconds from now."""

    def __init__(self, addresses, index, facts=(), timeout=20.0, delay=0.0):
        super().__init__(daemon=True)
        self.cluster = Cluster(tuple(addresses), index)
        self.facts, self.timeout, self.delay = dict(facts), timeout, delay
        self.error = None
        self.start()

    def run(self):
        time.sleep(self.delay)
        try:
            roll_call(
                self.cluster, self.facts, differences=differences, timeout=self.timeout
            )
        except BaseException as error:
            self.error = error

    def outcome(self):
        """What it was refused with, empty where it was not."""
        self.join(timeout=15)
        assert not self.is_alive(), "it hangs"
        assert self.error is None or type(self.error) is InputError, repr(self.error)
        return str(self.error or "")


@pytest.fixture
def addresses(free_addresses):
    return free_addresses(3)


def port_of(address):
    return int(address.rpartition(":")[2])


def connect(address):
    """A connection by hand, as soon as somebody listens."""
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port_of(address)), timeout=10)
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("nobody listens")


def say_hello(address, workers, index, process="by hand"):
    """A worker by hand: its connection, once the chief has answered."""
    connection = connect(address)
    hello = {"index": index, "workers": workers, "process": process, "facts": {}}
    connection.sendall(json.dumps({"roll_call": 2} | hello).encode() + b"\n")
    lines = connection.makefile("rb")
    assert lines.peek(1)
    return connection, lines


def verdict(lines):
    """What the chief tells in the end."""
    return next(
        v for line in lines if (v := json.loads(line).get("verdict")) is not None
    )


@pytest.mark.parametrize("delays", [(0.6, 0, 0), (0, 0.6, 0.3)])
def test_tensorflow_listens_where_all_have_met(addresses, delays):
    import tensorflow as tf

    facts = {"steps": 10, "crop": (0.08, 1.0), "name": "é"}
    workers = [Worker(addresses, i, facts, delay=d) for i, d in enumerate(delays)]
    assert [worker.outcome() for worker in workers] == [""] * 3
    server = tf.distribute.Server(
        {"worker": addresses[:1]}, job_name="worker", task_index=0
    )
    connect(addresses[0]).close()
    assert server.target == f"grpc://{addresses[0]}"


def test_a_worker_alone_only_tries_its_port(addresses):
    assert Worker(addresses[:1], 0).outcome() == ""


def test_all_hear_who_differs_and_in_what(addresses):
    facts = {"batch_size": 32, "seed": 1}
    others = [facts | {"batch_size": 64}, facts | {"seed": 2, "batch_size": 16}]
    workers = [Worker(addresses, i, f) for i, f in enumerate([facts, *others])]
    expected = (
        "expected the same run on every worker; received "
        f"worker 1 at {addresses[1]} differs from the chief: batch_size: 64, not 32; "
        f"worker 2 at {addresses[2]} differs from the chief: batch_size: 16, not 32, "
        "seed: 2, not 1. "
        "Start every worker by the same command, with the same code and data."
    )
    assert [worker.outcome() for worker in workers] == [expected] * 3
    alike = [Worker(addresses, i, f) for i, f in enumerate([facts, facts, others[0]])]
    messages = [worker.outcome() for worker in alike]
    assert len(set(messages)) == 1
    assert "worker 2" in messages[0] and "worker 1" not in messages[0]


def test_all_hear_who_is_missing(addresses):
    # A worker out of patience itself waits for the chief's verdict.
    workers = [Worker(addresses, 0, timeout=1.0), Worker(addresses, 2, timeout=0.5)]
    for message in (worker.outcome() for worker in workers):
        assert message.startswith(
            "expected all 3 workers to be there within 1 s; "
            f"received no word from worker 1 at {addresses[1]}. "
        )


def test_workers_hear_that_the_chief_is_missing(addresses):
    workers = [Worker(addresses, i, timeout=0.6) for i in (1, 2)]
    for message in (worker.outcome() for worker in workers):
        assert message.startswith(
            f"expected the chief, worker 0 at {addresses[0]}, to be there within 0.6 s;"
        )
        assert "refused" in message


def test_another_program_at_the_chiefs_port_is_no_chief(addresses):
    with socket.create_server(("127.0.0.1", port_of(addresses[0]))) as server:
        worker = Worker(addresses, 1, timeout=0.6)
        connection, _ = server.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        message = worker.outcome()
        connection.close()
    assert f"expected the chief, worker 0 at {addresses[0]}" in message


def test_one_index_twice(addresses):
    # The third one's port is free for a second worker 1, as on another machine.
    chief = Worker(addresses, 0)
    first, lines = say_hello(addresses[0], addresses, 1, "one")
    second, more = say_hello(addresses[0], addresses, 1, "two")
    late = Worker(addresses, 2, delay=0.5)
    said = "expected every worker to have an index of its own; received index 1 from "
    said += "127.0.0.1 and from 127.0.0.1. "
    assert verdict(lines)[1] in said
    assert verdict(more)[1] in said
    first.close(), second.close(), lines.close(), more.close()
    assert chief.outcome().startswith(said)
    assert late.outcome().startswith(said)


def test_two_chiefs_on_two_machines_find_each_other(addresses, monkeypatch):
    create = socket.create_server

    def create_elsewhere(address, **options):
        if address[1] == port_of(addresses[0]) and elsewhere.pop():
            address = ("", port_of(addresses[2]))
        return create(address, **options)

    monkeypatch.setattr(socket, "create_server", create_elsewhere)
    pair, elsewhere = addresses[:2], [False, True]
    second, first = (Worker(pair, 0, timeout=4, delay=d) for d in (0, 0.4))
    for message in (first.outcome(), second.outcome()):
        assert "received index 0 from 127.0.0.1 and from 127.0.0.1." in message


def test_reconnecting_replaces_the_broken_connection(addresses):
    chief = Worker(addresses, 0, timeout=8)
    broken = say_hello(addresses[0], addresses, 1, "same")
    again = say_hello(addresses[0], addresses, 1, "same")
    last = Worker(addresses, 2)
    assert verdict(again[1]) == []
    for connection, lines in (broken, again):
        lines.close(), connection.close()
    assert chief.outcome() == last.outcome() == ""


def test_another_list_of_workers(addresses):
    chief = Worker(addresses[:2], 0)
    worker = Worker([addresses[0], addresses[2]], 1)
    said = f"expected the same list of workers on each; received {addresses[0]}, "
    said += f"{addresses[2]} from worker 1, on 127.0.0.1, where the chief has "
    said += f"{addresses[0]}, {addresses[1]}. "
    assert chief.outcome().startswith(said)
    assert worker.outcome().startswith(said)


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_in_use_is_named(addresses, index):
    with socket.create_server(("127.0.0.1", port_of(addresses[index]))):
        message = Worker(addresses, index).outcome()
    assert message.startswith(
        f"expected the port of worker {index} to be free; "
        f"received {addresses[index]}: Address already in use. End that process"
    )


def test_strangers_do_not_end_the_chief(addresses):
    chief = Worker(addresses[:2], 0)
    hello = {
        "roll_call": 2,
        "index": 7,
        "workers": addresses,
        "process": "",
        "facts": {},
    }
    strangers = []
    for said in (
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        random.Random(0).randbytes(4096),
        b"[" * 200_000 + b"\n",
        b'{"roll_call": 1}\n',
        json.dumps(hello | {"index": "7"}).encode() + b"\n",
        b"x" * (LONGEST + 1),
    ):
        strangers.append(connect(addresses[0]))
        with contextlib.suppress(OSError):  # it may be cut off on the way
            strangers[-1].sendall(said)
    strangers[-1].settimeout(5)
    with contextlib.suppress(ConnectionError):  # it is not read to no end
        assert strangers[-1].recv(1) == b""
    connect(addresses[0]).close()
    assert Worker(addresses[:2], 1).outcome() == ""
    assert chief.outcome() == ""
    for stranger in strangers:
        stranger.close()


def test_a_silent_connection_is_dropped(addresses):
    chief = Worker(addresses, 0, timeout=1)
    with connect(addresses[0]) as silent:
        assert silent.recv(1) == b""
        assert chief.is_alive()
    assert "no word from worker 1" in chief.outcome()


def test_a_worker_that_crashed_may_be_started_anew(addresses):
    chief = Worker(addresses, 0)
    crashed = say_hello(addresses[0], addresses, 1)
    crashed[1].close(), crashed[0].close()
    others = [Worker(addresses, 1, delay=0.2), Worker(addresses, 2, delay=0.4)]
    assert [worker.outcome() for worker in (chief, *others)] == [""] * 3


def test_a_worker_that_crashed_is_missing(addresses):
    chief = Worker(addresses, 0, timeout=1)
    crashed = say_hello(addresses[0], addresses, 1)
    crashed[1].close(), crashed[0].close()
    last = Worker(addresses, 2, delay=0.2)
    for message in (chief.outcome(), last.outcome()):
        assert f"received no word from worker 1 at {addresses[1]}. " in message


def test_the_chief_says_once_whom_it_waits_for(addresses, caplog):
    with caplog.at_level(logging.INFO, logger="selfsup_tf"):
        workers = [Worker(addresses, 0, timeout=2), Worker(addresses, 2)]
        assert all(worker.outcome() for worker in workers)
    assert caplog.messages == [f"waiting for worker 1 at {addresses[1]}"]
