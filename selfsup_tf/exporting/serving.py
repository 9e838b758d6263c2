"""What TensorFlow Serving wants beside a SavedModel: warm-up requests and configs.

```
saved_model/  assets.extra/tf_serving_warmup_requests
serving/      models.config  batching.config
```
"""

import logging
import pathlib
import shutil
from collections.abc import Iterable, Iterator

import tensorflow as tf

from selfsup_tf.commands import installing
from selfsup_tf.exporting.format import Call

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
WARMUP_BATCHES = (1, 4, 16)
CONFIGS = ("models.config", "batching.config")

logger = logging.getLogger("selfsup_tf")


def write_serving_files(
    saved_model: str | pathlib.Path,
    *,
    size: int,
    channels: int = 3,
    calls: Iterable[Call],
) -> None:
    """Writes the warm-up requests into the SavedModel and the configs beside it.

    Without the extra `serving` there are no warm-up requests, and a warning says so.

    Args:
        saved_model: The directory of the SavedModel; `serving/` is made beside it.
        size: S, height and width of the encoder's input.
        channels: Of it.
        calls: Its signatures, and what each takes.

    Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup and
    https://www.tensorflow.org/tfx/serving/serving_config
    """
    saved_model = pathlib.Path(saved_model)
    serving = saved_model.parent / "serving"
    serving.mkdir(exist_ok=True)
    for name in CONFIGS:
        shutil.copyfile(pathlib.Path(__file__).with_name(name), serving / name)
    try:
        from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2
    except ImportError as error:
        logger.warning(
            "No warm-up requests are written for TensorFlow Serving, whose first "
            "answers will be slow (%s). To have them: %s",
            error,
            installing("serving"),
        )
        return
    warmup = saved_model / WARMUP_FILE
    warmup.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(warmup)) as writer:
        for signature, inputs in _warm_up_inputs(size, channels, calls):
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(
                    name="encoder", signature_name=signature
                ),
                inputs=inputs,
            )
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def _warm_up_inputs(
    size: int, channels: int, calls: Iterable[Call]
) -> Iterator[tuple[str, dict]]:
    """Grey images for every signature, in batches of `WARMUP_BATCHES`.

    They are of the encoder's size, and for floats of another too: serve_float takes
    those of the encoder's size as they are, and what resizes others would stay cold.

    The first call of a graph allocates and plans; these are made before the server
    says that it is ready, so that no user waits for it.
    """
    file = tf.io.encode_png(tf.fill((size, size, 3), tf.constant(128, tf.uint8)))
    for call in calls:
        sizes = [(batch, size) for batch in WARMUP_BATCHES]
        if call.inputs == "floats":
            sizes.append((1, 2 * size))
        for batch, side in sizes:
            if call.inputs == "files":
                tensor = tf.make_tensor_proto([file.numpy()] * batch)
                yield call.signature, {"image_bytes": tensor}
            else:
                grey = _grey(call.inputs != "images", (batch, side, side, channels))
                yield call.signature, {"images": grey}


def _grey(floats: bool, shape: tuple[int, ...]):
    """A tensor of one value, which takes a few bytes whatever its shape."""
    tensor = tf.make_tensor_proto(0.5 if floats else 128, shape=shape)
    tensor.dtype = (tf.float32 if floats else tf.uint8).as_datatype_enum
    return tensor
