"""The workers' meeting: threads as workers, on this machine's ports."""

import contextlib
import hmac
import json
import logging
import random
import socket
import sys
import threading
import time

import pytest

from selfsup_tf.config import worker_differences
from selfsup_tf.distribution.cluster import Cluster
from selfsup_tf.distribution.roll_call import roll_call
from selfsup_tf.distribution.roll_call_lines import LONGEST
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

    def __init__(self, addresses, index, facts=(), timeout=20.0, delay=0.0, token=""):
        super().__init__(daemon=True)
        self.token = token
        self.cluster = Cluster(tuple(addresses), index)
        self.facts, self.timeout, self.delay = dict(facts), timeout, delay
        self.error = None
        self.start()

    def run(self):
        time.sleep(self.delay)
        try:
            roll_call(
                self.cluster,
                self.facts,
                differences=differences,
                timeout=self.timeout,
                token=self.token,
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


def a_line(**message):
    return json.dumps({"roll_call": 3} | message).encode() + b"\n"


def prove(token, side, *nonces):
    """The handshake as it stands in the module's docstring."""
    said = json.dumps([side, *nonces]).encode()
    return hmac.new(token.encode(), said, "sha256").hexdigest()


def call(address, said, token=""):
    """A caller with this token that goes on to say this: its connection, its lines."""
    connection = connect(address)
    connection.sendall(a_line(nonce="mine"))
    lines = connection.makefile("rb")
    answer = json.loads(lines.readline())
    proof = prove(token, "worker", "mine", answer["nonce"])
    with contextlib.suppress(OSError):  # it may be cut off on the way
        connection.sendall(a_line(proof=proof) + said)
    return connection, lines


def a_hello(workers, index, process="by hand", facts=()):
    return {
        "index": index,
        "workers": workers,
        "process": process,
        "facts": dict(facts),
    }


def say_hello(address, workers, index, process="by hand"):
    """A worker by hand: its connection, once the chief has answered."""
    hello = a_line(**a_hello(workers, index, process))
    connection, lines = call(address, hello)
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


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127/8 is this machine's")
def test_tensorflow_listens_on_all_interfaces(addresses):
    """Whatever host it is told; docs/security.md says so, and what to do about it."""
    import tensorflow as tf

    cluster = {"worker": addresses[:1]}
    server = tf.distribute.Server(cluster, job_name="worker", task_index=0)
    assert server.target == f"grpc://{addresses[0]}"
    elsewhere = ("127.0.0.2", port_of(addresses[0]))
    socket.create_connection(elsewhere, timeout=10).close()


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


def hang_up(calls):
    for connection, lines in calls:
        lines.close(), connection.close()


FIRST_WORDS = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise": random.Random(0).randbytes(4096),
    "deep": b"[" * 200_000 + b"\n",
    "another version": b'{"roll_call": 1, "nonce": "a"}\n',
    "no nonce": a_line(nonce=7),
    "a hello at once": a_line(**a_hello([], 0)),
    "half a character": a_line(nonce="\ud800"),
    "too long": b"x" * (LONGEST + 1),
}
"""What strangers say before they have shown anything."""


def test_strangers_do_not_end_the_chief(addresses):
    chief = Worker(addresses[:2], 0)
    strangers = []
    for said in FIRST_WORDS.values():
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


def test_who_has_no_token_is_not_heard_and_learns_nothing(addresses):
    """Not even index 0, the chief's own, nor by what the chief itself has shown."""
    pair, facts = addresses[:2], {"data": "the secret folder"}
    chief = Worker(pair, 0, facts, token="the secret token")
    hello = a_line(**a_hello(pair, 0))
    strangers = [call(pair[0], hello, token) for token in ("", "a guess")]
    echo = connect(pair[0])
    echo.sendall(a_line(nonce="mine"))
    strangers.append((echo, echo.makefile("rb")))
    shown = json.loads(strangers[-1][1].readline())
    assert shown["proof"] == prove("the secret token", "chief", "mine", shown["nonce"])
    echo.sendall(a_line(proof=shown["proof"]) + hello)
    for proof in ("é", "\ud800", 7, None):
        stranger = connect(pair[0])
        stranger.sendall(a_line(nonce="mine") + a_line(proof=proof) + hello)
        strangers.append((stranger, stranger.makefile("rb")))
        assert json.loads(strangers[-1][1].readline())["nonce"]
    for _, lines in strangers:
        with contextlib.suppress(ConnectionError):
            assert lines.read() == b"", "a stranger has an answer"
    assert Worker(pair, 1, facts, token="the secret token").outcome() == ""
    assert chief.outcome() == ""
    hang_up(strangers)


