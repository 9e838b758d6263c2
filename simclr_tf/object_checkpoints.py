"""Reads the variables of a TensorFlow 2 checkpoint by their paths of attributes.

Such a checkpoint holds, beside its variables, the graph of the objects that held them.
A variable is found by its path in this graph (layers/0/conv2d/kernel) and never by its
key, for a key is only the shortest of its paths: a SavedModel, which lists its
variables once more near its root, merely numbers them.
"""

import pathlib
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

# The public API of TensorFlow reads a checkpoint's variables, but not its graph.
from tensorflow.core.protobuf import trackable_object_graph_pb2

from selfsup_tf.errors import InputError, check

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
ALIASES = (
    "keras_api",
    "variables",
    "trainable_variables",
    "trainable_variables_list",
    "signatures",
    "__call__",
    "call_and_return_all_conditional_losses",
)
"""Attributes that lead to variables which other attributes lead to as well."""

ONLY_THERE = "only in the checkpoint"
ONLY_HERE = "only in the network"
OTHER_SHAPE = "of another shape or type"


class ObjectCheckpoint:
    """A TensorFlow 2 checkpoint whose variables are found by paths of attributes.

    Paths are counted from the model: the child "model" of the root, or the root itself;
    with a "/" before them from the root.

    Args:
        path: A directory of a SavedModel or of a training run (its latest checkpoint is
            taken), or the prefix of a checkpoint's files.

    Attributes:
        prefix: The prefix of its files.
        specs: Shape and dtype of each variable, by its key.
        slots: Keys of the variables that an optimizer keeps for others.

    Raises:
        InputError: There is none, it can't be read, or it has no graph.
    """

    def __init__(self, path: str | pathlib.Path):
        self.prefix = _find_prefix(path)
        try:
            self._reader = tf.train.load_checkpoint(self.prefix)
        except (ValueError, tf.errors.OpError) as error:
            raise self._unreadable(error) from error
        kinds = self._reader.get_variable_to_dtype_map()
        # Strings describe the objects; they are no variables.
        self.specs = {
            key: (tuple(shape), kinds[key].name)
            for key, shape in self._reader.get_variable_to_shape_map().items()
            if kinds[key] != tf.string
        }
        check(
            GRAPH in kinds,
            "a checkpoint of TensorFlow 2, with the graph of its objects",
            f"{self.prefix}, whose variables are named {some(sorted(self.specs))}",
            "A checkpoint of TensorFlow 1 has none; export it for TensorFlow 2.",
        )
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self.read(GRAPH))
        self._children = [
            {child.local_name: child.node_id for child in node.children}
            for node in graph.nodes
        ]
        self._keys = {
            index: attribute.checkpoint_key
            for index, node in enumerate(graph.nodes)
            for attribute in node.attributes
            if attribute.name == "VARIABLE_VALUE"
        }
        self.slots = {
            self._keys[slot.slot_variable_node_id]
            for node in graph.nodes
            for slot in node.slot_variables
        }
        self._model = self._children[0].get("model", 0)

    def has(self, path: str) -> bool:
        """Whether there is an object or a variable at a path."""
        return self._find(path) is not None

    def key(self, path: str) -> str | None:
        """The key of the variable at a path."""
        return self._keys.get(self._find(path))

    def shape(self, path: str) -> tuple[int, ...]:
        """The shape of the variable at a path.

        Raises:
            InputError: There is none.
        """
        key = self.key(path)
        check(
            key in self.specs,
            f"a variable {path}",
            f"{self.prefix}, which has none",
            "It is another network, or not all of it.",
        )
        return self.specs[key][0]

    def length(self, path: str) -> int:
        """The length of the list at a path."""
        node = self._find(path)
        return 0 if node is None else sum(map(str.isdigit, self._children[node]))

    def below(self, path: str) -> set[str]:
        """The keys of all variables that can be reached from the object at a path."""
        seen, rest = set(), [self._find(path)]
        while rest:
            node = rest.pop()
            if node is not None and node not in seen:
                seen.add(node)
                rest += self._children[node].values()
        return {self._keys[node] for node in seen if node in self._keys}

    def load(
        self,
        variables: dict[str, keras.Variable],
        needless: set[str],
        *,
        network: str,
        advice: str,
    ) -> tuple[str, ...]:
        """Assigns the checkpoint's values to variables; refuses what does not match.

        Args:
            variables: What is wanted, by its path.
            needless: Keys of what may be left over.
            network: What is wanted, in words.
            advice: What to do where it is not there.

        Returns:
            The names of what is left over.

        Raises:
            InputError: A variable has no counterpart, or one of another shape or dtype,
                both sides being listed; or some values are not finite.
        """
        names = self._names()
        left = self.specs.keys() - {self.key(path) for path in variables}
        lists = {ONLY_THERE: [], ONLY_HERE: [], OTHER_SHAPE: []}
        for key in left - needless:
            lists[ONLY_THERE].append(f"{names[key]} {_format(self.specs[key])}")
        for path, variable in variables.items():
            here = (tuple(variable.shape), variable.dtype)
            there = self.specs.get(self.key(path))
            if there is None:
                lists[ONLY_HERE].append(f"{path} {_format(here)}")
            elif there != here:
                line = f"{path} {_format(there)} there, {_format(here)} here"
                lists[OTHER_SHAPE].append(line)
        lists = {what: sorted(lines) for what, lines in lists.items() if lines}
        counts = [f"{len(lines)} {what}" for what, lines in lists.items()]
        report = [
            "\n    ".join([f"\n  {what}:", *_first(lines, 10)])
            for what, lines in lists.items()
        ]
        check(
            not lists,
            f"the variables of {network}",
            f"{self.prefix}, with {', '.join(counts)}",
            advice + "".join(report),
        )
        broken = []
        for path, variable in variables.items():
            value = self.read(self.key(path))
            if not np.isfinite(value).all():
                broken.append(path)
            variable.assign(value)
        check(
            not broken,
            "weights that are finite",
            f"{self.prefix} with NaN or infinity in {len(broken)}: {some(broken)}",
            "Its training diverged, or the file is damaged; take an earlier one.",
        )
        return tuple(sorted(names[key] for key in left))

    def _names(self) -> dict[str, str]:
        """The shortest path to each variable by its key; the key where none leads."""
        paths = {self._model: ""}
        rest = [self._model]
        for node in rest:
            for name, child in self._children[node].items():
                if name not in ALIASES and child not in paths:
                    paths[child] = f"{paths[node]}/{name}".removeprefix("/")
                    rest.append(child)
        names = {key: key.removesuffix(SUFFIX) for key in self.specs}
        return names | {
            self._keys[node]: path for node, path in paths.items() if node in self._keys
        }

    def read(self, key: str) -> np.ndarray:
        """The value of a variable.

        Raises:
            InputError: The file is damaged, or part of it is missing.
        """
        try:
            return self._reader.get_tensor(key)
        except (ValueError, tf.errors.OpError) as error:
            raise self._unreadable(error) from error

    def _find(self, path: str) -> int | None:
        node = 0 if path.startswith("/") else self._model
        for name in path.removeprefix("/").split("/"):
            node = self._children[node].get(name)
            if node is None:
                return None
        return node

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(
            f"a readable checkpoint at {self.prefix}",
            str(error).splitlines()[0],
            "Fetch it again: its .index and its .data files belong together.",
        )


