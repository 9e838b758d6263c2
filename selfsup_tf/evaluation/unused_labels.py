"""Images whose labels a run has not used, to judge it where there are no others."""

from typing import TYPE_CHECKING

import numpy as np

from selfsup_tf.config import FROM_PYTHON
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.run_images import Learned
from selfsup_tf.lineage import labels_brought

if TYPE_CHECKING:
    from selfsup_tf.data.source import Source


def open_unused(judged: Judged) -> "Source | None":
    """The labelled images that a run left when it learned from a fraction.

    None where it learned from all labels, what it goes on from included, or from images
    given in Python, which nothing tells from others; where its data have a test split;
    and where others are named.
    """
    from selfsup_tf.data.parts import labelled_fraction
    from selfsup_tf.evaluation.measures.monitor import hold_out

    config = None if judged.given is not None else judged.config
    fraction = vars(config).get("fraction", 1) if config else 1
    if fraction == 1 or config.data == FROM_PYTHON or judged.is_other_data:
        return None
    if judged.has_test_split or Learned(labels_brought(judged.run)).labels(config.data):
        return None
    source = judged.open_source().as_begun(judged.run.read_images())
    rest, _ = hold_out(source, config)
    learned = labelled_fraction(rest, fraction, seed=config.seed)
    unused = np.setdiff1d(rest.indices, learned.indices)
    left = source.select(unused, f"{source.name}, labels not used")
    left = left.select(left.indices[left.labels >= 0], left.name)
    return left if left.size else None
