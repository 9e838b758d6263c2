"""All workers meet before TensorFlow opens their ports, and agree on the run.

TensorFlow's own start-up does not serve. Measured on 2.21, with two workers: where one
or the chief is missing it waits without a word (stopped after 330 s), and without end
for one that is lost meanwhile; a port in use is "Could not start gRPC server". The time
limits of its coordination service are not public, and the `timeout_seconds` of
CommunicationOptions is for later. It trains nonsense with a worker of another config.

Here each worker binds its port, so that one in use is named, and tells its index and
its facts at the port of the chief, who is a worker like the others and tells them, too.
All get the same answer: go, or what does not fit. Both sides speak lines of JSON. A
worker says hello; the answer is "wait" several times a second, and the verdict when it
is reached. Who hangs up or falls silent is missing.

Before that each side proves that it has the run's token, by an HMAC over two nonces, so
that neither config nor verdict goes to or comes from a stranger, and the token itself
never crosses the network. Without a token all have the same empty one, and whoever
speaks these lines may take part. Lines are neither encrypted nor signed, nor are those
of TensorFlow that follow: who can listen in between two machines is trusted.
"""

import contextlib
import hmac
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from selfsup_tf.distribution.cluster import TOKEN, Cluster, split_address
from selfsup_tf.errors import InputError

Verdict = list[str]
"""What InputError is made of; empty where all fits."""
Differences = Callable[[dict[str, Any], dict[str, Any]], list[str]]

BEAT = 0.2  # seconds between two waits, and between two attempts to reach the chief
PATIENCE = 10.0  # seconds; the chief takes half its timeout if that is shorter
LONGEST = 1 << 20  # bytes of a line
LONGEST_OF_A_STRANGER = 1000  # bytes, until it has shown that it has the token
_VERSION = 3  # of these lines

_LOOK_THERE = "If one has ended, its own messages say why."
_ITS_END = ["the chief to wait for all", "its end", _LOOK_THERE]

logger = logging.getLogger("selfsup_tf")


def roll_call(
    cluster: Cluster,
    facts: dict[str, Any],
    *,
    differences: Differences,
    timeout: float = 300.0,
    token: str = "",
) -> None:
    """Returns when all workers are there and agree; their ports are free again then.

    Args:
        cluster: The workers, and which of them this is.
        facts: What has to be the same on all, of values that JSON knows.
        differences: Given a worker's facts and the chief's, a line for each that
            differs. Called on the chief, with facts as JSON gives them back.
        timeout: Seconds to wait for the others. A worker that has met the chief waits
            as long as the chief does.
        token: A secret that all workers of the run have; others are not heard.

    Raises:
        InputError: On every worker that is there: another one, or the chief, is
            missing; two have the same index; their facts or their lists of workers
            differ. On this one alone: its port is in use.
    """
    hello = {
        "index": cluster.index,
        "workers": list(cluster.workers),
        # Tells this process from another of its index, and from itself come back.
        "process": secrets.token_hex(16),
        "facts": facts,
    }
    with _listen(cluster) as listener:
        if cluster.size == 1:
            return
        if not cluster.is_chief:
            verdict = _report(cluster, hello, timeout, token)
        else:
            meeting = _Meeting(cluster, differences, timeout, token)
            host = threading.Thread(target=meeting.hold, args=[listener], daemon=True)
            host.start()
            try:
                # Where one TF_CONFIG was copied to two machines, its own address leads
                # to the other chief, who says that there are two. TensorFlow's chief
                # has to reach its own address as well, and waits in silence else.
                verdict = _report(cluster, hello, timeout, token)
                meeting.settle(verdict)
            finally:
                meeting.settle(_ITS_END)
                host.join()
    if verdict:
        raise InputError(*verdict)


def _name(cluster: Cluster, index: int) -> str:
    return f"worker {index} at {cluster.workers[index]}"


def _listen(cluster: Cluster) -> socket.socket:
    """The port of this worker on all interfaces, whatever its host's address here."""
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", split_address(cluster.address)[1]),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
            backlog=1024,
        )
    except OSError as error:
        raise InputError(
            f"the port of worker {cluster.index} to be free",
            f"{cluster.address}: {os.strerror(error.errno)}",
            "End that process (`ss -ltnp` names it), or give the worker another port "
            "above 1023: in TF_CONFIG, or by another job of SLURM.",
        ) from error


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps({"roll_call": _VERSION} | message).encode() + b"\n"


