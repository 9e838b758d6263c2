"""Requests a second of the example server, over REST and gRPC.

python benchmarks/serving.py
python benchmarks/serving.py --servers examples/serving ../older/examples/serving

Clients that each keep a connection send one PNG of 32 x 32 after the other to the
serve_bytes of a small encoder. Clients and server share the machine.
The servers and interfaces take turns; a number is the median of the rounds:

  requests/s   answers to all clients together
  ms           the median time until an answer
  ratio        requests/s beside those of the first row in the same round
"""

import argparse
import base64
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import keras
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from selfsup_tf.config import EncoderConfig
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.exporting.format import Networks
from selfsup_tf.exporting.served import export_saved_model
from selfsup_tf.models.encoders import build_encoder

HERE = pathlib.Path(__file__).parent
PATH = "/v1/models/encoder:predict"


def main() -> None:
    """Prints a row for each server and interface."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = [HERE.parent / "examples" / "serving"]
    parser.add_argument("--servers", nargs="+", type=pathlib.Path, default=default)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    png = tf.io.encode_png(make_shapes("test")[0][0]).numpy()
    print(f"{flags.clients} clients, {os.cpu_count()} CPU cores\n")
    with tempfile.TemporaryDirectory() as model, contextlib.ExitStack() as stack:
        keras.utils.set_random_seed(0)
        config = EncoderConfig(name="resnet18", width=0.25, stem="small_stride2")
        export_saved_model(Networks(build_encoder(config, 32), None, None), model)
        calls = {}
        for server in flags.servers:
            addresses = stack.enter_context(_running(server, model))
            for interface, connect in (("REST", _connect_rest), ("gRPC", _connect_rpc)):
                call = connect, addresses[interface], png
                calls[f"{server} {interface}"] = call
        rounds = [
            {name: _measure(flags, *call) for name, call in calls.items()}
            for _ in range(flags.rounds + 1)
        ][1:]  # the first warms up
    first, width = next(iter(calls)), max(map(len, calls))
    print(f"{'':{width}}  requests/s      ms  ratio")
    for name in calls:
        ratio = statistics.median(r[name][0] / r[first][0] for r in rounds)
        rate, ms = (statistics.median(r[name][i] for r in rounds) for i in (0, 1))
        print(f"{name:{width}}  {rate:10.0f}  {ms:6.1f}  {ratio:5.2f}")


@contextlib.contextmanager
def _running(server, model):
    """The addresses of a server of its own, by interface."""
    command = [sys.executable, server / "server.py", model]
    command += ["--rest_port=0", "--grpc_port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        found = re.search(r"REST on (\S+), gRPC on (\S+)", said)
        yield dict(zip(("REST", "gRPC"), found.groups(), strict=True))
    finally:
        process.terminate()
        process.wait()


def _connect_rest(address, png):
    connection = http.client.HTTPConnection(address)
    instances = [{"b64": base64.b64encode(png).decode()}]
    body = json.dumps({"signature_name": "serve_bytes", "instances": instances})

    def call():
        connection.request("POST", PATH, body)
        response = connection.getresponse()
        assert json.loads(response.read())["predictions"] and response.status == 200

    return call


def _connect_rpc(address, png):
    # Else clients of one process share a connection.
    own = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(address, options=own)
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    inputs = {"image_bytes": tf.make_tensor_proto([png])}
    request = predict_pb2.PredictRequest(inputs=inputs)
    request.model_spec.name = "encoder"
    request.model_spec.signature_name = "serve_bytes"
    return lambda: tf.make_ndarray(predict(request).outputs["representation"])


def _measure(flags, connect, address, png):
    """Requests a second, and the median time of one in ms."""
    spent = [[] for _ in range(flags.clients)]
    end = time.perf_counter() + flags.seconds

    def ask(spent):
        call = connect(address, png)
        while (start := time.perf_counter()) < end:
            call()
            spent.append(time.perf_counter() - start)

    threads = [threading.Thread(target=ask, args=(own,)) for own in spent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = list(itertools.chain(*spent))
    return len(times) / flags.seconds, 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
