"""The example server and its two clients, in front of an export."""

import base64
import contextlib
import http.client
import http.server
import io
import json
import re
import socket
import subprocess
import threading
import unittest.mock
import urllib.error
import urllib.request

import grpc
import mutations
import numpy as np
import pytest
import tensorflow as tf
from artefacts import (
    EXAMPLES,
    FORMATS,
    load,
    make_network,
    python,
    represent,
    running_server,
    views_of,
    write,
)
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from selfsup_tf.data.views import evaluation_view
from selfsup_tf.exporting.serving import WARMUP_BATCHES

EXAMPLE = EXAMPLES / "serving"
SIZE = 16
NAMES = ("cat", "a dog", "Bär")


client_rest = load(EXAMPLE / "client_rest.py")
client_grpc = load(EXAMPLE / "client_grpc.py")


@pytest.fixture(scope="module")
def models():
    return make_network(SIZE, classes=3)


@pytest.fixture(scope="module")
def export(models, tmp_path_factory):
    """A directory with encoder/1, a SavedModel of an encoder and a classifier."""
    place = tmp_path_factory.mktemp("serving")
    encoder, classifier = models
    options = dict(classifier=classifier, class_names=NAMES)
    write("saved_model", encoder, place / "encoder" / "1", **options)
    return place


@pytest.fixture(scope="module")
def server(export):
    """The addresses of a running server: (REST, gRPC)."""
    log, flag = export / "server.log", "--max_request_mb=8"
    with running_server(export / "encoder", log, flag) as (_, rest, rpc, warm_ups):
        assert warm_ups == 6 * len(WARMUP_BATCHES) + 1  # one float of another size
        yield rest, rpc


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Good image files, and their paths."""
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for name, contents in mutations.base_files().items():
        paths.append(folder / name)
        paths[-1].write_bytes(contents)
    return paths


@pytest.fixture(scope="module")
def expected(models, files):
    """What the encoder itself says of them, (N, D)."""
    return represent(models[0], views_of([p.read_bytes() for p in files], SIZE))


def run(program, *arguments):
    """A program's exit code and what it printed.

    The REST client runs without site-packages: it needs the standard library alone.
    """
    bare = ["-I", "-S"] if program == "client_rest.py" else []
    return python(*bare, EXAMPLE / program, *arguments)


both_clients = pytest.mark.parametrize("program", ["client_rest.py", "client_grpc.py"])


def run_here(main, program, *arguments):
    """As `run`, without the seconds that importing TensorFlow takes."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        unittest.mock.patch("sys.argv", [program, *map(str, arguments)]),
    ):
        try:
            code = main()
        except SystemExit as error:
            # As Python does: a number is a status, all else is said.
            code = error.code if isinstance(error.code, int) else 1
            print(error.code, file=err)
    return subprocess.CompletedProcess([], code, out.getvalue(), err.getvalue())


def run_client(program, *arguments):
    """The one client in a process of its own, the other here."""
    if program == "client_rest.py":
        return run(program, *arguments)
    return run_here(client_grpc.main, program, *arguments)


