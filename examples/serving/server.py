"""Serves an exported SavedModel as TensorFlow Serving does, for trying things out.

    pip install tensorflow tensorflow-serving-api
    mkdir -p models/encoder && cp -r exported/saved_model models/encoder/1
    python server.py models/encoder

Then, in another terminal, `python client_rest.py a.jpg b.png` or `client_grpc.py`, or

    curl localhost:8501/v1/models/encoder

It speaks the part of TensorFlow Serving's REST and gRPC interfaces that the clients
need: predict, status and metadata of one model. It needs nothing of the package that
trained the encoder. For work under load use TensorFlow Serving itself, whose clients
are the same.
"""

import argparse
import concurrent.futures
import pathlib
import threading

import grpc
import tensorflow as tf
from model import Model, RequestError, to_array
from rest import MAX_CONNECTIONS, make_rest_server
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


class GrpcService(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Predict and GetModelStatus."""

    def __init__(self, model: Model, max_bytes: int):
        self._model, self._max_bytes = model, max_bytes

    def Predict(self, request, context):
        spec = request.model_spec
        try:
            self._require(spec)
            # Before any array: each of many inputs may claim all that one may.
            self._model.require_inputs(spec.signature_name, request.inputs)
            with self._model.turns:
                inputs = {
                    name: to_array(name, tensor, self._max_bytes)
                    for name, tensor in request.inputs.items()
                }
                outputs = self._model.predict(spec.signature_name, inputs)
        except (TypeError, ValueError, MemoryError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except RequestError as error:
            self._refuse(context, error)
        response = predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(a) for name, a in outputs.items()}
        )
        response.model_spec.name = self._model.name
        response.model_spec.version.value = self._model.version
        response.model_spec.signature_name = spec.signature_name
        return response

    def GetModelStatus(self, request, context):
        try:
            self._require(request.model_spec)
        except RequestError as error:
            self._refuse(context, error)
        status = get_model_status_pb2.ModelVersionStatus(
            version=self._model.version,
            state=get_model_status_pb2.ModelVersionStatus.AVAILABLE,
        )
        return get_model_status_pb2.GetModelStatusResponse(
            model_version_status=[status]
        )

    def _require(self, spec):
        version = spec.version.value if spec.HasField("version") else None
        self._model.require(spec.name, version)

    def _refuse(self, context, error):
        codes = {404: grpc.StatusCode.NOT_FOUND}
        code = codes.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)
        context.abort(code, str(error))


def make_grpc_server(model: Model, host: str, port: int, max_bytes: int):
    """A gRPC server that isn't started yet, and its port."""
    limits = [
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.max_send_message_length", max_bytes),
    ]
    executor = concurrent.futures.ThreadPoolExecutor(max_workers=8)
    server = grpc.server(
        executor, options=limits, maximum_concurrent_rpcs=MAX_CONNECTIONS
    )
    service = GrpcService(model, max_bytes)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    return server, server.add_insecure_port(f"{host}:{port}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="models/NAME, or a SavedModel")
    parser.add_argument("--name", default="encoder", help="what clients call it")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: all the network")
    parser.add_argument("--rest_port", type=int, default=8501, help="0: any free one")
    parser.add_argument("--grpc_port", type=int, default=8500, help="0: any free one")
    parser.add_argument("--max_request_mb", type=int, default=64)
    flags = parser.parse_args()
    model = Model(flags.model, flags.name)
    max_bytes = flags.max_request_mb * 2**20
    try:
        rest = make_rest_server(model, flags.host, flags.rest_port, max_bytes)
        rpc, rpc_port = make_grpc_server(model, flags.host, flags.grpc_port, max_bytes)
    except (OSError, RuntimeError) as error:
        parser.error(
            f"{flags.host}, --rest_port={flags.rest_port} and --grpc_port="
            f"{flags.grpc_port}: {error}"
        )
    rpc.start()
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    print(
        f"{model.name} version {model.version}, warmed up by {model.warmed_up} "
        f"requests: REST on {flags.host}:{rest.server_port}, gRPC on "
        f"{flags.host}:{rpc_port}",
        flush=True,
    )
    try:
        rpc.wait_for_termination()
    except KeyboardInterrupt:
        rest.shutdown()
        rpc.stop(grace=5).wait()


if __name__ == "__main__":
    main()
