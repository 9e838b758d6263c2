"""The command line: from argv to a method, a recipe, a config, and a verb.

TensorFlow is imported only when there is something for it to do, so that help and
mistakes answer at once. Whatever a user can get wrong ends in one line and exit code 2.
"""

from selfsup_tf.cli.evaluating import evaluate
from selfsup_tf.cli.exporting import export
from selfsup_tf.cli.program import Positional, friendly, import_tensorflow, parse_flags
from selfsup_tf.cli.training import train

__all__ = [
    "Positional",
    "evaluate",
    "export",
    "friendly",
    "import_tensorflow",
    "parse_flags",
    "train",
]
