"""Barlow Twins: an encoder learned by making features alike and independent.

Reference: Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy
reduction".
"""

from barlow_tf import recipes
from barlow_tf.config import BarlowTwinsConfig
from selfsup_tf.start import lazy_names

__all__ = ["BarlowTwins", "BarlowTwinsConfig", "barlow_twins_loss", "recipes"]

__getattr__ = lazy_names(
    __name__, {"BarlowTwins": "method", "barlow_twins_loss": "loss"}
)
