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
import json
import pathlib
import sys
import urllib.error
import urllib.request


class RefusedError(Exception):
    """What the server says about a request that it does not answer."""


def predict(url: str, files: list[bytes], signature: str, timeout: float) -> list:
    """The server's answer for each file.

    Args:
        url: http://HOST:PORT/v1/models/NAME, with /versions/N behind it or without.
        files: Contents of image files.
        signature: serve_bytes or classify_bytes.
        timeout: Seconds to wait.

    Raises:
        RefusedError: HTTP 4xx or 5xx; one bad file suffices.
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
        raise RefusedError(f"HTTP {error.code}: {text}") from error


def predict_each(url: str, files: list[bytes], signature: str, timeout: float) -> list:
    """As `predict`, with the RefusedError itself in place of a bad file's answer."""
    try:
        return predict(url, files, signature, timeout)
    except RefusedError as error:
        if len(files) == 1:
            return [error]
    half = len(files) // 2
    parts = files[:half], files[half:]
    return [a for part in parts for a in predict_each(url, part, signature, timeout)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    parser.add_argument("--server", default="http://127.0.0.1:8501")
    parser.add_argument("--model", default="encoder")
    parser.add_argument("--version", type=int, help="the newest, if not given")
    parser.add_argument("--signature", default="serve_bytes")
    parser.add_argument("--batch", type=int, default=16, help="files in a request")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds")
    parser.add_argument("--out", type=pathlib.Path, help="a .json file for the answers")
    flags = parser.parse_args()
    url = f"{flags.server}/v1/models/{flags.model}"
    if flags.version is not None:
        url += f"/versions/{flags.version}"
    answers = {}
    for first in range(0, len(flags.images), flags.batch):
        paths = flags.images[first : first + flags.batch]
        try:
            files = [path.read_bytes() for path in paths]
            found = predict_each(url, files, flags.signature, flags.timeout)
        except OSError as error:
            sys.exit(f"{error}")
        for path, answer in zip(paths, found, strict=True):
            if isinstance(answer, RefusedError):
                print(f"{path}: {answer}", file=sys.stderr)
                continue
            answers[str(path)] = answer
            print(f"{path}: {summary(answer)}")
    if flags.out:
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
