"""Self-supervised image encoders with TensorFlow: learned, judged, shipped.

import selfsup_tf as selfsup, simclr_tf
config = simclr_tf.recipes.cifar10(epochs=100)
run = selfsup.train(simclr_tf.SimCLR(config), x_train, run_dir="runs/a")
selfsup.knn(run.encoder, (x_train, y_train), (x_test, y_test)).top_1
selfsup.export(run.encoder, "exported")
"""

import importlib

from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method, list_methods
from selfsup_tf.start import start_tensorflow

__version__ = "0.1.0"

_HOMES = {
    "api": ("find_learning_rate", "load_config", "train"),
    "data.preparing": ("prepare",),
    "data.preview": ("preview_views",),
    "data.sources": ("open_evaluation", "open_pair", "open_source", "open_test"),
    "distribution.strategy": ("connect",),
    "evaluation.measures.classification": ("classifier_accuracy",),
    "evaluation.measures.embedding_map": ("embedding_map",),
    "evaluation.measures.embeddings": ("embed",),
    "evaluation.measures.fine_tuning": ("fine_tune",),
    "evaluation.measures.health": ("health",),
    "evaluation.measures.knn": ("knn",),
    "evaluation.measures.linear": ("linear_classifier", "linear_probe"),
    "evaluation.measures.neighbours": ("neighbour_gallery",),
    "evaluation.measures.projector_files": ("write_projector",),
    "evaluation.report": ("write_comparison", "write_report"),
    "evaluation.results": ("read_results",),
    "evaluation.running": ("evaluate", "run_protocol"),
    "evaluation.measures.retrieval": ("retrieval",),
    "evaluation.measures.robustness": ("robustness",),
    "exporting.exporter": ("export",),
    "models.saved": ("load_class_names", "load_encoder", "load_network"),
    "models.teachers": ("open_teacher",),
    "training.loop": ("Run",),
}
VERBS = {verb: f"selfsup_tf.{home}" for home, verbs in _HOMES.items() for verb in verbs}
"""Where each verb is; it is imported when it is first asked for."""

PARTS = ("layers", "metrics", "optimizers", "schedules")
"""Modules for anybody's Keras program, likewise."""

__all__ = ["InputError", "find_method", "list_methods", *VERBS, *PARTS]


def __getattr__(name):
    # Importing TensorFlow takes seconds; the command line's help does without it.
    if name in VERBS or name in PARTS:
        start_tensorflow()
    if name in VERBS:
        return getattr(importlib.import_module(VERBS[name]), name)
    if name in PARTS:
        return importlib.import_module(f"selfsup_tf.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
