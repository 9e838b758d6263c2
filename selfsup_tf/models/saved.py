"""Loads the networks of a run directory."""

import pathlib

import keras

from selfsup_tf.errors import InputError, check

# The imports register the layers that a saved network may hold.
from selfsup_tf.models import encoders, prototypes  # noqa: F401
from selfsup_tf.models.keras_settings import check_keras
from selfsup_tf.models.own import reason
from selfsup_tf.run import ENCODERS, TRAIN_ONE, RunDirectory


def load_network(
    run_dir: str | pathlib.Path, name: str = "encoder", *, advice: str = TRAIN_ONE
) -> keras.Model:
    """Loads a network of a run, float32, for evaluation, export or more training.

    Args:
        run_dir: Directory of the run, or a .keras file.
        name: Which of the run's networks: encoder, projector, classifier, ...
        advice: What to do where there is none.

    Raises:
        InputError: There is none, it can't be read, or Keras is set otherwise, see
            `check_keras`.
    """
    check_keras()
    path = RunDirectory(run_dir).network(name)
    article = "an" if name.startswith("encoder") else "a"
    check(
        path.is_file(),
        f"{article} {name.partition('_')[0]} at {path}",
        "no file" if path.parent.is_dir() else "no such directory",
        advice,
    )
    try:
        return keras.saving.load_model(path, compile=False)
    except (InputError, MemoryError):
        raise  # a layer that says itself what is missing; a fine file
    # What Keras, zipfile and HDF5 raise depends on which byte is damaged.
    except Exception as error:
        said, module = reason(error)
        said = f"{type(error).__name__}: {said}"
        advice = "Train again, or name another run."
        if module:
            advice = (
                f"Import {module}, where its class is registered, before: "
                f"--import={module}"
            )
        raise InputError(f"a readable Keras model at {path}", said, advice) from error


def load_encoder(run_dir: str | pathlib.Path, which: str = "last") -> keras.Model:
    """The encoder of a run, ready for evaluation, export or fine-tuning.

    Args:
        run_dir: Directory of the run, or a .keras file.
        which: "last", or "best" by the online k-NN, or by RankMe without labels.

    Raises:
        InputError: There is none.
    """
    directory = RunDirectory(run_dir)
    advice = TRAIN_ONE
    if which == "best" and directory.network().is_file():
        advice = "This run has measured nothing to choose its best by; use last."
    return load_network(run_dir, ENCODERS[which], advice=advice)


def load_class_names(run_dir: str | pathlib.Path) -> tuple[str, ...] | None:
    """The names of the classes of a run's classifier; None where nothing says."""
    return RunDirectory(run_dir).read_class_names()
