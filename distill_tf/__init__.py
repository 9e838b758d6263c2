"""Distillation: a student that learns what a finished encoder says of images.

Reference: Chen et al. 2020, "Big self-supervised models are strong semi-supervised
learners", section 2; Navaneet et al. 2021, "SimReg"; Fang et al. 2021, "SEED".
"""

from distill_tf import recipes
from distill_tf.config import DistillConfig
from selfsup_tf.start import start_tensorflow

__all__ = ["Distill", "DistillConfig", "distillation_loss", "recipes"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "Distill":
        from distill_tf.method import Distill

        return Distill
    if name == "distillation_loss":
        from distill_tf.loss import distillation_loss

        return distillation_loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
