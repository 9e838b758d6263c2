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

`roll_call_chief` is the side of the chief; `roll_call_lines` says how each side proves
to be of this run.
"""

import os
import secrets
import socket
import threading
import time
from typing import Any

from selfsup_tf.distribution.cluster import TOKEN, Cluster, split_address
from selfsup_tf.distribution.roll_call_chief import ITS_END, Differences, Meeting
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
    parse_verdict,
    prove,
    proves,
)
from selfsup_tf.errors import InputError


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
            meeting = Meeting(cluster, differences, timeout, token)
            host = threading.Thread(target=meeting.hold, args=[listener], daemon=True)
            host.start()
            try:
                # Where one TF_CONFIG was copied to two machines, its own address leads
                # to the other chief, who says that there are two. TensorFlow's chief
                # has to reach its own address as well, and waits in silence else.
                verdict = _report(cluster, hello, timeout, token)
                meeting.settle(verdict)
            finally:
                meeting.settle(ITS_END)
                host.join()
    if verdict:
        raise InputError(*verdict)


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
        f"the chief, {name_worker(cluster, 0)}, to be there within {timeout:g} s",
        reason,
        f"Start it too, and see that this machine reaches its port. {LOOK_THERE}",
    )


def _ask(connection: socket.socket, hello: dict[str, Any], token: str) -> Verdict:
    """Says hello and returns the chief's verdict; raises OSError where it has none."""
    nonce = secrets.token_hex(16)
    connection.sendall(encode({"nonce": nonce}))
    with connection.makefile("rb") as lines:
        line = lines.readline(LONGEST_OF_A_STRANGER)
        if not (answer := parse(line, nonce=str, proof=str)):
            raise OSError("another program's answer, or none")
        nonces = (nonce, answer["nonce"])
        if not proves(answer, token, "chief", nonces):
            raise OSError(f"a chief with another {TOKEN}")
        proof = encode({"proof": prove(token, "worker", nonces)})
        connection.sendall(proof + encode(hello))
        while line := lines.readline(LONGEST):
            if (verdict := parse_verdict(line)) is not None:
                return verdict
            if not parse(line, wait=float):
                raise OSError("another program's answer")
            connection.settimeout(PATIENCE)
    raise OSError("a hang-up")
