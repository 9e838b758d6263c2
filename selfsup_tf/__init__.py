"""Self-supervised image encoders with TensorFlow: learned, judged, shipped.

import selfsup_tf as selfsup, simclr_tf
config = simclr_tf.recipes.cifar10(epochs=100)
run = selfsup.train(simclr_tf.SimCLR(config), x_train, run_dir="runs/a")
selfsup.knn(run.encoder, (x_train, y_train), (x_test, y_test)).top_1
selfsup.export(run.encoder, "exported")
"""

from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method, list_methods

__version__ = "0.1.0"

VERBS = (
    "Run",
    "classifier_accuracy",
    "connect",
    "embed",
    "embedding_map",
    "evaluate",
    "export",
    "find_learning_rate",
    "fine_tune",
    "health",
    "knn",
    "linear_classifier",
    "linear_probe",
    "load_class_names",
    "load_config",
    "load_encoder",
    "load_network",
    "neighbour_gallery",
    "open_evaluation",
    "open_pair",
    "open_source",
    "open_test",
    "preview_run",
    "preview_views",
    "retrieval",
    "robustness",
    "run_health",
    "train",
    "transfer",
    "write_comparison",
    "write_map",
    "write_projector",
    "write_report",
)

__all__ = ["InputError", "find_method", "list_methods", *VERBS]


def __getattr__(name):
    # Importing TensorFlow takes seconds; the command line's help does without it.
    if name in VERBS:
        from selfsup_tf import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
