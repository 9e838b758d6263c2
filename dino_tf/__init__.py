"""DINO: an encoder learned by answering, of any view, as its slow average does.

Reference: Caron et al. 2021, "Emerging properties in self-supervised vision
transformers".
"""

from dino_tf import recipes
from dino_tf.config import DINOConfig
from selfsup_tf.start import start_tensorflow

__all__ = ["DINO", "DINOConfig", "dino_loss", "recipes"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "DINO":
        from dino_tf.method import DINO

        return DINO
    if name == "dino_loss":
        from dino_tf.loss import dino_loss

        return dino_loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
