"""Fine-tuning: a classifier, from a pretrained encoder and labels, few or many.

Reference: Chen et al. 2020, "Big self-supervised models are strong semi-supervised
learners", section 2.
"""

from finetune_tf import recipes
from finetune_tf.config import FinetuneConfig
from selfsup_tf.start import lazy_names

__all__ = ["Finetune", "FinetuneConfig", "recipes"]

__getattr__ = lazy_names(__name__, {"Finetune": "method"})
