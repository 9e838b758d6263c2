"""Fine-tuning: a classifier, from a pretrained encoder and labels, few or many.

Reference: Chen et al. 2020, "Big self-supervised models are strong semi-supervised
learners", section 2.
"""

from finetune_tf import recipes
from finetune_tf.config import FinetuneConfig
from selfsup_tf.start import start_tensorflow

__all__ = ["Finetune", "FinetuneConfig", "recipes"]


def __getattr__(name):
    # Importing TensorFlow takes seconds; a config can be had without it.
    if name in __all__:
        start_tensorflow()
    if name == "Finetune":
        from finetune_tf.method import Finetune

        return Finetune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
