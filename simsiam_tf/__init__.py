"""SimSiam: an encoder learned by predicting one view from the other, and no more.

Reference: Chen and He 2021, "Exploring simple Siamese representation learning".
"""

from selfsup_tf.start import lazy_names
from simsiam_tf import recipes
from simsiam_tf.config import SimSiamConfig

__all__ = ["NegativeCosine", "SimSiam", "SimSiamConfig", "negative_cosine", "recipes"]

__getattr__ = lazy_names(
    __name__, {"SimSiam": "method", "NegativeCosine": "loss", "negative_cosine": "loss"}
)
