"""MoCo: an encoder learned by finding, among many keys, that of the same image.

Reference: He et al. 2020, "Momentum contrast for unsupervised visual representation
learning"; Chen et al. 2020, "Improved baselines with momentum contrastive learning"
(v2); Chen, Xie and He 2021, "An empirical study of training self-supervised vision
transformers" (v3).
"""

from moco_tf import recipes
from moco_tf.config import MoCoConfig
from selfsup_tf.start import start_tensorflow

__all__ = ["MoCo", "MoCoConfig", "info_nce_loss", "recipes"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "MoCo":
        from moco_tf.method import MoCo

        return MoCo
    if name == "info_nce_loss":
        from moco_tf.loss import info_nce_loss

        return info_nce_loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