def _parse(line: bytes, **kinds: type) -> dict[str, Any]:
    """A line of a roll call that has these; empty where it is something else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    fits = (
        isinstance(message, dict)
        and message.get("roll_call") == _VERSION
        # Not isinstance: True is no index.
        and all(type(message.get(key)) is kind for key, kind in kinds.items())
    )
    return message if fits else {}


def _parse_hello(line: bytes) -> dict[str, Any]:
    """A worker's hello, whose index is one of its own list; else empty."""
    kinds = {"index": int, "workers": list, "process": str, "facts": dict}
    hello = _parse(line, **kinds)
    fits = hello and 0 <= hello["index"] < len(hello["workers"])
    return hello if fits else {}


def _parse_verdict(line: bytes) -> Verdict | None:
    """A verdict, of what InputError is made of; None where the line is something else.

    A stranger can't send one, but for a run without a token.
    """
    verdict = _parse(line, verdict=list).get("verdict")
    fits = verdict is not None and all(type(part) is str for part in verdict)
    return verdict if fits and len(verdict) in (0, 3) else None


def _proof(token: str, side: str, nonces: tuple[str, str]) -> str:
    """What shows that a side of this connection, and of no other, has the token."""
    said = json.dumps([side, *nonces]).encode()
    return hmac.new(os.fsencode(token), said, "sha256").hexdigest()


def _proves(
    message: dict[str, Any], token: str, side: str, nonces: tuple[str, str]
) -> bool:
    shown = message["proof"].encode(errors="replace")
    return hmac.compare_digest(shown, _proof(token, side, nonces).encode())


def _report(
    cluster: Cluster, hello: dict[str, Any], timeout: float, token: str
) -> Verdict:
    """Asks the chief until it gives its verdict, or time is up."""
    end = time.monotonic() + timeout
    reason: object = "no answer"
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection(
                split_address(cluster.workers[0]), timeout=min(left, PATIENCE)
            ) as connection:
                return _ask(connection, hello, token)
        except (OSError, UnicodeError) as error:
            reason = error
        time.sleep(BEAT)
    raise InputError(
        f"the chief, {_name(cluster, 0)}, to be there within {timeout:g} s",
        reason,
        f"Start it too, and see that this machine reaches its port. {_LOOK_THERE}",
    )


def _ask(connection: socket.socket, hello: dict[str, Any], token: str) -> Verdict:
    """Says hello and returns the chief's verdict; raises OSError where it has none."""
    nonce = secrets.token_hex(16)
    connection.sendall(_line({"nonce": nonce}))
    with connection.makefile("rb") as lines:
        line = lines.readline(LONGEST_OF_A_STRANGER)
        if not (answer := _parse(line, nonce=str, proof=str)):
            raise OSError("another program's answer, or none")
        nonces = (nonce, answer["nonce"])
        if not _proves(answer, token, "chief", nonces):
            raise OSError(f"a chief with another {TOKEN}")
        proof = _line({"proof": _proof(token, "worker", nonces)})
        connection.sendall(proof + _line(hello))
        while line := lines.readline(LONGEST):
            if (verdict := _parse_verdict(line)) is not None:
                return verdict
            if not _parse(line, wait=float):
                raise OSError("another program's answer")
            connection.settimeout(PATIENCE)
    raise OSError("a hang-up")


