"""The warm-up requests and the configs for TensorFlow Serving."""

import logging
import sys

import pytest
import tensorflow as tf
from artefacts import FORMATS, make_network, write
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from selfsup_tf.commands import installing
from selfsup_tf.exporting import serving

SIZE = 16


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A directory with a SavedModel of an encoder and a classifier."""
    encoder, classifier = make_network(SIZE, classes=2)
    place = tmp_path_factory.mktemp("serving")
    options = dict(classifier=classifier, class_names=("a", "b"))
    write("saved_model", encoder, place / "saved_model", **options)
    return place


def test_the_warm_up_asks_every_signature(export):
    path = export / "saved_model" / "assets.extra" / "tf_serving_warmup_requests"
    loaded = tf.saved_model.load(str(export / "saved_model"))
    asked, sizes = [], {}
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "encoder"
        inputs = {n: tf.constant(tf.make_ndarray(t)) for n, t in request.inputs.items()}
        outputs = loaded.signatures[request.model_spec.signature_name](**inputs)
        rows = {len(tensor) for tensor in (*inputs.values(), *outputs.values())}
        assert len(rows) == 1
        if "images" in inputs:
            asked_size = tuple(inputs["images"].shape[1:3])
            sizes.setdefault(request.model_spec.signature_name, set()).add(asked_size)
        asked.append((request.model_spec.signature_name, *rows))
    names = [call.signature for call in FORMATS["saved_model"].calls(True)]
    assert set(asked) == {(n, b) for n in names for b in serving.WARMUP_BATCHES}
    # Of serve_float both branches: native images are taken as they are.
    native = (SIZE, SIZE)
    assert native in sizes["serve_float"] and len(sizes["serve_float"]) == 2
    assert sizes["raw"] == {native}
    assert path.stat().st_size < 20_000


def test_without_the_extra_the_export_goes_on_and_says_so(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with caplog.at_level(logging.WARNING, "selfsup_tf"):
        write("saved_model", make_network(SIZE), tmp_path / "saved_model")
    assert installing("serving") in caplog.text
    assert (tmp_path / "serving" / "models.config").is_file()
    assert not (tmp_path / "saved_model" / serving.WARMUP_FILE).exists()
    assert tf.saved_model.load(str(tmp_path / "saved_model")).signatures


def test_the_configs_are_what_the_server_parses(export):
    text = (export / "serving" / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("encoder", "/models/encoder")
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [1]
    # What stands there as a comment is right too.
    labelled = text.replace("# version_labels", "version_labels")
    config = text_format.Parse(labelled, model_server_config_pb2.ModelServerConfig())
    assert config.model_config_list.config[0].version_labels == {"stable": 1}
    text = (export / "serving" / "batching.config").read_text()
    batching = text_format.Parse(text, batching_parameters())
    assert batching.max_batch_size.value >= max(serving.WARMUP_BATCHES)
    assert batching.num_batch_threads.value > 0


def batching_parameters():
    """tensorflow_serving's BatchingParameters, which its Python package lacks."""
    fields = ("max_batch_size", "batch_timeout_micros")
    fields += ("max_enqueued_batches", "num_batch_threads")
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    for number, name in enumerate(fields, 1):
        message.field.add(
            name=name,
            number=number,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            type_name=".google.protobuf.Int64Value",
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = pool.FindMessageTypeByName("BatchingParameters")
    return message_factory.GetMessageClass(found)()
