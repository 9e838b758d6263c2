"""The encoder of a run, or any network of images in a .keras file."""

import pathlib

from selfsup_tf.models.copies import at_size
from selfsup_tf.models.saved import load_network
from selfsup_tf.models.teacher import Teacher, TeacherKind, end_at, make_teacher
from selfsup_tf.run import RunDirectory


def _recognises(name: str) -> bool:
    path = pathlib.Path(name).expanduser()
    return path.suffix == ".keras" or RunDirectory(path).network("encoder").is_file()


def _open(name: str, size: int | None, layer: str | None) -> Teacher:
    network = load_network(name)
    if layer is not None:
        network = end_at(network, layer)
    if size is not None:
        network = at_size(network, size)
    said = "".join(
        f"{mark}{part}" for mark, part in (("#", layer), ("@", size)) if part
    )
    return make_teacher(name + said, network)


TEACHER = TeacherKind(
    takes="a run's directory or a .keras file", recognises=_recognises, open=_open
)
