"""VICReg: an encoder learned by variance, invariance and covariance.

Reference: Bardes et al. 2022, "VICReg: variance-invariance-covariance regularization
for self-supervised learning".
"""

from selfsup_tf.start import start_tensorflow
from vicreg_tf import recipes
from vicreg_tf.config import VICRegConfig

__all__ = ["VICReg", "VICRegConfig", "recipes", "vicreg_loss"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "VICReg":
        from vicreg_tf.method import VICReg

        return VICReg
    if name == "vicreg_loss":
        from vicreg_tf.loss import vicreg_loss

        return vicreg_loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
