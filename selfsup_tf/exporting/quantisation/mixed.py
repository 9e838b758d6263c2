"""Files of int8 in which chosen layers stay float32.

Legend: N images, S height and width of the encoder's input.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from selfsup_tf.errors import check_one_of
from selfsup_tf.exporting.program import L2_NORMALIZE, OUTPUT, Program
from selfsup_tf.exporting.quantisation.converter import build_converter, quiet, samples
from selfsup_tf.exporting.quantisation.flatbuffer import read_model

# They hand on the values they are given, in the type they are given them.
_MOVERS = (
    *("PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    *("TRANSPOSE", "SLICE", "STRIDED_SLICE", "MAX_POOL_2D"),
)
_OPERATIONS = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if not name.startswith("_")
}


class MixedQuantizer:
    """Calibrates a program once and writes it in int8 as often as one likes.

    Args:
        program: What the files compute; takes and gives float32, or takes uint8.
        calibration_images: (M, S, S, 3) float32 in [0, 1].
    """

    def __init__(self, program: Program, calibration_images: Sequence[np.ndarray]):
        self._program = program
        converter = build_converter(program, "int8", calibration_images)
        with quiet():
            self._debugger = tf.lite.experimental.QuantizationDebugger(
                converter=converter, debug_dataset=converter.representative_dataset
            )
        self._operations = _read_operations(self._debugger.calibrated_model)

    def quantize(self, keep_float: Collection[str] = ()) -> bytes:
        """Contents of a TFLite file with these layers in float32, the rest in int8.

        A layer's result stays float32 up to the layers that take it, which compute in
        float32 too: between two int8 layers the result itself would be int8.

        Raises:
            InputError: One of the names is no layer that computes.
        """
        kept = self._kept_tensors(keep_float)
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=kept)
        with quiet():
            # It misses something to compare where no layer is left in int8.
            with contextlib.suppress(ValueError):
                self._debugger.options = options
            return self._debugger.get_nondebug_quantized_model()

    def noises(self, images: Sequence[np.ndarray]) -> dict[str, tuple[str, float]]:
        """The operation and noise of each layer (see LayerLoss), largest first."""
        noises = self._tensor_noises(images)
        results = {name for o in self._operations for name in o.outputs}
        found: dict[str, tuple[str, float]] = {}
        for operation in self._operations:
            layer = self._name_layer(operation.outputs[0])
            if layer is None or operation.kind in _MOVERS:
                continue
            weights = [name for name in operation.inputs if name not in results]
            names = (*weights, *operation.outputs)
            noise = max(noises.get(name, 0.0) for name in names)
            if noise >= found.get(layer, ("", 0.0))[1]:
                found[layer] = (operation.kind, noise)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))

    def _tensor_noises(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        """What rounding to the scales of the int8 file does to the float32 tensors."""
        exact = _open(self._debugger.calibrated_model)
        places = {t["name"]: t["index"] for t in exact.get_tensor_details()}
        rounded = {}
        for tensor in _open(self.quantize()).get_tensor_details():
            name, scales = tensor["name"], tensor["quantization_parameters"]["scales"]
            # Those without a scale are what a kernel keeps for itself.
            if tensor["dtype"] == np.int8 and len(scales) and name:
                name = name.removesuffix("1") if name.startswith(OUTPUT) else name
                rounded[name] = tensor
        noises = collections.defaultdict(list)
        for (batch,) in samples(self._program, images)():
            exact.set_tensor(exact.get_input_details()[0]["index"], batch)
            exact.invoke()
            for name in rounded.keys() & places.keys():
                values = exact.get_tensor(places[name])
                noises[name].append(_noise(values, rounded[name]))
        return {name: float(np.mean(values)) for name, values in noises.items()}

    def _kept_tensors(self, keep_float: Collection[str]) -> list[str]:
        takers, results = collections.defaultdict(list), collections.defaultdict(list)
        for operation in self._operations:
            for name in operation.inputs:
                takers[name].append(operation)
            for layer in self._program.layers_of(operation.outputs[0]):
                results[layer] += operation.outputs
        kept: dict[str, None] = {}
        for layer in keep_float:
            what = "keep_float to name layers that compute something"
            check_one_of(layer, results, what)
            waiting = list(results[layer])
            kept.update(dict.fromkeys(waiting))
            while waiting:
                for taker in takers[waiting.pop()]:
                    kept.update(dict.fromkeys(taker.outputs))
                    if taker.kind in _MOVERS:
                        waiting += taker.outputs
        return list(kept)

    def _name_layer(self, tensor_name: str) -> str | None:
        """Of the layers fused into an operation, the one with the most weights."""
        layers = self._program.layers_of(tensor_name)
        layers = [name for name in layers if name != L2_NORMALIZE]
        known = self._program.layers
        return max(layers, key=lambda name: known[name].count_params(), default=None)


@dataclasses.dataclass(frozen=True)
class _Operation:
    """One of a TFLite file, with the names of the tensors it takes and gives."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def computes_in_int8(contents: bytes) -> bool:
    """Whether a TFLite file has any int8 tensor."""
    graph = schema.Model.GetRootAsModel(contents, 0).Subgraphs(0)
    types = (graph.Tensors(n).Type() for n in range(graph.TensorsLength()))
    return schema.TensorType.INT8 in types


def _read_operations(contents: bytes) -> list[_Operation]:
    model = read_model(contents)
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    return [
        _Operation(
            kind=_OPERATIONS[model.operatorCodes[operator.opcodeIndex].builtinCode],
            inputs=tuple(names[n] for n in operator.inputs if n >= 0),
            outputs=tuple(names[n] for n in operator.outputs),
        )
        for operator in graph.operators
    ]


def _open(contents: bytes) -> Interpreter:
    """An interpreter that keeps the values of all tensors.

    Kernels of its own compute them: XNNPACK keeps none, and refuses scales that lie far
    apart, which are just what is looked for.
    """
    interpreter = Interpreter(
        model_content=contents,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter


def _noise(values: np.ndarray, tensor: dict[str, Any]) -> float:
    """Mean over channels, the last axis, of the error's share of the mean square.

    Args:
        values: float32.
        tensor: The details of their int8 counterpart.
    """
    if values.ndim == 0:
        return 0.0
    parameters = tensor["quantization_parameters"]
    shape = [1] * values.ndim
    shape[parameters["quantized_dimension"]] = -1
    scale = parameters["scales"].reshape(shape)
    zero_point = parameters["zero_points"].reshape(shape)
    integers = np.clip(np.round(values / scale) + zero_point, -128, 127)
    axes = tuple(range(values.ndim - 1))
    error = np.mean((values - (integers - zero_point) * scale) ** 2, axis=axes)
    square = np.mean(values**2, axis=axes)
    alive = square > 0
    if not alive.any():
        return 0.0
    return float(np.minimum(error[alive] / square[alive], 1).mean())
