"""The lines of a roll call: messages as JSON, and the proof that a side has the token.

Before a hello each side proves that it has the run's token, by an HMAC over two nonces,
so that neither config nor verdict goes to or comes from a stranger, and the token
itself never crosses the network. Without a token all have the same empty one, and
whoever speaks these lines may take part. Lines are neither encrypted nor signed, nor
are those of TensorFlow that follow: who can listen in between two machines is trusted.
"""

import hmac
import json
import os
from typing import Any

from selfsup_tf.distribution.cluster import Cluster

Verdict = list[str]
"""What InputError is made of; empty where all fits."""
LONGEST = 1 << 20  # bytes of a line
LONGEST_OF_A_STRANGER = 1000  # bytes, until it has shown that it has the token
BEAT = 0.2  # seconds between two waits, and between two attempts to reach the chief
PATIENCE = 10.0  # seconds; the chief takes half its timeout if that is shorter
LOOK_THERE = "If one has ended, its own messages say why."
_VERSION = 3  # of these lines


def name_worker(cluster: Cluster, index: int) -> str:
    """As messages call it."""
    return f"worker {index} at {cluster.workers[index]}"


def encode(message: dict[str, Any]) -> bytes:
    """A message as a line of a roll call."""
    return json.dumps({"roll_call": _VERSION} | message).encode() + b"\n"


def parse(line: bytes, **kinds: type) -> dict[str, Any]:
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


def parse_hello(line: bytes) -> dict[str, Any]:
    """A worker's hello, whose index is one of its own list; else empty."""
    kinds = {"index": int, "workers": list, "process": str, "facts": dict}
    hello = parse(line, **kinds)
    fits = hello and 0 <= hello["index"] < len(hello["workers"])
    return hello if fits else {}


def parse_verdict(line: bytes) -> Verdict | None:
    """A verdict, of what InputError is made of; None where the line is something else.

    A stranger can't send one, but for a run without a token.
    """
    verdict = parse(line, verdict=list).get("verdict")
    fits = verdict is not None and all(type(part) is str for part in verdict)
    return verdict if fits and len(verdict) in (0, 3) else None


def prove(token: str, side: str, nonces: tuple[str, str]) -> str:
    """What shows that a side of this connection, and of no other, has the token."""
    said = json.dumps([side, *nonces]).encode()
    return hmac.new(os.fsencode(token), said, "sha256").hexdigest()


def proves(
    message: dict[str, Any], token: str, side: str, nonces: tuple[str, str]
) -> bool:
    """Whether the other side's message holds what `prove` gives for it."""
    shown = message["proof"].encode(errors="replace")
    return hmac.compare_digest(shown, prove(token, side, nonces).encode())
