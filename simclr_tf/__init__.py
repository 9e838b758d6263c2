"""SimCLR: an encoder learned by telling the views of an image from other images'.

Reference: Chen et al. 2020, "A simple framework for contrastive learning of visual
representations"; "Big self-supervised models are strong semi-supervised learners".
"""

from selfsup_tf.start import lazy_names
from simclr_tf import recipes
from simclr_tf.config import SimCLRConfig

__all__ = ["NTXent", "SimCLR", "SimCLRConfig", "nt_xent_loss", "recipes"]

__getattr__ = lazy_names(
    __name__, {"SimCLR": "method", "NTXent": "loss", "nt_xent_loss": "loss"}
)
