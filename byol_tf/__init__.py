"""BYOL: an encoder learned by predicting a slow copy of itself, without negatives.

Reference: Grill et al. 2020, "Bootstrap your own latent".
"""

from byol_tf import recipes
from byol_tf.config import BYOLConfig
from selfsup_tf.start import lazy_names

__all__ = ["BYOL", "BYOLConfig", "RegressionLoss", "recipes", "regression_loss"]

__getattr__ = lazy_names(
    __name__, {"BYOL": "method", "RegressionLoss": "loss", "regression_loss": "loss"}
)
