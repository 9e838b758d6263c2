"""What a run is made of: frozen dataclasses, their checks, and the plan of a run.

Nothing here imports TensorFlow, so that a mistake in a flag is reported at once.
"""

from selfsup_tf.config.encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRETRAINED,
    EncoderConfig,
)
from selfsup_tf.config.optimizer import OptimizerConfig
from selfsup_tf.config.plan import Plan, fitting_warmup, make_plan
from selfsup_tf.config.run_config import (
    FROM_PYTHON,
    Config,
    FromPretrainedConfig,
    check_complete,
    check_divisible,
)
from selfsup_tf.config.started import StartedConfig
from selfsup_tf.config.stored import (
    check_stored,
    differences,
    read_config,
    to_dict,
    worker_differences,
)
from selfsup_tf.config.view import LayerConfig, ViewConfig, layer
