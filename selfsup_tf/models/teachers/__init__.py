"""Opens an encoder that exists by its name, of every kind that there is.

Each module beside this one holds a `TeacherKind`, as TEACHER, and this one knows none
of them by name.
"""

from collections.abc import Sequence

from selfsup_tf.data.stored_vectors import (
    StoredVectors,
    read_vectors,
)
from selfsup_tf.doors import Door
from selfsup_tf.errors import check
from selfsup_tf.existing import encoder_parts, is_file_of_vectors
from selfsup_tf.models.teacher import Teacher

DOOR = Door(__name__, "TEACHER", "a kind of encoder that exists")


def place_of(name: str) -> str:
    """The file, directory or preset that a name is of, without #LAYER and @SIZE."""
    return encoder_parts(name)[0]


def open_teacher(name: str, image_size: int | None = None) -> Teacher:
    """Opens an encoder that exists.

    Args:
        name: A run's directory or a .keras file; imagenet:NAME of keras.applications;
            hub:PRESET of keras-hub; a SavedModel; an .onnx file. `#LAYER` behind it
            ends the network at that layer, `@SIZE` has it take images of so many
            pixels in height and width.
        image_size: What it takes where the name says no size; its own by default.

    Raises:
        InputError: It can't be found, fetched or read, or is no encoder of images.
    """
    kinds = sorted(DOOR.all().values(), key=lambda kind: kind.turn)
    advice = "Name one of: " + "; ".join(kind.takes for kind in kinds)
    place, layer, size = encoder_parts(name)
    fitting = [kind for kind in kinds if kind.recognises(place)]
    check(bool(fitting), "an encoder that exists", repr(name), advice)
    return fitting[0].open(place, int(size) if size else image_size, layer)


def open_teachers(
    names: Sequence[str], *, taken: Sequence[str] = (), vectors: bool = False
) -> dict[str, Teacher | StoredVectors]:
    """Opens several encoders, by the names under which they stand beside each other.

    Args:
        names: As for `open_teacher`.
        taken: Names that others have in the same table.
        vectors: Whether files of vectors are opened, too, as `StoredVectors`.

    Raises:
        InputError: As `open_teacher`, or a name stands twice.
    """
    check(
        len({*taken, *names}) == len(taken) + len(names),
        f"encoders of different names, none of them {' or '.join(taken)}",
        ", ".join(names),
        "Name each of them once.",
    )
    return {
        name: read_vectors(name)
        if vectors and is_file_of_vectors(name)
        else open_teacher(name)
        for name in names
    }
