"""An encoder that exists, as a frozen function of images, whatever it was made by."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence

import keras
import numpy as np

from selfsup_tf.errors import InputError, check
from selfsup_tf.models.copies import plain
from selfsup_tf.models.own import architecture, check_represents
from selfsup_tf.shown import brief


@dataclasses.dataclass(frozen=True)
class Teacher:
    """An encoder that exists.

    Attributes:
        name: As it was named.
        network: From images, float32 in [0, 1], (N, S, S, 3), to representations,
            (N, D) float32; its own preprocessing is inside.
        licence: What its source says, such as "Apache-2.0"; None where it says nothing.
        notes: How its answer became one vector an image, in sentences.
        compiles: Whether XLA can compile it, as a TPU demands.
    """

    name: str
    network: keras.Model
    licence: str | None = None
    notes: tuple[str, ...] = ()
    compiles: bool = True

    def __repr__(self) -> str:
        inside, outside = self.network.input_shape, self.network.output_shape
        return brief(self, network=f"<{inside} -> {outside}>")

    @property
    def image_size(self) -> int:
        """Height and width S of its images, in pixels."""
        return self.network.input_shape[1]

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of its architecture and its weights."""
        found = hashlib.sha256(architecture(self.network).encode())
        for value in self.network.get_weights():
            found.update(np.ascontiguousarray(value).tobytes())
        return found.hexdigest()

    @property
    def origin(self) -> dict[str, str]:
        """Name, SHA-256 and licence, where there is one, as a record keeps them."""
        licence = {"licence": self.licence} if self.licence else {}
        return {"name": self.name, "sha256": self.digest, **licence}

    @property
    def described(self) -> tuple[str, ...]:
        """What there is to say of it, in sentences: hash, licence, pooling."""
        licence = f", licence {self.licence}" if self.licence else ""
        size = f"takes {self.image_size} px"
        return (f"{self.name}: {size}, {self.digest[:12]}{licence}.", *self.notes)

    def taking(self, image_size: int, channels: int = 3) -> keras.Model:
        """The same function of images of another size, which it resizes to its own.

        Raises:
            InputError: It is for images of other channels; of grey ones it makes RGB.
        """
        own = self.network.input_shape[-1]
        if (image_size, channels) == (self.image_size, own):
            return self.network
        check(
            channels == own or (channels, own) == (1, 3),
            f"{self.name} to take images of {channels} channels",
            f"{own}",
            "Name an encoder for such images.",
        )
        images = keras.Input((image_size, image_size, channels), name="image")
        taken = images
        if image_size != self.image_size:
            # The layer Resizing puts what follows into training mode (Keras 3.15).
            sides = (self.image_size,) * 2
            taken = keras.ops.image.resize(taken, sides, antialias=True)
        if channels != own:
            taken = keras.ops.repeat(taken, own, axis=-1)
        return keras.Model(images, self.network(taken), name="resized")


@dataclasses.dataclass(frozen=True)
class TeacherKind:
    """A kind of encoder that exists.

    A module selfsup_tf/models/teachers/NAME.py, here or in a folder of your own on
    `sys.path`, holds one as TEACHER.

    Attributes:
        takes: What a user names, as it stands in a list, such as "imagenet:NAME".
        recognises: Whether a name is of this kind; nothing is loaded for it.
        open: From a name, the size of its images and the layer to end at, either of
            which may be None, to a Teacher.
        turn: Of several kinds that recognise a name, that of the lowest turn opens it.
    """

    takes: str
    recognises: Callable[[str], bool]
    open: Callable[[str, int | None, str | None], Teacher]
    turn: int = 1


def make_teacher(
    name: str,
    network: keras.Model,
    *,
    licence: str | None = None,
    notes: Sequence[str] = (),
    compiles: bool = True,
) -> Teacher:
    """Makes a teacher of a network, once it is one: a vector for each image.

    Args:
        name: As the user named it.
        network: From float32 images in [0, 1], (N, S, S, 3), to vectors, (N, D), to
            feature maps (N, h, w, D) or to tokens (N, T, D), which are averaged.
        licence: See `Teacher`.
        notes: See `Teacher`.
        compiles: See `Teacher`.

    Raises:
        InputError: It takes or gives something else.
    """
    inputs, outputs = network.inputs, network.outputs
    check(
        len(inputs) == len(outputs) == 1,
        f"one input, of images, and one output of {name}",
        f"{len(inputs)} and {len(outputs)}",
        "Make a keras.Model of the part that represents images.",
    )
    shape = tuple(inputs[0].shape[1:])
    check(
        len(shape) == 3 and shape[0] == shape[1] and shape[2] is not None,
        f"{name} to take images of shape (N, S, S, 3)",
        tuple(inputs[0].shape),
        "Name an encoder of square images.",
    )
    check(
        shape[0] is not None,
        f"the height and width of images that {name} takes",
        "none, as it takes any",
        f"Say it: {name}@224",
    )
    rank = len(outputs[0].shape)
    check(
        2 <= rank <= 4,
        f"{name} to give a vector for each image",
        f"an output of shape {tuple(outputs[0].shape)}",
        "End it at another layer: NAME.keras#LAYER",
    )
    network = plain(network)
    images = keras.Input(shape, name="image")
    h = network(images)
    if rank > 2:
        what = {3: "tokens", 4: "feature maps"}[rank]
        notes = (*notes, f"The {what} that {name} gives are averaged.")
        pool = {3: "GlobalAveragePooling1D", 4: "GlobalAveragePooling2D"}[rank]
        h = getattr(keras.layers, pool)(dtype="float32")(h)
    h = keras.layers.Identity(dtype="float32", name="representation")(h)
    whole = keras.Model(images, h, name="teacher")
    advice = f"End it at the layer before: {name}#{_before_answer(network)}"
    check_represents(whole, shape[0], advice=advice)
    return Teacher(name, whole, licence, tuple(notes), compiles)


def side_of(name: str, own: int | None, asked: int | None) -> int:
    """Height and width of the images of an encoder that is a finished program.

    Args:
        name: As the user named it.
        own: What it takes; None where it takes any.
        asked: What the user or the run wants it to take, or None.

    Raises:
        InputError: The two differ, or nothing says it.
    """
    check(
        None in (own, asked) or own == asked,
        f"images of the {own} pixels that {name} takes",
        f"a size of {asked}",
        f"Leave @{asked} out; a run has views of {own} by --image_size={own}.",
    )
    side = own or asked
    check(
        side is not None,
        f"the size of images for {name}",
        "none, as it takes any",
        f"Say it: {name}@224",
    )
    return side


def end_at(network: keras.Model, layer: str) -> keras.Model:
    """The part of a network up to a layer.

    Raises:
        InputError: It has no such layer.
    """
    try:
        # A model's own `output` is the one inside; an operation's is what it gives.
        output = keras.Operation.output.fget(network.get_layer(layer))
        return keras.Model(network.inputs[0], output)
    except (ValueError, AttributeError) as error:
        names = ", ".join(one.name for one in network.layers[-5:])
        raise InputError(
            f"a layer of {network.name}", repr(layer), f"Its last ones: {names}"
        ) from error


def _before_answer(network: keras.Model) -> str:
    """The name of the last layer that comes before the classifier."""
    shapes = ((layer, getattr(layer.output, "shape", ())) for layer in network.layers)
    layers = [layer for layer, shape in shapes if len(shape) == 2]
    if not layers:
        return "LAYER"
    classes = network.output_shape[-1]
    names = [layer.name for layer in layers if layer.output.shape[-1] != classes]
    return (names or [layers[0].name])[-1]