def some(names: Iterable[str]) -> str:
    """Joins the first three names."""
    return ", ".join(_first(list(names), 3)) or "none"


def _first(lines: list[str], count: int) -> list[str]:
    """The first lines, and "..." where there are more."""
    return lines[:count] + ["..."] * (len(lines) > count)


def _format(spec: tuple[tuple[int, ...], str]) -> str:
    shape, kind = spec
    return str(shape) if kind == "float32" else f"{shape} of {kind}"


def _find_prefix(path: str | pathlib.Path) -> str:
    check(
        "://" not in str(path),
        "a checkpoint on this machine",
        path,
        "Fetch it first, such as by: gsutil -m cp -r FOLDER .",
    )
    path = pathlib.Path(path).expanduser()
    if path.suffix == ".index":
        path = path.with_suffix("")
    prefix = path
    if path.is_dir():
        saved = [path, path / "saved_model"]
        saved = [folder for folder in saved if (folder / "saved_model.pb").is_file()]
        if saved:
            prefix = saved[0] / "variables" / "variables"
        else:
            prefix = tf.train.latest_checkpoint(str(path))
    check(
        prefix is not None and pathlib.Path(f"{prefix}.index").is_file(),
        "a directory of a SavedModel or of checkpoints, or the prefix of a checkpoint",
        f"{path}, where there is none",
        "Check the path; a checkpoint is named without .data-00000-of-00001.",
    )
    return str(prefix)