def test_a_worker_with_another_token_is_told_so(addresses):
    chief = Worker(addresses[:2], 0, timeout=2, token="one")
    worker = Worker(addresses[:2], 1, timeout=1, token="two")
    assert "received a chief with another SELFSUP_TOKEN. " in worker.outcome()
    assert "received no word from worker 1" in chief.outcome()


def play_chief(server, said, token=""):
    """Answers one call by this after the handshake; what it has heard by the end."""
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as lines:
        heard = lines.readline()
        proof = prove(token, "chief", json.loads(heard)["nonce"], "mine")
        connection.sendall(a_line(nonce="mine", proof=proof) + said)
        with contextlib.suppress(ConnectionError):
            heard += lines.read()
    return heard


def test_a_worker_tells_its_config_to_no_stranger_at_the_chiefs_port(addresses):
    with socket.create_server(("127.0.0.1", port_of(addresses[0]))) as server:
        worker = Worker(addresses, 1, {"data": "secret"}, timeout=10, token="ours")
        heard = play_chief(server, a_line(verdict=[]), token="a guess")
        assert heard.count(b"\n") == 1 and b"secret" not in heard
        heard = play_chief(server, a_line(verdict=[]), token="ours")
        assert heard.count(b"\n") == 3 and b"secret" in heard
    assert worker.outcome() == ""


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"index": 3},
        {"index": True},
        {"index": 10**30},
        {"index": float("inf")},
        {"index": float("nan")},
        {"index": "1"},
        {"workers": []},
        {"workers": {}},
        {"process": None},
        {"facts": []},
    ],
    ids=str,
)
def test_a_hello_that_is_none_is_not_heard(addresses, change):
    """Of one that has the token, or where there is none."""
    chief = Worker(addresses[:2], 0)
    hello = a_line(**a_hello(addresses[:2], 1) | change)
    stranger = call(addresses[0], hello)
    assert stranger[1].read() == b""
    assert Worker(addresses[:2], 1).outcome() == ""
    assert chief.outcome() == ""
    hang_up([stranger])


def test_facts_that_can_not_be_compared_end_the_run_and_do_not_hang_it(
    addresses, monkeypatch
):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setitem(globals(), "differences", worker_differences)
    chief = Worker(addresses[:2], 0)
    hello = a_hello(addresses[:2], 1, facts={"views": 5})
    stranger = call(addresses[0], a_line(**hello))
    assert "the chief to wait for all" in verdict(stranger[1])
    assert "expected the chief to wait for all" in chief.outcome()
    hang_up([stranger])


def test_no_verdict_of_another_kind_is_taken(addresses):
    """A worker hangs up, calls again, and goes by the first that is one."""
    waits = a_line(wait=float("inf")) + a_line(wait=float("nan")) + a_line(wait=1e300)
    with socket.create_server(("127.0.0.1", port_of(addresses[0]))) as server:
        worker = Worker(addresses, 1)
        for said in (
            a_line(wait=1),
            a_line(verdict=[1, 2, 3]),
            a_line(verdict=["a", "b"]),
            a_line(verdict=["a", "b", float("nan")]),
            b"[" * 200_000 + b"\n",
            b"9" * 5000 + b"\n",
            b"9" * (LONGEST + 1),
        ):
            play_chief(server, waits + said)
            assert worker.is_alive()
        play_chief(server, waits + a_line(verdict=[]))
    assert worker.outcome() == ""


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
