"""Sends image files to a model server over gRPC.

    pip install tensorflow tensorflow-serving-api
    python client_grpc.py a.jpg b.png --out=embeddings.npz
    python client_grpc.py a.jpg --signature=classify_bytes

It prints a line for each file and writes arrays with a row for each: `files` and
`representation` (N, D) float32, or `probabilities` (N, C) and `label` (N,). A file that
the server refuses is named on standard error, the others are answered all the same, and
the exit code is 1.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
MAX_BYTES = 64 * 2**20


class Client:
    """One model of a server.

    Args:
        address: HOST:PORT.
        model: The model's name.
        version: Its number; None for the newest.
        timeout: Seconds to wait for an answer.
    """

    def __init__(
        self,
        address: str,
        model: str = "encoder",
        *,
        version: int | None = None,
        timeout: float = 60.0,
    ):
        # gRPC's own limit, 4 MB, is a photo or two.
        limits = [
            ("grpc.max_receive_message_length", MAX_BYTES),
            ("grpc.max_send_message_length", MAX_BYTES),
        ]
        self._channel = grpc.insecure_channel(address, options=limits)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model, self._version, self._timeout = model, version, timeout

    def predict(self, signature: str, **inputs) -> dict[str, np.ndarray]:
        """Calls a signature with arrays by name, images=... for serving_default.

        Raises:
            grpc.RpcError: INVALID_ARGUMENT for a bad request, UNAVAILABLE without a
                server.
        """
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self._stub.Predict(request, timeout=self._timeout)
        return {name: tf.make_ndarray(t) for name, t in response.outputs.items()}

    def predict_each(self, signature: str, files: list[bytes]) -> Iterator:
        """For each file a dict of its outputs, or the grpc.RpcError that it caused."""
        try:
            outputs = self.predict(signature, image_bytes=files)
        except grpc.RpcError as error:
            if error.code() not in REFUSED:
                raise
            if len(files) == 1:
                yield error
                return
            half = len(files) // 2
            for part in (files[:half], files[half:]):
                yield from self.predict_each(signature, part)
            return
        for n in range(len(files)):
            yield {name: array[n] for name, array in outputs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    parser.add_argument("--server", default="127.0.0.1:8500", help="HOST:PORT")
    parser.add_argument("--model", default="encoder")
    parser.add_argument("--version", type=int, help="the newest, if not given")
    parser.add_argument("--signature", default="serve_bytes")
    parser.add_argument("--batch", type=int, default=16, help="files in a request")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds")
    parser.add_argument("--out", type=pathlib.Path, help="a .npz file for the answers")
    flags = parser.parse_args()
    none = [str(p) for p in flags.images if p.is_dir() or not p.exists()]
    if none:
        parser.error(f"no such file, or a folder: {', '.join(none)}")
    if flags.out and not flags.out.parent.is_dir():
        parser.error(f"no such folder: {flags.out.parent}")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a program took its place
            stream.reconfigure(errors="backslashreplace")  # names may have any bytes
    client = Client(
        flags.server, flags.model, version=flags.version, timeout=flags.timeout
    )
    answers = {}
    try:
        for first in range(0, len(flags.images), flags.batch):
            paths = flags.images[first : first + flags.batch]
            files = [path.read_bytes() for path in paths]
            found = client.predict_each(flags.signature, files)
            for path, answer in zip(paths, found, strict=True):
                if isinstance(answer, grpc.RpcError):
                    print(f"{path}: {describe(answer)}", file=sys.stderr)
                    continue
                answers[str(path)] = answer
                print(f"{path}: {summary(answer)}")
    except OSError as error:
        # What has been answered is written all the same.
        print(error, file=sys.stderr)
    except grpc.RpcError as error:
        print(f"{flags.server}: {describe(error)}", file=sys.stderr)
    if flags.out and answers:
        names = next(iter(answers.values()))
        arrays = {n: np.stack([a[n] for a in answers.values()]) for n in names}
        if "label" in arrays:
            arrays["label"] = np.array([label.decode() for label in arrays["label"]])
        np.savez(flags.out, files=np.array(list(answers)), **arrays)
    return 0 if len(answers) == len(set(flags.images)) else 1


def describe(error: grpc.RpcError) -> str:
    """Why a request was not answered."""
    return f"{error.code().name}: {error.details()}"


def summary(answer: dict[str, np.ndarray]) -> str:
    """An answer in a few words."""
    if "label" in answer:
        return f"{answer['label'].decode()} ({answer['probabilities'].max():.1%})"
    h = answer["representation"]
    start = ", ".join(f"{value:.3f}" for value in h[:4])
    return f"[{start}, ...] of {len(h)}"


if __name__ == "__main__":
    sys.exit(main())
