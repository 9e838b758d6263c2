"""The REST interface of the server of this folder, as TensorFlow Serving speaks it.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import http.server
import json
import re
import sys
import threading

import numpy as np
from model import Model, RequestError
from tensorflow.core.framework import types_pb2

MAX_CONNECTIONS = 32
"""That are open at once, each with a request at most."""
_MAX_VALUES = 2**22
"""Of the JSON of a request or an answer: a number of three bytes takes fifty."""
# Of a body that is refused so much is read, as a multiple of the longest that isn't.
_DRAINED = 4
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 33\r\nConnection: close\r\n"
    b'\r\n{"error": "too many connections"}'
)
_PATH = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]{1,18}))?(:predict|/metadata)?"
)


def decode_json(value):
    """JSON values with {"b64": ...} turned to bytes."""
    if isinstance(value, dict):
        if set(value) == {"b64"}:
            return base64.b64decode(value["b64"], validate=True)
        return {name: decode_json(v) for name, v in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], int | float):
        return [decode_json(v) for v in value]
    return value


def encode_json(name: str, array: np.ndarray):
    """An array as JSON values; strings are text, or base64 if so named."""
    if array.dtype != object:
        return array.tolist()
    if array.ndim:
        return [encode_json(name, np.array(item, object)) for item in array]
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(array.item()).decode()}
    return array.item().decode()


def predict_rest(model: Model, body: bytes) -> dict:
    """Answers the JSON body of a predict request, by rows or by columns."""
    values = sum(map(body.count, (b",", b"[", b"{")))
    if values > _MAX_VALUES:
        raise RequestError(
            f"expected JSON of at most {_MAX_VALUES} values; received {values}. Send "
            "fewer images, or files as b64",
            413,
        )
    try:
        request = json.loads(body)
        by_row = isinstance(request, dict) and "instances" in request
        if not isinstance(request, dict) or by_row == ("inputs" in request):
            raise ValueError("expected a JSON object with `instances` or `inputs`")
        values = decode_json(request["instances" if by_row else "inputs"])
        signature = request.get("signature_name", "")
        names = list(model.signature(signature).structured_input_signature[1])
        if by_row:
            if not isinstance(values, list):
                raise ValueError("expected a list as `instances`")
            if values and isinstance(values[0], dict):
                values = {n: [row[n] for row in values] for n in values[0]}
        inputs = values if isinstance(values, dict) else {names[0]: values}
    except RequestError:
        raise
    except MemoryError as error:
        raise RequestError("more than there is memory for") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"{type(error).__name__}: {error}") from error
    outputs = model.predict(signature, inputs)
    values = sum(array.size for array in outputs.values())
    if values > _MAX_VALUES:
        message = f"the answer has {values} values, of {_MAX_VALUES} at most"
        raise RequestError(f"{message}; send fewer images", 413)
    columns = {name: encode_json(name, array) for name, array in outputs.items()}
    single = len(columns) == 1
    if by_row:
        rows = zip(*columns.values(), strict=True)
        return {
            "predictions": [
                row[0] if single else dict(zip(columns, row, strict=True))
                for row in rows
            ]
        }
    return {"outputs": next(iter(columns.values())) if single else columns}


def describe(model: Model) -> dict:
    """The signatures as TensorFlow Serving's metadata gives them."""

    def tensors(specs):
        return {
            name: {
                "dtype": types_pb2.DataType.Name(spec.dtype.as_datatype_enum),
                "tensor_shape": {
                    "dim": [{"size": str(d or -1)} for d in spec.shape.as_list()],
                },
            }
            for name, spec in specs.items()
        }

    signatures = {
        name: {
            "inputs": tensors(function.structured_input_signature[1]),
            "outputs": tensors(function.structured_outputs),
            "method_name": "tensorflow/serving/predict",
        }
        for name, function in model.signatures.items()
    }
    return {
        "model_spec": {"name": model.name, "version": str(model.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


class _Server(http.server.ThreadingHTTPServer):
    """Threads, but so many at most."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request, client_address):
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address):
        # A client that hangs up is no news.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def make_rest_server(model: Model, host: str, port: int, max_bytes: int):
    """An HTTP server that isn't started yet."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60  # seconds that a silent client is waited for
        # Head and body of an answer leave together. As two packets the second would be
        # kept by Nagle's algorithm until the client acknowledges the first, which it
        # puts off for 40 ms; so would the end of a long answer.
        wbufsize = -1
        disable_nagle_algorithm = True

        def handle_expect_100(self):
            # The client sends the body once this has reached it.
            go_on = super().handle_expect_100()
            self.wfile.flush()
            return go_on

        def do_GET(self):
            self.unread = 0
            self.answer(lambda action: self.get(action), (None, "/metadata"))

        def do_POST(self):
            length = self.headers.get("Content-Length", "")
            self.unread = int(length) if re.fullmatch("[0-9]{1,18}", length) else None
            self.answer(lambda action: self.post(), (":predict",))

        def get(self, action):
            if action == "/metadata":
                return describe(model)
            status = {"error_code": "OK", "error_message": ""}
            version = str(model.version)
            one = {"version": version, "state": "AVAILABLE", "status": status}
            return {"model_version_status": [one]}

        def post(self):
            length = self.unread
            if length is None:
                raise RequestError("expected a Content-Length", 411)
            if length > max_bytes:
                message = f"expected a body of at most {max_bytes} bytes; got {length}"
                raise RequestError(message, 413)
            self.unread = 0
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionError("the client hung up")
            with model.turns:
                return predict_rest(model, body)

        def drain(self):
            # A client that still sends when the connection ends sees no answer.
            left = min(self.unread or 0, _DRAINED * max_bytes)
            while left > 0 and (block := self.rfile.read(min(left, 2**16))):
                left -= len(block)

        def answer(self, respond, actions):
            try:
                match = _PATH.fullmatch(self.path)
                if not match or match[3] not in actions:
                    raise RequestError(f"no such path: {self.path}", 404)
                model.require(match[1], int(match[2]) if match[2] else None)
                status, content = 200, respond(match[3])
            except RequestError as error:
                status, content = error.status, {"error": str(error)}
            except OSError:
                raise  # of the connection
            except Exception as error:
                status, content = 500, {"error": type(error).__name__}
                print(f"{self.path}: {error!r}", file=sys.stderr)
            self.drain()
            # An error may leave a body unread, which is no next request.
            self.close_connection |= status != 200
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    return _Server((host, port), Handler)
