"""The chief's side of a roll call: hears all workers and gives one verdict."""

import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from selfsup_tf.distribution.cluster import Cluster
from selfsup_tf.distribution.roll_call_lines import (
    BEAT,
    LONGEST,
    LONGEST_OF_A_STRANGER,
    LOOK_THERE,
    PATIENCE,
    Verdict,
    encode,
    name_worker,
    parse,
    parse_hello,
    prove,
    proves,
)

Differences = Callable[[dict[str, Any], dict[str, Any]], list[str]]
ITS_END = ["the chief to wait for all", "its end", LOOK_THERE]

logger = logging.getLogger("selfsup_tf")


class Meeting:
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
            self.settle(ITS_END)
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
            names = ", ".join(name_worker(self.cluster, i) for i in absent)
            if not absent:
                self.settle(self._compare(present))
            elif passed >= self.timeout:
                self.settle(
                    [
                        f"all {self.cluster.size} workers to be there within "
                        f"{self.timeout:g} s",
                        f"no word from {names}",
                        "Start every worker by the same command, and see that it "
                        f"reaches the chief at {self.cluster.address}. {LOOK_THERE}",
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
                name = name_worker(self.cluster, index)
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
                    connection.sendall(encode({"wait": BEAT}))
                    with contextlib.suppress(TimeoutError):
                        connection.recv(1)  # it has no more to say, but hangs up
                        return
                connection.sendall(encode({"verdict": self.verdict}))
                self.told.add(hello["index"])
            finally:
                with self.lock:
                    if self.present.get(hello["index"]) is hello:
                        del self.present[hello["index"]]

    def _hear(self, connection: socket.socket) -> dict[str, Any]:
        """The hello of a worker that has the token; else empty."""
        with connection.makefile("rb") as lines:
            if not (call := parse(lines.readline(LONGEST_OF_A_STRANGER), nonce=str)):
                return {}
            nonces = (call["nonce"], secrets.token_hex(16))
            proof = prove(self.token, "chief", nonces)
            connection.sendall(encode({"nonce": nonces[1], "proof": proof}))
            reply = parse(lines.readline(LONGEST_OF_A_STRANGER), proof=str)
            if not (reply and proves(reply, self.token, "worker", nonces)):
                return {}
            return parse_hello(lines.readline(LONGEST))

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