def post(url, body, action=":predict"):
    """The status and the answer to a body (bytes, or what becomes JSON)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/models/encoder{action}", data)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# --- clients ---


def test_the_rest_client_gets_embeddings(server, files, expected, tmp_path):
    out = tmp_path / "a.json"
    done = run("client_rest.py", *files, f"--server={server[0]}", f"--out={out}")
    assert done.returncode == 0, done.stderr
    answers = json.loads(out.read_text())
    found = np.array([answers[str(path)] for path in files])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert done.stdout.count("of 24") == len(files)


def test_the_grpc_client_gets_embeddings(server, files, expected, tmp_path):
    out = tmp_path / "a.npz"
    # A batch of 3 makes several requests.
    arguments = (f"--server={server[1]}", f"--out={out}", "--batch=3", "--version=1")
    done = run_client("client_grpc.py", *files, *arguments)
    assert done.returncode == 0, done.stderr
    answers = np.load(out)
    assert answers["files"].tolist() == [str(path) for path in files]
    np.testing.assert_allclose(answers["representation"], expected, atol=1e-5)


def test_both_clients_classify(server, files, models, tmp_path):
    signature = "--signature=classify_bytes"
    paths = tmp_path / "a.json", tmp_path / "a.npz"
    for program, address, path in zip(
        ("client_rest.py", "client_grpc.py"), server, paths, strict=True
    ):
        options = signature, f"--server={address}", f"--out={path}"
        done = run_client(program, files[2], *options)
        assert done.returncode == 0, done.stderr
    (rest,) = json.loads(paths[0].read_text()).values()
    rpc = np.load(paths[1])
    logits = represent(models[1], views_of([files[2].read_bytes()], SIZE))
    probabilities = tf.nn.softmax(logits)[0].numpy()
    np.testing.assert_allclose(rest["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_allclose(rpc["probabilities"][0], probabilities, atol=1e-5)
    assert rest["label"] == rpc["label"][0] == NAMES[probabilities.argmax()]


@both_clients
def test_a_bad_file_is_named_and_the_others_are_answered(
    server, files, tmp_path, program
):
    bad, huge = tmp_path / "bad.jpg", tmp_path / "huge.png"
    bad.write_bytes(b"no image")
    huge.write_bytes(mutations.png(20_000, 20_000, 8, 2, b""))
    address = server[program == "client_grpc.py"]
    paths = [files[0], bad, files[2], huge, files[3]]
    done = run_client(program, *paths, f"--server={address}")
    assert done.returncode == 1
    assert re.search(r"bad\.jpg: .*Unknown image file format", done.stderr)
    assert re.search(r"huge\.png: .*claims 20000 x 20000", done.stderr)
    assert done.stdout.count("of 24") == 3


def test_the_rest_client_sends_no_more_than_a_server_takes(server, tmp_path):
    """Twelve photos of 1.5 MB, 24 as base64, where the server takes 8."""
    contents = mutations.encode(mutations.picture(9, 9), "PNG")
    paths = [tmp_path / f"{n:02}.png" for n in range(12)]
    for path in paths:
        path.write_bytes(contents + bytes(3 * 2**19))
    found = list(client_rest.batches(paths, 16))
    assert found == [paths]
    with unittest.mock.patch.object(client_rest, "MAX_BYTES", 5 * 2**20):
        assert [len(batch) for batch in client_rest.batches(paths, 16)] == [2] * 6
        assert [len(batch) for batch in client_rest.batches(paths[:3], 1)] == [1] * 3
    # What is refused for its length is sent in parts.
    done = run("client_rest.py", *paths, f"--server={server[0]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of 24") == 12


@contextlib.contextmanager
def odd_server(respond):
    """The address of a server whose POSTs `respond` answers, given the handler."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            respond(self)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_hangs_up_gets_less(files, tmp_path):
    """Some proxies close the connection on what is too long, and read none of it."""

    def respond(handler):
        length = int(handler.headers["Content-Length"])
        if length > 2**20:
            handler.connection.close()
            return
        rows = json.loads(handler.rfile.read(length))["instances"]
        data = json.dumps({"predictions": [[1.0, 2.0] for _ in rows]}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes(2**18 if n < 4 else 2**21))
    out = tmp_path / "a.json"
    with odd_server(respond) as address:
        done = run("client_rest.py", *paths, f"--server={address}", f"--out={out}")
    assert done.returncode == 1
    assert list(json.loads(out.read_text())) == [str(path) for path in paths[:4]]
    assert "4.png: the server hung up" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("status, count", [(400, 7), (413, 7), (404, 1), (503, 1)])
def test_what_is_no_fault_of_the_files_is_asked_once(files, status, count):
    asked = []

    def respond(handler):
        handler.rfile.read(int(handler.headers["Content-Length"]))
        asked.append(status)
        handler.send_error(status)

    with odd_server(respond) as address:
        done = run("client_rest.py", *files[:4], f"--server={address}")
    assert done.returncode == 1 and f"HTTP {status}" in done.stderr
    assert len(asked) == count and "Traceback" not in done.stderr


