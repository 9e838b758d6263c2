"""MoCo: an encoder learned by finding, among many keys, that of the same image.

Reference: He et al. 2020, "Momentum contrast for unsupervised visual representation
learning"; Chen et al. 2020, "Improved baselines with momentum contrastive learning"
(v2); Chen, Xie and He 2021, "An empirical study of training self-supervised vision
transformers" (v3).
"""

from moco_tf import recipes
from moco_tf.config import MoCoConfig
from selfsup_tf.start import lazy_names

__all__ = ["MoCo", "MoCoConfig", "info_nce_loss", "recipes"]

__getattr__ = lazy_names(__name__, {"MoCo": "method", "info_nce_loss": "loss"})
