"""Distillation: a student that learns what a finished encoder says of images.

Reference: Chen et al. 2020, "Big self-supervised models are strong semi-supervised
learners", section 2; Navaneet et al. 2021, "SimReg"; Fang et al. 2021, "SEED".
"""

from distill_tf import recipes
from distill_tf.config import DistillConfig
from selfsup_tf.start import lazy_names

__all__ = ["Distill", "DistillConfig", "distillation_loss", "recipes"]

__getattr__ = lazy_names(__name__, {"Distill": "method", "distillation_loss": "loss"})
