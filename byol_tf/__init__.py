"""BYOL: an encoder learned by predicting a slow copy of itself, without negatives.

Reference: Grill et al. 2020, "Bootstrap your own latent".
"""

from byol_tf import recipes
from byol_tf.config import BYOLConfig
from selfsup_tf.start import start_tensorflow

__all__ = ["BYOL", "BYOLConfig", "RegressionLoss", "recipes", "regression_loss"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "BYOL":
        from byol_tf.method import BYOL

        return BYOL
    if name in ("RegressionLoss", "regression_loss"):
        from byol_tf import loss

        return getattr(loss, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
