"""DINO: an encoder learned by answering, of any view, as its slow average does.

Reference: Caron et al. 2021, "Emerging properties in self-supervised vision
transformers".
"""

from dino_tf import recipes
from dino_tf.config import DINOConfig
from selfsup_tf.start import lazy_names

__all__ = ["DINO", "DINOConfig", "dino_loss", "recipes"]

__getattr__ = lazy_names(__name__, {"DINO": "method", "dino_loss": "loss"})