@both_clients
def test_without_a_server_a_client_says_so(program, files):
    address = "127.0.0.1:9" if program == "client_grpc.py" else "http://127.0.0.1:9"
    done = run_client(program, files[0], f"--server={address}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "refused" in done.stderr.lower()


@both_clients
def test_a_file_that_is_missing_is_named_before_any_is_sent(files, tmp_path, program):
    missing = tmp_path / "missing.jpg"
    done = run_client(program, files[0], missing, "--server=http://127.0.0.1:9")
    assert done.returncode != 0 and done.stdout == ""
    assert f"no such file, or a folder: {missing}" in done.stderr
    assert "refused" not in done.stderr


def test_a_port_that_is_taken_is_named(server, export, monkeypatch):
    port = server[0].rpartition(":")[2]
    monkeypatch.syspath_prepend(EXAMPLE)
    main, model = load(EXAMPLE / "server.py").main, export / "encoder"
    options = (f"--rest_port={port}", "--grpc_port=0")
    done = run_here(main, "server.py", model, *options)
    assert done.returncode == 2 and f"--rest_port={port}" in done.stderr
    assert "in use" in done.stderr and "Traceback" not in done.stderr


def test_the_grpc_client_keeps_what_was_answered(server, files, tmp_path):
    """Also of a request that was taken apart, for a bad file in it."""

    class Gone(grpc.RpcError):
        code = staticmethod(lambda: grpc.StatusCode.UNAVAILABLE)
        details = staticmethod(lambda: "the server is gone")

    real = client_grpc.Client.predict

    def predict(self, signature, **inputs):
        if inputs["image_bytes"] == [b"no image"]:
            raise Gone
        return real(self, signature, **inputs)

    out, bad = tmp_path / "a.npz", tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    with unittest.mock.patch.object(client_grpc.Client, "predict", predict):
        options = (f"--server={server[1]}", "--batch=4", f"--out={out}")
        done = run_client("client_grpc.py", *files[:2], bad, files[3], *options)
    assert done.returncode == 1 and "UNAVAILABLE: the server is gone" in done.stderr
    with np.load(out) as arrays:
        assert arrays["files"].tolist() == list(map(str, files[:2]))


# --- the server ---


def test_rows_columns_status_and_metadata(server, models, files, expected):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8)
    views = evaluation_view(tf.constant(pixels), SIZE)
    h = represent(models[0], views.numpy())
    for body, key in (
        ({"instances": pixels.tolist()}, "predictions"),
        ({"instances": [{"images": p.tolist()} for p in pixels]}, "predictions"),
        ({"inputs": pixels.tolist()}, "outputs"),
        ({"inputs": {"images": pixels.tolist()}}, "outputs"),
    ):
        status, answer = post(server[0], body)
        assert status == 200, answer
        np.testing.assert_allclose(answer[key], h, atol=1e-5)
    # What curl would send of a file.
    files = [{"b64": base64.b64encode(path.read_bytes()).decode()} for path in files]
    body = {"signature_name": "serve_bytes", "inputs": {"image_bytes": files}}
    h = post(server[0], body)[1]["outputs"]
    np.testing.assert_allclose(h, expected, atol=1e-5)
    body = {"signature_name": "classify", "instances": pixels.tolist()}
    rows = post(server[0], body, "/versions/1:predict")[1]["predictions"]
    assert all(NAMES[np.argmax(row["probabilities"])] == row["label"] for row in rows)
    with urllib.request.urlopen(f"{server[0]}/v1/models/encoder") as response:
        (version,) = json.load(response)["model_version_status"]
    assert (version["version"], version["state"]) == ("1", "AVAILABLE")
    with urllib.request.urlopen(f"{server[0]}/v1/models/encoder/metadata") as response:
        found = json.load(response)["metadata"]["signature_def"]["signature_def"]
    calls = FORMATS["saved_model"].calls(True)
    assert set(found) == {call.signature for call in calls}
    assert found["serve_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert found["raw"]["outputs"]["representation"]["dtype"] == "DT_FLOAT"


GREY = [[[[128, 128, 128]] * 5] * 5]
HOSTILE = {
    "no JSON": (b"{", 400, "JSONDecodeError"),
    "no object": ([1], 400, "expected a JSON object"),
    "neither": ({}, 400, "expected a JSON object"),
    "both": ({"instances": [1], "inputs": [1]}, 400, "expected a JSON object"),
    "no list": ({"instances": 7}, 400, "expected a list"),
    "nested": (b'{"instances":' + b"[" * 10**5, 400, "Error"),
    "ragged": ({"instances": [[1, 2], [3]]}, 400, "of one shape"),
    "rank": ({"instances": GREY[0]}, 400, "not compatible with expected shape"),
    "channels": ({"instances": [[[[1, 2]]]]}, 400, "(?i)shape"),
    "empty": ({"instances": []}, 400, "one image or more"),
    "too bright": ({"instances": [[[[1, 2, 300]]]]}, 400, "images of uint8"),
    "fraction": ({"instances": [[[[1, 2, 0.5]]]]}, 400, "images of uint8"),
    "text": ({"instances": [[[["a", "b", "c"]]]]}, 400, "images of uint8"),
    "input": ({"inputs": {"pictures": GREY}}, 400, r"expects the inputs \['images'\]"),
    "signature": ({"signature_name": "x", "instances": GREY}, 400, "no signature x"),
    "NaN": (
        {"signature_name": "raw", "instances": [[[[np.nan] * 3] * SIZE] * SIZE]},
        400,
        "without NaN",
    ),
    "base64": (
        {"signature_name": "serve_bytes", "instances": [{"b64": "%"}]},
        400,
        "base64",
    ),
    "numbers for bytes": ({"signature_name": "serve_bytes", "instances": [1]}, 400, ""),
    "too large": (b" " * (31 * 2**20), 413, "at most 8388608 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_an_error_and_the_next_is_served(server, name):
    body, status, message = HOSTILE[name]
    found, answer = post(server[0], body)
    assert found == status, answer
    assert re.search(message, answer["error"])
    assert "Traceback" not in answer["error"] and "{{" not in answer["error"]
    assert post(server[0], {"instances": GREY})[0] == 200


def test_a_body_that_is_not_read_is_no_next_request(server):
    connection = http.client.HTTPConnection(server[0].removeprefix("http://"))
    body = json.dumps({"instances": GREY})
    for _ in range(2):  # on one connection
        connection.request("POST", "/v1/models/encoder:predict", body)
        response = connection.getresponse()
        response.read()
        assert response.status == 200 and not response.will_close
    smuggled = b"GET /v1/models/encoder HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.request("POST", "/v1/models/encoder:regress", smuggled)
    response = connection.getresponse()
    response.read()
    assert response.status == 404 and response.will_close


def test_an_answer_leaves_whole(server):
    """A second packet waits until the first is acknowledged, which takes 40 ms."""
    host, _, port = server[0].removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /v1/models/encoder HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = connection.recv(2**16).partition(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body) > 0


def test_a_claim_of_many_values_is_refused_unheard(server):
    """Requests of a few bytes, whose one value stands for gigabytes of them."""
    channel = grpc.insecure_channel(server[1])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    photo = mutations.base_files()["jpeg.jpg"]
    for signature, name, value, dtype, shape in (
        ("serving_default", "images", 1, tf.uint8, (1, 20_000, 20_000, 3)),
        ("serve_float", "images", 0.5, tf.float32, (1, 1500, 1500, 3)),
        ("serve_float", "images", 0.5, tf.float32, (-1, -1, 20_000, 3)),
        ("serving_default", "images", 1, tf.uint8, (2**31, 2**31, 2**31, 3)),
        ("serve_bytes", "image_bytes", b"", tf.string, (2**31,)),
        ("serve_bytes", "image_bytes", photo, tf.string, (10_000,)),
    ):
        tensor = tf.make_tensor_proto(value)
        tensor.dtype = dtype.as_datatype_enum
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        request = predict_pb2.PredictRequest(inputs={name: tensor})
        request.model_spec.name = "encoder"
        request.model_spec.signature_name = signature
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=30)
        assert caught.value.code().name == "INVALID_ARGUMENT"
        said = f"expected {name} of at most 8388608 bytes; received the shape ["
        assert caught.value.details().startswith(said)


def test_want_of_memory_is_an_answer(monkeypatch, export):
    monkeypatch.syspath_prepend(EXAMPLE)
    module, rest = load(EXAMPLE / "model.py"), load(EXAMPLE / "rest.py")
    model = module.Model(export / "encoder", "encoder")

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(module, "to_tensor", fail)
    with pytest.raises(module.RequestError, match="more than there is memory for"):
        model.predict("", {"images": np.zeros((1, 9, 9, 3), np.uint8)})
    monkeypatch.setattr(rest, "decode_json", fail)
    with pytest.raises(rest.RequestError, match="more than there is memory for"):
        rest.predict_rest(model, json.dumps({"instances": GREY}).encode())


def test_what_is_not_there_is_not_found(server):
    assert post(server[0], {"instances": GREY}, "/versions/7:predict")[0] == 404
    assert post(server[0], {"instances": GREY}, ":regress")[0] == 404
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server[0]}/v1/models/other")


def test_grpc_errors_have_their_codes(server):
    def code(client, signature, **inputs):
        with pytest.raises(grpc.RpcError) as caught:
            client.predict(signature, **inputs)
        return caught.value.code().name, caught.value.details()

    client = client_grpc.Client(server[1])
    grey = np.array(GREY, np.uint8)
    for signature, inputs, message in (
        ("serve_bytes", {"image_bytes": [b"no image"]}, "Unknown image file format"),
        ("serving_default", {"images": np.float32(grey)}, "images of uint8"),
        ("serving_default", {"images": grey[0]}, "not compatible with expected shape"),
        ("serve_float", {"images": np.full((1, 9, 9, 3), np.nan, "f")}, "without NaN"),
        ("nothing", {"images": grey}, "no signature nothing"),
        ("serving_default", {"pictures": grey}, "expects the inputs"),
    ):
        found = code(client, signature, **inputs)
        assert found[0] == "INVALID_ARGUMENT" and message in found[1]
    other = client_grpc.Client(server[1], "other")
    assert code(other, "serving_default", images=grey)[0] == "NOT_FOUND"
    large = np.zeros((1, 2000, 2000, 3), np.uint8)  # 12 MB, of 8 that the server takes
    assert code(client, "serving_default", images=large)[0] == "RESOURCE_EXHAUSTED"
    found = client.predict("serving_default", images=grey)["representation"]
    assert found.shape == (1, 24)


def test_a_folder_without_a_model_is_an_error(tmp_path):
    model = load(EXAMPLE / "model.py")
    with pytest.raises(SystemExit, match="expected a SavedModel in"):
        model.Model(tmp_path, "encoder")
