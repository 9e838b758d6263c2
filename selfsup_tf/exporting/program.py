"""What an exported file computes: one TensorFlow function from images to vectors.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from selfsup_tf.errors import check
from selfsup_tf.exporting.format import Networks, Options
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.models.own import gives_probabilities

L2_NORMALIZE = "l2_normalize"
# What converters fuse into the operation before it, whose name is then lost.
_FUSED = ("Identity", "Cast", "Relu", "Relu6", "BiasAdd", "AddV2", "Sub", "Mul")
# A converter names the outputs OUTPUT0 and OUTPUT1 in place of their operations, with
# more digits behind where it has them in another type too.
OUTPUT = "StatefulPartitionedCall:"


class ConversionError(RuntimeError):
    """A format can't express this encoder."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A traced function, and which layers its operations come from.

    Attributes:
        function: images -> {"representation": (N, D) float32} and, with a classifier,
            "probabilities": (N, C) float32.
        module: Holds every variable that the function reads.
        networks: What gives the representation, and the logits if any does.
    """

    function: Any
    module: tf.Module
    networks: Networks

    @property
    def images(self) -> tf.TensorSpec:
        """What it is called with: (batch or None, S, S, 3), uint8 or float32."""
        return self.function.inputs[0]

    @functools.cached_property
    def layers(self) -> dict[str, keras.layers.Layer]:
        """Both networks' layers by their names, those of models in them included."""
        models = _models(self.networks)
        return {layer.name: layer for m in models for layer in leaf_layers(m)}

    def layers_of(self, tensor_name: str) -> tuple[str, ...]:
        """Names of the layers that a tensor of this program, or a file of it, is of.

        Args:
            tensor_name: As converters write it: the names of the operations that they
                fused, joined by semicolons.
        """
        if tensor_name.startswith(OUTPUT):
            index = int(tensor_name[len(OUTPUT)])
            names = _fused_names(self.function.outputs[index].op)
        else:
            names = tensor_name.split(";")
        found = (self._layer_of(name) for name in names)
        return tuple(dict.fromkeys(name for name in found if name is not None))

    def describe_operations(self, types: Iterable[str]) -> str:
        """Operations by their types, such as FFT3D, and the layers that they are of."""
        types = list(dict.fromkeys(types))
        names = [
            operation.name
            for operation in self.function.graph.get_operations()
            if operation.type in types
        ]
        layers = self.layers_of(";".join(names))
        return ", ".join(types) + (f" (of layer {', '.join(layers)})" * bool(layers))

    def _layer_of(self, operation_name: str) -> str | None:
        for scope in reversed(operation_name.split("/")):
            names = (re.sub(r"_\d+$", "", scope), scope)
            for name in names if self._scopes_are_numbered else names[::-1]:
                if name in self.layers or name == L2_NORMALIZE:
                    return name
        return None

    @functools.cached_property
    def _scopes_are_numbered(self) -> bool:
        # Keras opens a layer's scope twice, of which TensorFlow keeps the second as
        # conv2d_1: that is layer conv2d, where another one is named conv2d_1 too. A
        # Keras that opened it once would leave the encoder's own name as it is.
        prefix = self.networks.encoder.name + "/"
        operations = self.function.graph.get_operations()
        return not any(operation.name.startswith(prefix) for operation in operations)


def build_program(networks: Networks, options: Options) -> Program:
    """Traces what a file with these options computes.

    Args:
        networks: The encoder, and a classifier or none.
        options: batch, uint8_input and l2_normalize are used.
    """
    encoder, classifier = networks.encoder, networks.classifier
    shape = (options.batch, *encoder.input_shape[1:])
    dtype = tf.uint8 if options.uint8_input else tf.float32

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype, "images")])
    def represent(images):
        if options.uint8_input:
            images = tf.cast(images, tf.float32) / 255
        h = tf.cast(encoder(images, training=False), tf.float32)
        if options.l2_normalize:
            h = tf.math.l2_normalize(h, axis=-1, name=L2_NORMALIZE)
        outputs = {"representation": h}
        if classifier is not None:
            logits = tf.cast(classifier(images, training=False), tf.float32)
            outputs["probabilities"] = tf.nn.softmax(logits)
        return outputs

    module = tf.Module()
    # Converters find variables through tf.Module, not through a Keras model, and
    # leave those they do not find uninitialised without a word.
    module.weights = [w.value for model in _models(networks) for w in model.weights]
    module.represent = represent
    return Program(represent.get_concrete_function(), module, networks)


def check_classifier(networks: Networks) -> None:
    """Raises InputError where the classifier, its names and the encoder don't fit."""
    encoder, classifier = networks.encoder, networks.classifier
    class_names = networks.class_names
    if classifier is None:
        check(
            not class_names,
            "class_names beside a classifier",
            "no classifier",
            "Pass the classifier too, or leave the names out.",
        )
        return
    shape, given = (model.input_shape[1:] for model in (encoder, classifier))
    check(
        given == shape,
        f"a classifier of images of shape {shape}",
        given,
        "Pass the one that was fine-tuned from this encoder.",
    )
    logits = tuple(classifier.output_shape[1:])
    check(
        len(logits) == 1 and logits[0] >= 2,
        "a classifier that gives (N, C) logits of two classes or more",
        f"outputs of shape {(None, *logits)}",
        "Of two classes, let it have two outputs and no sigmoid.",
    )
    check(
        not gives_probabilities(classifier, shape[0]),
        "a classifier that gives logits: files take their softmax",
        "one that gives probabilities",
        "End it before its softmax.",
    )
    if class_names:
        broken = [name for name in class_names if len(name.splitlines()) != 1]
        advice = "Files hold them one a line."
        check(not broken, "class_names of one line each", broken, advice)
        check(
            classifier.output_shape[-1] == len(class_names),
            f"{classifier.output_shape[-1]} class_names, one for each logit",
            len(class_names),
            "Pass the names in the order of the classifier's labels.",
        )


def _models(networks: Networks) -> list[keras.Model]:
    return [m for m in (networks.encoder, networks.classifier) if m is not None]


def _fused_names(operation: tf.Operation) -> list[str]:
    """Names of an operation and of those before it that become one with it."""
    names = [operation.name]
    while operation.type in _FUSED:
        operation = operation.inputs[0].op
        names.append(operation.name)
    return names