class _Meeting:
    """The chief's side: until every worker is there, one does not fit, or time is up.

    Each connection has a thread, which counts its worker in while it waits.
    """

    def __init__(
        self, cluster: Cluster, differences: Differences, timeout: float, token: str
    ):
        self.cluster, self.differences, self.timeout = cluster, differences, timeout
        self.token = token
        self.patience = min(PATIENCE, timeout / 2)
        """Seconds until it is said whom it waits for, for a connection to say hello,
        and to stay and tell all that the run can't be."""
        self.lock = threading.Lock()
        self.present: dict[int, dict[str, Any]] = {}
        """The hello of each worker that waits, and the host it came from."""
        self.told: set[int] = set()
        self.verdict: Verdict | None = None

    def hold(self, listener: socket.socket) -> None:
        """Serves the listener until there is a verdict and all have been told."""
        try:
            self._gather(listener)
        finally:  # facts that can't be compared end the run, and don't hang it
            self.settle(_ITS_END)
        # A worker that comes late to a run that can't be hears why, too.
        end = time.monotonic() + self.patience
        while len(self.told) < self.cluster.size and time.monotonic() < end:
            self._accept(listener)

    def _gather(self, listener: socket.socket) -> None:
        """Serves the listener until there is a verdict."""
        listener.settimeout(BEAT)
        start, logged = time.monotonic(), False
        while self.verdict is None:
            self._accept(listener)
            with self.lock:
                present = dict(self.present)
            passed = time.monotonic() - start
            absent = [i for i in range(self.cluster.size) if i not in present]
            names = ", ".join(_name(self.cluster, i) for i in absent)
            if not absent:
                self.settle(self._compare(present))
            elif passed >= self.timeout:
                self.settle(
                    [
                        f"all {self.cluster.size} workers to be there within "
                        f"{self.timeout:g} s",
                        f"no word from {names}",
                        "Start every worker by the same command, and see that it "
                        f"reaches the chief at {self.cluster.address}. {_LOOK_THERE}",
                    ]
                )
            elif passed >= self.patience and not logged:
                logger.info("waiting for %s", names)
                logged = True

    def settle(self, verdict: Verdict) -> None:
        """Makes this the verdict, unless there is one."""
        with self.lock:
            if self.verdict is None:
                self.verdict = verdict

    def _compare(self, present: dict[int, dict[str, Any]]) -> Verdict:
        different = []
        for index, hello in sorted(present.items()):
            if lines := self.differences(hello["facts"], present[0]["facts"]):
                name = _name(self.cluster, index)
                different.append(f"{name} differs from the chief: {', '.join(lines)}")
        if not different:
            return []
        return [
            "the same run on every worker",
            "; ".join(different),
            "Start every worker by the same command, with the same code and data.",
        ]

    def _accept(self, listener: socket.socket) -> None:
        """Gives a thread to whoever calls within a beat."""
        with contextlib.suppress(OSError):  # nobody does, or has gone already
            connection, address = listener.accept()
            host = address[0].removeprefix("::ffff:")
            threading.Thread(
                target=self._serve, args=[connection, host], daemon=True
            ).start()

    def _serve(self, connection: socket.socket, host: str) -> None:
        """Counts a worker in after its hello, until it hangs up or hears the verdict.

        Whoever says something else, such as a scanner of ports, gets no answer.
        """
        with contextlib.suppress(OSError), connection:
            connection.settimeout(self.patience)
            if not (hello := self._hear(connection)):
                return
            hello["host"] = host
            self._admit(hello)
            try:
                connection.settimeout(BEAT)
                while self.verdict is None:
                    connection.sendall(_line({"wait": BEAT}))
                    with contextlib.suppress(TimeoutError):
                        connection.recv(1)  # it has no more to say, but hangs up
                        return
                connection.sendall(_line({"verdict": self.verdict}))
                self.told.add(hello["index"])
            finally:
                with self.lock:
                    if self.present.get(hello["index"]) is hello:
                        del self.present[hello["index"]]

    def _hear(self, connection: socket.socket) -> dict[str, Any]:
        """The hello of a worker that has the token; else empty."""
        with connection.makefile("rb") as lines:
            if not (call := _parse(lines.readline(LONGEST_OF_A_STRANGER), nonce=str)):
                return {}
            nonces = (call["nonce"], secrets.token_hex(16))
            proof = _proof(self.token, "chief", nonces)
            connection.sendall(_line({"nonce": nonces[1], "proof": proof}))
            reply = _parse(lines.readline(LONGEST_OF_A_STRANGER), proof=str)
            if not (reply and _proves(reply, self.token, "worker", nonces)):
                return {}
            return _parse_hello(lines.readline(LONGEST))

    def _admit(self, hello: dict[str, Any]) -> None:
        """Counts a worker in, or settles that it does not fit."""
        index, workers = hello["index"], ", ".join(map(str, hello["workers"]))
        if workers != (ours := ", ".join(self.cluster.workers)):
            return self.settle(
                [
                    "the same list of workers on each",
                    f"{workers} from worker {index}, on {hello['host']}, where the "
                    f"chief has {ours}",
                    "Give every process the same cluster in TF_CONFIG.",
                ]
            )
        with self.lock:
            first = self.present.setdefault(index, hello)
            if first["process"] == hello["process"]:
                self.present[index] = hello  # its first connection broke
                return
        self.settle(
            [
                "every worker to have an index of its own",
                f"index {index} from {first['host']} and from {hello['host']}",
                "Count task.index in TF_CONFIG up from 0, in the order of the "
                "addresses.",
            ]
        )
