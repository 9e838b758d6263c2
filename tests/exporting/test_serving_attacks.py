"""Requests that cost a server more than they cost their sender: all to one server."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import struct
import time
import zlib

import grpc
import mutations
import numpy as np
import pytest
import tensorflow as tf
from artefacts import EXAMPLES, load, make_network, running_server, write
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from selfsup_tf.data.decode import decode_image

GREY = {"instances": [[[[128, 128, 128]] * 5] * 5]}
MOST_MB = 400
"""That the server may grow by at its peak: seven times the largest request."""
MOST_SECONDS = 8.0
"""Of CPU for all attacks together."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server with limits as they are by default."""
    place = tmp_path_factory.mktemp("attacked")
    encoder, classifier = make_network(32, classes=3)
    options = dict(classifier=classifier, class_names=("a", "b", "c"))
    write("saved_model", encoder, place / "encoder" / "1", **options)
    log = place / "server.log"
    with running_server(place / "encoder", log) as (process, rest, rpc, _):
        yield process.pid, rest.removeprefix("http://"), rpc, log


def cost(pid):
    """The most resident memory of a process until now, in MB; its seconds of CPU."""
    process = pathlib.Path(f"/proc/{pid}")
    peak = re.search(r"VmHWM:\s*(\d+) kB", (process / "status").read_text())
    user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    ticks = os.sysconf("SC_CLK_TCK")
    return int(peak[1]) / 1024, (int(user) + int(system)) / ticks


def claim(value, dtype, shape):
    """A tensor of one value that stands for all."""
    tensor = tf.make_tensor_proto(value, dtype)
    tensor.ClearField("tensor_shape")
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def inflating(megabytes):
    """A zlib stream of so many megabytes of zeros, a thousandth as long."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    check = struct.pack(">HH", megabytes * 2**20 % 65521, 1)
    return b"\x78\xda" + block * megabytes + b"\3\0" + check


def bombs():
    """PNG files of 16 x 16 that inflate to gigabytes: the image's data, and texts."""
    good = mutations.png(16, 16, 8, 2, bytes(16 * 49))
    head, image, end = good[:33], good[33:-12], good[-12:]

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(7 * 2**20)))
    return head + chunk(b"IDAT", inflating(2000)) + end, head + text * 600 + image + end


def rpc_attacks():
    """Pairs of a request and what its refusal says; None where it is answered."""

    def request(signature, inputs, model="encoder"):
        made = predict_pb2.PredictRequest(inputs=inputs)
        made.model_spec.name, made.model_spec.signature_name = model, signature
        return made

    shape = "received the shape"
    channels = "not compatible with expected shape"
    for signature, value, dtype, size in (
        ("serving_default", 1, tf.uint8, (150_000, 1, 1, 3)),
        ("serving_default", 1, tf.uint8, (1, 1, 20_000_000, 3)),
        ("serving_default", 1, tf.uint8, (60_000, 1, 300, 3)),
        ("classify", 1, tf.uint8, (150_000, 1, 1, 3)),
        ("serve_float", 0.5, tf.float32, (1, 5_000_000, 1, 3)),
    ):
        yield request(signature, {"images": claim(value, dtype, size)}), shape
    for signature, value, dtype, size in (
        ("serving_default", 1, tf.uint8, (1, 1, 1, 1_000_000)),
        ("serve_float", 0.5, tf.float32, (1, 1, 1, 1_000_000)),
        ("raw", 0.5, tf.float32, (1, 1, 1, 10_000_000)),
    ):
        yield request(signature, {"images": claim(value, dtype, size)}), channels
    files = claim(b"", tf.string, (1_000_000,))
    yield request("serve_bytes", {"image_bytes": files}), shape
    large = claim(1, tf.uint8, (60 * 2**20,))
    inputs = {f"images {n}": large for n in range(300)}
    yield request("", inputs), "expects the inputs"
    yield request("", {}, model="e" * 2**20), "no model eee"
    for file, said in zip(bombs(), ("more than twice as much", None), strict=True):
        files = tf.make_tensor_proto([file])
        yield request("serve_bytes", {"image_bytes": files}), said


def test_attacks_are_refused_and_cost_little(server):
    pid, rest, rpc, log = server
    attacks = list(rpc_attacks())
    memory, seconds = cost(pid)
    limits = [("grpc.max_send_message_length", 2**26)]
    channel = grpc.insecure_channel(rpc, options=limits)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    for request, said in attacks:
        if said is None:
            stub.Predict(request, timeout=60)
            continue
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=60)
        assert caught.value.code().name in ("INVALID_ARGUMENT", "NOT_FOUND")
        assert said in caught.value.details()
        assert len(caught.value.details()) <= 500

    def ask(body, path="/v1/models/encoder:predict"):
        with contextlib.closing(http.client.HTTPConnection(rest)) as connection:
            connection.request("POST", path, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    pixels = b"[1,2,3]," * (60_000_000 // 8)
    texts = ["a" * 2**22, *"b" * 999]  # as an array of texts of one width, 16 GB
    for body, status, said in (
        (b'{"instances":[[[' + pixels + b"[1,2,3]]]]}", 413, "JSON of at most"),
        (b"[" * 60_000_000, 413, "JSON of at most"),
        (json.dumps({"instances": texts}), 400, "expected images of uint8"),
    ):
        found = ask(body)
        assert found[0] == status and said in found[1]["error"]
    digits = "/v1/models/encoder/versions/" + "9" * 4500
    assert ask(json.dumps(GREY), digits + ":predict")[0] == 404

    # Clients that hang up: before a word, within the head, within the body, and before
    # the answer.
    head = b"POST /v1/models/encoder:predict HTTP/1.1\r\nContent-Length: 999\r\n\r\n"
    host, port = rest.split(":")
    for words in (b"", head[:30], head, head + b" " * 998, head + b"7" * 999):
        client = socket.create_connection((host, int(port)))
        client.sendall(words)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    # More connections than there are threads for.
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            client = socket.create_connection((host, int(port)), timeout=30)
            stack.enter_context(client)
        assert client.recv(99).startswith(b"HTTP/1.1 503")

    good = json.dumps(GREY)
    while (answer := ask(good))[0] == 503:
        time.sleep(0.1)  # until the threads of those connections end
    assert answer[0] == 200 and len(answer[1]["predictions"][0]) == 24
    grown = cost(pid)[0] - memory
    spent = cost(pid)[1] - seconds
    assert grown < MOST_MB and spent < MOST_SECONDS, (grown, spent)
    assert "Traceback" not in log.read_text()


def test_a_png_keeps_its_pixels():
    bounded_png = load(EXAMPLES / "serving" / "png.py").bounded_png

    def pixels(contents):
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            return decode_image(tf.constant(contents)).numpy()

    for name, contents in mutations.mutated_files(400):
        if "_huge_" in name or not contents.startswith(b"\x89PNG"):
            assert "_huge_" in name or bounded_png(contents) is contents
            continue  # what is huge is refused here or by the decoder
        found = pixels(bounded_png(contents))
        if found is None:  # of a damaged file less may be left
            assert "_bad_" in name or pixels(contents) is None, name
        elif "_fine_" in name or "_odd_" in name:
            np.testing.assert_array_equal(found, pixels(contents), name)
