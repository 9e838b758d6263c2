"""Barlow Twins: an encoder learned by making features alike and independent.

Reference: Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy
reduction".
"""

from barlow_tf import recipes
from barlow_tf.config import BarlowTwinsConfig
from selfsup_tf.start import start_tensorflow

__all__ = ["BarlowTwins", "BarlowTwinsConfig", "barlow_twins_loss", "recipes"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "BarlowTwins":
        from barlow_tf.method import BarlowTwins

        return BarlowTwins
    if name == "barlow_twins_loss":
        from barlow_tf.loss import barlow_twins_loss

        return barlow_twins_loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
