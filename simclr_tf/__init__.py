"""SimCLR: an encoder learned by telling the views of an image from other images'.

Reference: Chen et al. 2020, "A simple framework for contrastive learning of visual
representations"; "Big self-supervised models are strong semi-supervised learners".
"""

from selfsup_tf.start import start_tensorflow
from simclr_tf import recipes
from simclr_tf.config import SimCLRConfig

__all__ = ["NTXent", "SimCLR", "SimCLRConfig", "nt_xent_loss", "recipes"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "SimCLR":
        from simclr_tf.method import SimCLR

        return SimCLR
    if name in ("NTXent", "nt_xent_loss"):
        from simclr_tf import loss

        return getattr(loss, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
