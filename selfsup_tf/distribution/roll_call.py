"""All workers meet before TensorFlow opens their ports, and agree on the run.

TensorFlow's own start-up waits long and without a word for a worker that is missing,
and trains nonsense with one that reads another config. Here each worker binds its port,
so that one in use is named, and tells the chief its index and its facts at the chief's
port. The chief answers all of them alike: go, or what does not fit.

Both sides speak lines of JSON. A worker says hello; the chief replies at once with the
seconds it goes on waiting, and with its verdict when it is reached. The worker closes
first, and what the chief has to close it resets: no connection of its port lingers in
TIME_WAIT, which keeps a server that binds without SO_REUSEADDR from it for a minute.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import selectors
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from selfsup_tf.distribution.cluster import Cluster, split_address
from selfsup_tf.errors import InputError

Facts = dict[str, Any]
Verdict = list[str]
"""What InputError is made of; empty where all fits."""

LOG_AFTER = 10.0  # seconds until the chief says whom it waits for
RETRY_AFTER = 0.2  # seconds between two attempts to reach the chief
SAY_WITHIN = 10.0  # seconds a connection has to say hello, or to be answered
TELL_FOR = 5.0  # seconds the chief stays to tell all of them a verdict
LONGEST = 1 << 20  # bytes of a line
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s

logger = logging.getLogger("selfsup_tf")


def roll_call(
    cluster: Cluster,
    facts: Facts,
    *,
    differences: Callable[[Facts, Facts], list[str]],
    timeout: float = 300.0,
) -> None:
    """Returns when all workers are there and agree; their ports are free again then.

    Args:
        cluster: The workers, and which of them this is.
        facts: What has to be the same on all, of values that JSON knows.
        differences: Given a worker's facts and the chief's, a line for each that
            differs. Called on the chief, with facts as JSON gives them back.
        timeout: Seconds to wait for the others. A worker that has met the chief waits
            as long as the chief does.

    Raises:
        InputError: On every worker that is there: another one, or the chief, is
            missing; two have the same index; their facts or their lists of workers
            differ. On this one alone: its port is in use.
    """
    hello = {
        "roll_call": 1,
        "index": cluster.index,
        "workers": list(cluster.workers),
        # Told from another process of this index by it, and known when it comes back.
        "token": uuid.uuid4().hex,
        "facts": json.loads(json.dumps(facts)),
    }
    end = time.monotonic() + timeout
    with _listen(cluster) as listener:
        if cluster.size == 1:
            return
        if cluster.is_chief:
            verdict = _Chief(cluster, hello, differences, listener, timeout).call()
        else:
            verdict = _report(cluster, hello, end, f"{timeout:g} s")
    if verdict:
        raise InputError(*verdict)


def _name(cluster: Cluster, index: int) -> str:
    return f"worker {index} at {cluster.workers[index]}"


def _listen(cluster: Cluster) -> socket.socket:
    """The port of this worker on all interfaces: its host may be none of this machine.

    Where containers or a cloud map addresses, the host is known to the others alone.
    """
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", split_address(cluster.address)[1]),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
            backlog=1024,
        )
    except OSError as error:
        states = {
            errno.EADDRINUSE: "in use by another process",
            errno.EACCES: "reserved for the system",
        }
        if error.errno not in states:
            raise
        raise InputError(
            f"the port of worker {cluster.index} to be free",
            f"{cluster.address}, {states[error.errno]}",
            "End that process (`ss -ltnp` names it), or give the worker another port "
            "above 1023: in TF_CONFIG, or by another job of SLURM.",
        ) from error


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps({"roll_call": 1} | message).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line of a roll call; None where it is something else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(message, dict) and message.get("roll_call") == 1
    return message if fits else None


def _report(
    cluster: Cluster,
    hello: dict[str, Any],
    end: float,
    waited: str,
    stop: threading.Event | None = None,
) -> Verdict:
    """Asks the chief until it gives its verdict, or until `end` or `stop`."""
    stop = stop or threading.Event()
    reason: object = "no answer"
    while not stop.is_set() and (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection(
                split_address(cluster.workers[0]), timeout=min(left, SAY_WITHIN)
            ) as connection:
                return _ask(connection, hello)
        except (OSError, UnicodeError) as error:
            reason = error
        stop.wait(RETRY_AFTER)
    raise InputError(
        f"the chief, {_name(cluster, 0)}, to be there within {waited}",
        reason,
        "Start it too, and see that this machine reaches its port. If it has ended, "
        "its own messages say why.",
    )


def _ask(connection: socket.socket, hello: dict[str, Any]) -> Verdict:
    """Says hello and reads the chief's two replies, the first within its timeout.

    Raises:
        OSError: The other side is silent, goes away, or is no chief.
    """
    if connection.getsockname() == connection.getpeername():
        # A port that nobody listens at may be lent to the very call that is made to it.
        raise ConnectionRefusedError("no answer")
    connection.sendall(_line(hello))
    with connection.makefile("rb") as lines:
        replies = []
        for key, kinds in (("wait", int | float), ("verdict", list)):
            line = lines.readline(LONGEST)
            reply = _parse(line) or {}
            if not isinstance(reply.get(key), kinds):
                raise OSError("another program's answer" if line else "a hang-up")
            replies.append(reply[key])
            connection.settimeout(replies[0] + SAY_WITHIN)
    return replies[1]


@dataclasses.dataclass(eq=False)
class _Peer:
    """A connection to the chief's port, a worker's once it has said hello."""

    connection: socket.socket
    until: float
    """When it is dropped if it has said nothing, in seconds of time.monotonic."""
    received: bytes = b""
    hello: dict[str, Any] | None = None

    def send(self, message: dict[str, Any]) -> None:
        # What doesn't go out reaches nobody: its reader is gone, which the next read
        # tells.
        with contextlib.suppress(OSError):
            self.connection.settimeout(SAY_WITHIN)
            self.connection.sendall(_line(message))
        self.connection.setblocking(False)

    @property
    def host(self) -> str:
        try:
            return self.connection.getpeername()[0].removeprefix("::ffff:")
        except OSError:
            return "a worker that has gone"


class _Chief:
    """Listens until every worker is there, or one does not fit, or time is up."""

    def __init__(
        self,
        cluster: Cluster,
        hello: dict[str, Any],
        differences: Callable[[Facts, Facts], list[str]],
        listener: socket.socket,
        timeout: float,
    ):
        self.cluster, self.hello, self.differences = cluster, hello, differences
        self.listener, self.timeout = listener, timeout
        self.end = time.monotonic() + timeout
        self.log_at: float | None = time.monotonic() + LOG_AFTER
        self.selector = selectors.DefaultSelector()
        self.peers: set[_Peer] = set()
        self.present: dict[int, _Peer] = {}
        self.told: set[int] = set()
        self.refusal: Verdict = []
        """Why the run can't be, where that is known before all are there."""
        self.verdict: Verdict | None = None

    def call(self) -> Verdict:
        """The verdict, of which every worker that is there has been told."""
        stop = threading.Event()
        probe = threading.Thread(target=self._find_second_chief, args=[stop])
        probe.daemon = True
        probe.start()
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        try:
            while (verdict := self._decide()) is None:
                self._serve(RETRY_AFTER)
            self._tell(verdict)
            return verdict
        finally:
            stop.set()
            for peer in list(self.peers):
                self._drop(peer)
            self.selector.close()
            self.listener.close()
            probe.join(timeout=1.0)

    def _find_second_chief(self, stop: threading.Event) -> None:
        """Asks like a worker where the chief's address leads.

        That is this process, or, where one TF_CONFIG was copied to two machines, the
        other of two chiefs, which would wait for the same worker both.
        """
        with contextlib.suppress(InputError):
            verdict = _report(self.cluster, self.hello, self.end, "", stop)
            self.refusal = self.refusal or verdict

    @property
    def missing(self) -> list[str]:
        """The workers that are not there yet, by index and address."""
        others = range(1, self.cluster.size)
        return [_name(self.cluster, i) for i in others if i not in self.present]

    def _decide(self) -> Verdict | None:
        """The verdict, or None while there is something to wait for."""
        if self.refusal:
            return self.refusal
        if not self.missing:
            return self._compare()
        now = time.monotonic()
        if now >= self.end:
            return [
                f"all {self.cluster.size} workers to be there within "
                f"{self.timeout:g} s",
                f"no word from {', '.join(self.missing)}",
                "Start every worker by the same command, and see that it reaches the "
                f"chief at {self.cluster.address}. If one has ended, its own messages "
                "say why.",
            ]
        if self.log_at is not None and now >= self.log_at:
            self.log_at = None
            logger.info("waiting for %s", ", ".join(self.missing))
        return None

    def _compare(self) -> Verdict:
        lines = {
            index: self.differences(peer.hello["facts"], self.hello["facts"])
            for index, peer in sorted(self.present.items())
        }
        different = [
            f"{_name(self.cluster, index)} differs from the chief: {', '.join(found)}"
            for index, found in lines.items()
            if found
        ]
        if not different:
            return []
        return [
            "the same run on every worker",
            "; ".join(different),
            "Start every worker by the same command, with the same code and data.",
        ]

    def _tell(self, verdict: Verdict) -> None:
        """Tells every worker, also those that come late to a run that can't be.

        Stays until they have closed their connections, TELL_FOR seconds at most.
        """
        self.verdict = verdict
        for peer in self.peers:
            if peer.hello:
                self._answer(peer)
        until = time.monotonic() + TELL_FOR
        while time.monotonic() < until:
            late = set(range(1, self.cluster.size)) - self.told if self.refusal else ()
            if not late and not any(peer.hello for peer in self.peers):
                return
            self._serve(RETRY_AFTER)

    def _answer(self, peer: _Peer) -> None:
        peer.send({"verdict": self.verdict})
        self.told.add(peer.hello["index"])

    def _serve(self, seconds: float) -> None:
        """Takes what comes within so many seconds: connections, hellos, farewells."""
        ready = [key.data for key, _ in self.selector.select(seconds)]
        # Those that go before those that come: a worker may have been started anew.
        for peer in sorted(filter(None, ready), key=lambda peer: peer.hello is None):
            self._hear(peer)
        if None in ready:
            self._accept()
        for peer in list(self.peers):
            if peer.hello is None and peer.until < time.monotonic():
                self._drop(peer)

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
            connection.setblocking(False)
        except OSError:
            # Gone already, or too many files are open for the moment.
            time.sleep(RETRY_AFTER)
            return
        peer = _Peer(connection, time.monotonic() + SAY_WITHIN)
        self.peers.add(peer)
        self.selector.register(connection, selectors.EVENT_READ, peer)

    def _drop(self, peer: _Peer) -> None:
        if peer not in self.peers:
            return
        self.peers.remove(peer)
        if peer.hello and self.present.get(peer.hello["index"]) is peer:
            del self.present[peer.hello["index"]]
        self.selector.unregister(peer.connection)
        with contextlib.suppress(OSError):
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        peer.connection.close()

    def _hear(self, peer: _Peer) -> None:
        """Takes a hello; drops whoever has gone or is no worker, such as a scanner."""
        try:
            received = peer.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        peer.received += received if peer.hello is None else b""
        if not received or len(peer.received) > LONGEST:
            self._drop(peer)
        elif peer.hello is None and b"\n" in peer.received:
            hello = _parse(peer.received.partition(b"\n")[0])
            if _is_hello(hello):
                self._greet(peer, hello)
            else:
                self._drop(peer)

    def _greet(self, peer: _Peer, hello: dict[str, Any]) -> None:
        """Counts a worker in, or finds that it does not fit."""
        peer.send({"wait": max(0.0, self.end - time.monotonic())})
        if hello["token"] == self.hello["token"]:
            return peer.send({"verdict": []})
        peer.hello = hello
        if hello["workers"] != self.hello["workers"]:
            self._refuse_list(peer)
        elif self._is_second(hello):
            self._refuse_index(peer)
        else:
            if hello["index"] in self.present:
                # The same process again, whose first connection broke.
                self._drop(self.present[hello["index"]])
            self.present[hello["index"]] = peer
        if self.verdict is not None:
            self._answer(peer)

    def _is_second(self, hello: dict[str, Any]) -> bool:
        """Whether another process than this one has come with its index."""
        if hello["index"] == 0:
            return True
        first = self.present.get(hello["index"])
        return first is not None and first.hello["token"] != hello["token"]

    def _refuse_index(self, peer: _Peer) -> None:
        index = peer.hello["index"]
        first = self.present[index].host if index else "the chief itself"
        self.refusal = self.refusal or [
            "every worker to have an index of its own",
            f"index {index} from {first} and from {peer.host}",
            "Count task.index in TF_CONFIG up from 0, in the order of the addresses.",
        ]

    def _refuse_list(self, peer: _Peer) -> None:
        theirs, ours = ", ".join(peer.hello["workers"]), ", ".join(self.cluster.workers)
        self.refusal = self.refusal or [
            "the same list of workers on each",
            f"{theirs} from worker {peer.hello['index']}, on {peer.host}, where the "
            f"chief has {ours}",
            "Give every process the same cluster in TF_CONFIG.",
        ]


def _is_hello(message: dict[str, Any] | None) -> bool:
    kinds = {"index": int, "workers": list, "token": str, "facts": dict}
    return (
        message is not None
        and all(isinstance(message.get(key), kind) for key, kind in kinds.items())
        and all(isinstance(worker, str) for worker in message["workers"])
        and 0 <= message["index"] < len(message["workers"])
    )
