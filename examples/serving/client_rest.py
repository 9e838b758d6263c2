"""Sends image files to a model server over REST; Python's standard library is enough.

    python client_rest.py a.jpg b.png --out=embeddings.json
    python client_rest.py a.jpg --signature=classify_bytes

It prints a line for each file and writes {file: answer}; an answer is the
representation, a list of D numbers, or {"probabilities": [...], "label": "..."}. A file
that the server refuses is named on standard error, the others are answered all the
same, and the exit code is 1.
"""

import argparse
import base64
import contextlib
import http.client
import json
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

# Servers, and proxies before them, have a limit; 64 MB is that of server.py.
MAX_BYTES = 32 * 2**20


class RefusedError(Exception):
    """What the server says about a request that it does not answer.

    Attributes:
        by_files: Whether the files are the reason, or their number.
    """

    def __init__(self, message: str, by_files: bool):
        super().__init__(message)
        self.by_files = by_files


def predict(url: str, files: list[bytes], signature: str, timeout: float) -> list:
    """The server's answer for each file.

    Args:
        url: http://HOST:PORT/v1/models/NAME, with /versions/N behind it or without.
        files: Contents of image files.
        signature: serve_bytes or classify_bytes.
        timeout: Seconds to wait.

    Raises:
        RefusedError: HTTP 4xx or 5xx, or a server that hangs up; one bad file suffices.
        OSError: The server can't be reached.
    """
    instances = [{"b64": base64.b64encode(data).decode()} for data in files]
    body = json.dumps({"signature_name": signature, "instances": instances})
    request = urllib.request.Request(
        f"{url}:predict", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["error"]  # not so in a proxy's page
        message = f"HTTP {error.code}: {text}"
        raise RefusedError(message, error.code in (400, 413)) from error
    except (OSError, http.client.HTTPException) as error:
        # How a server refuses what is too long for it before it has come.
        reason = getattr(error, "reason", error)
        if isinstance(reason, BrokenPipeError | ConnectionResetError):
            raise RefusedError(f"the server hung up ({reason})", True) from error
        raise


def batches(paths: list[pathlib.Path], count: int) -> Iterator[list[pathlib.Path]]:
    """The files of one request after the other: `count` and MAX_BYTES at most."""
    batch, size = [], 0
    for path in paths:
        length = path.stat().st_size * 4 / 3  # as base64
        if batch and (len(batch) == count or size + length > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    yield batch


def predict_each(
    url: str, files: list[bytes], signature: str, timeout: float
) -> Iterator:
    """As `predict`, one after the other; of a bad file the RefusedError itself.

    Raises:
        RefusedError: The files are not the reason: no such model, say.
        OSError: The server can't be reached.
    """
    try:
        yield from predict(url, files, signature, timeout)
        return
    except RefusedError as error:
        if not error.by_files:
            raise
        if len(files) == 1:
            yield error
            return
    half = len(files) // 2
    for part in (files[:half], files[half:]):
        yield from predict_each(url, part, signature, timeout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    parser.add_argument(
        "--server", default="http://127.0.0.1:8501", help="http://HOST:PORT"
    )
    parser.add_argument("--model", default="encoder")
    parser.add_argument("--version", type=int, help="the newest, if not given")
    parser.add_argument("--signature", default="serve_bytes")
    parser.add_argument("--batch", type=int, default=16, help="files in a request")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds")
    parser.add_argument("--out", type=pathlib.Path, help="a .json file for the answers")
    flags = parser.parse_args()
    none = [str(p) for p in flags.images if p.is_dir() or not p.exists()]
    if none:
        parser.error(f"no such file, or a folder: {', '.join(none)}")
    if flags.out and not flags.out.parent.is_dir():
        parser.error(f"no such folder: {flags.out.parent}")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a program took its place
            stream.reconfigure(errors="backslashreplace")  # names may have any bytes
    if not flags.server.startswith(("http://", "https://")):
        parser.error(f"expected --server=http://HOST:PORT; received {flags.server}")
    url = f"{flags.server}/v1/models/{flags.model}"
    if flags.version is not None:
        url += f"/versions/{flags.version}"
    answers = {}
    try:
        for paths in batches(flags.images, flags.batch):
            files = [path.read_bytes() for path in paths]
            found = predict_each(url, files, flags.signature, flags.timeout)
            for path, answer in zip(paths, found, strict=True):
                if isinstance(answer, RefusedError):
                    print(f"{path}: {answer}", file=sys.stderr)
                    continue
                answers[str(path)] = answer
                print(f"{path}: {summary(answer)}")
    except (OSError, http.client.HTTPException, RefusedError) as error:
        # What has been answered is written all the same.
        print(f"{flags.server}: {error}", file=sys.stderr)
    if flags.out and answers:
        flags.out.write_text(json.dumps(answers))
    return 0 if len(answers) == len(set(flags.images)) else 1


def summary(answer) -> str:
    """An answer in a few words."""
    if isinstance(answer, dict):
        return f"{answer['label']} ({max(answer['probabilities']):.1%})"
    start = ", ".join(f"{value:.3f}" for value in answer[:4])
    return f"[{start}, ...] of {len(answer)}"


if __name__ == "__main__":
    sys.exit(main())
