"""SimSiam: an encoder learned by predicting one view from the other, and no more.

Reference: Chen and He 2021, "Exploring simple Siamese representation learning".
"""

from selfsup_tf.start import start_tensorflow
from simsiam_tf import recipes
from simsiam_tf.config import SimSiamConfig

__all__ = ["NegativeCosine", "SimSiam", "SimSiamConfig", "negative_cosine", "recipes"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "SimSiam":
        from simsiam_tf.method import SimSiam

        return SimSiam
    if name in ("NegativeCosine", "negative_cosine"):
        from simsiam_tf import loss

        return getattr(loss, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
