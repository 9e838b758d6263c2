"""VICReg: an encoder learned by variance, invariance and covariance.

Reference: Bardes et al. 2022, "VICReg: variance-invariance-covariance regularization
for self-supervised learning".
"""

from selfsup_tf.start import lazy_names
from vicreg_tf import recipes
from vicreg_tf.config import VICRegConfig

__all__ = ["VICReg", "VICRegConfig", "recipes", "vicreg_loss"]

__getattr__ = lazy_names(__name__, {"VICReg": "method", "vicreg_loss": "loss"})
