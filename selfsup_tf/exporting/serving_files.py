"""What TensorFlow Serving wants beside a SavedModel: warm-up requests and configs.

```
saved_model/  assets.extra/tf_serving_warmup_requests
serving/      models.config  batching.config
```
"""

import pathlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from selfsup_tf.exporting.saved_model import CLASSIFIER_SIGNATURES, SIGNATURES

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
WARMUP_BATCHES = (1, 4, 16)

_MODELS = """\
# For tensorflow_model_server (TensorFlow Serving):
#
#   mkdir -p /models/{name} && cp -r saved_model /models/{name}/1
#   cp -r serving /models/serving
#   tensorflow_model_server --port=8500 --rest_api_port=8501 \\
#     --model_config_file=/models/serving/models.config
#
# and, where many clients share a GPU,
#
#     --enable_batching --batching_parameters_file=/models/serving/batching.config
#
# A newer export goes beside it as /models/{name}/2, copied under another name and then
# renamed, since the server looks for versions all the time. To answer from both, list
# both under `specific` and give them labels.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{
      specific {{ versions: 1 }}
    }}
    # A client asks for the label and needn't know the number. With this line the
    # server wants --allow_version_labels_for_unavailable_models=true at its start.
    # version_labels {{ key: "stable" value: 1 }}
  }}
}}
"""

_BATCHING = """\
# How the server gathers the images of several requests into one batch: more images per
# second on a GPU, seldom on a CPU. Leave --enable_batching out unless you measured it.
#
# Two things to know. Requests that are gathered succeed or fail together: one bad file
# is an error for all of them, and their clients should then try again one by one.
# And images that are gathered must be of one size: let clients send files (serve_bytes,
# classify_bytes) or images of the encoder's own size (raw).
#
# The most images in a batch. A request of more is refused.
max_batch_size { value: 32 }
# How long, in microseconds, a request waits for others. It is added to the latency of a
# lone request: 0 where latency matters most, 10000 where throughput does.
batch_timeout_micros { value: 2000 }
# Batches that may wait; what comes beyond is refused (UNAVAILABLE) and may be tried
# again later. It bounds the memory: a waiting request holds its images.
max_enqueued_batches { value: 64 }
# Batches that are computed at once: the cores of a CPU, 1 or 2 for a GPU.
num_batch_threads { value: 4 }
"""


def write_serving_files(
    directory: str | pathlib.Path,
    saved_model: str | pathlib.Path,
    *,
    size: int,
    classifier: bool = False,
    model_name: str = "encoder",
) -> list[pathlib.Path]:
    """Writes the warm-up requests into the SavedModel and the configs beside it.

    Args:
        directory: Of the export; `serving/` is made in it.
        saved_model: The directory that `export_saved_model` wrote.
        size: S, height and width of the encoder's input.
        classifier: Whether the SavedModel classifies.
        model_name: What clients call the model.

    Returns:
        The files.

    Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup and
    https://www.tensorflow.org/tfx/serving/serving_config
    """
    warmup = pathlib.Path(saved_model) / WARMUP_FILE
    warmup.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(warmup)) as writer:
        for request in warmup_requests(size, classifier, model_name):
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())
    serving = pathlib.Path(directory) / "serving"
    serving.mkdir(exist_ok=True)
    models, batching = serving / "models.config", serving / "batching.config"
    models.write_text(_MODELS.format(name=model_name))
    batching.write_text(_BATCHING)
    return [warmup, models, batching]


def warmup_requests(
    size: int, classifier: bool = False, model_name: str = "encoder"
) -> Iterator[predict_pb2.PredictRequest]:
    """Grey images for every signature, in batches of `WARMUP_BATCHES`.

    They are of the encoder's size, and for serve_float of another too: it takes those
    of the encoder's size as they are, and what resizes others would stay cold.

    The first call of a graph allocates and plans; these are made before the server
    says that it is ready, so that no user waits for it.
    """
    signatures = SIGNATURES + (CLASSIFIER_SIGNATURES if classifier else ())
    file = tf.io.encode_png(tf.fill((size, size, 3), tf.constant(128, tf.uint8)))
    for signature in signatures:
        sizes = [(batch, size) for batch in WARMUP_BATCHES]
        if signature == "serve_float":
            sizes.append((1, 2 * size))
        for batch, side in sizes:
            tensor = tf.make_tensor_proto([file.numpy()] * batch)
            name = "image_bytes"
            if not signature.endswith("bytes"):
                name = "images"
                tensor = _grey(signature, (batch, side, side, 3))
            yield predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(
                    name=model_name, signature_name=signature
                ),
                inputs={name: tensor},
            )


def _grey(signature: str, shape: tuple[int, ...]):
    """A tensor of one value, which takes a few bytes whatever its shape."""
    takes_floats = signature in ("serve_float", "raw")
    tensor = tf.make_tensor_proto(0.5 if takes_floats else 128, shape=shape)
    tensor.dtype = (tf.float32 if takes_floats else tf.uint8).as_datatype_enum
    return tensor
