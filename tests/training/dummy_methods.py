"""Methods of a user's own, as packages that a test writes into a folder of the path.

Each is a method with state: `queued` keeps a queue of past projections, `centred` a
centre, and sees two large and two small views of each image. `posterize.py` holds a
layer of a user's own.
"""

import pathlib

_CONFIG = '''"""The config of a dummy."""

import dataclasses
from typing import ClassVar

from selfsup_tf.config import Config


@dataclasses.dataclass(frozen=True)
class DummyConfig(Config):
    method: ClassVar[str] = "{name}"

    width: int = 6
    """Numbers of a projection."""
'''

_RECIPES = '''"""Recipes of a dummy."""

import dataclasses

from selfsup_tf.config import ViewConfig, layer
from {name}_tf.config import DummyConfig

CROP = dict(jitter=0.0, grayscale=0.0, blur=0.0)  # and flip


def shapes(**overrides):
    """The one recipe there is."""
    config = DummyConfig(image_size=32, batch_size=16, views={views})
    return dataclasses.replace(config, **overrides)
'''

_METHOD = '''"""A dummy's method."""

import keras
import tensorflow as tf

from selfsup_tf.methods import Method
from selfsup_tf.models.copies import at_size
from {name}_tf.config import DummyConfig


class Dummy(Method):
    config_class = DummyConfig
    metric_names = ("train/length",)
{attributes}

    def build(self):
        self.encoder = self.new_encoder()
        dtype = "float64" if self.config.precision == "float64" else "float32"
        head = keras.layers.Dense(self.config.width, dtype=dtype, name="head")
        drawn = self.config.drawn_views
        sizes = {{view.size for view in drawn.values()}}
        encoders = {{size: at_size(self.encoder, size) for size in sizes}}
        inputs, outputs = {{}}, {{}}
        for i, (name, view) in enumerate(drawn.items(), 1):
            inputs[name] = keras.Input((view.size, view.size, 3), name=name)
            h = encoders[view.size](inputs[name])
            outputs[f"representation_{{i}}"], outputs[f"z_{{i}}"] = h, head(h)
        both = (outputs["z_1"] + outputs["z_2"]) / 2
        outputs["mean"] = keras.ops.mean(both, axis=0, keepdims=True)
        self.model = keras.Model(inputs, outputs)
        self.state = {{
            "{state}": keras.Variable(
                keras.random.normal({shape}, seed=3), trainable=False, dtype=dtype
            )
        }}

    def compute_metrics(self, outputs):
        return {{"train/length": tf.norm(outputs["z_1"], axis=1)}}
{body}
'''

_QUEUE = """
    def compute_loss(self, outputs):
        z_1, z_2, queue = (
            tf.math.l2_normalize(z, axis=1)
            for z in (outputs["z_1"], outputs["z_2"], self.state["queue"].value)
        )
        positive = tf.reduce_sum(z_1 * z_2, axis=1, keepdims=True)
        cosines = tf.concat([positive, tf.matmul(z_1, queue, transpose_b=True)], 1)
        return tf.reduce_logsumexp(cosines / 0.2, axis=1) - positive[:, 0] / 0.2

    def after_update(self, step, plan, outputs):
        queue = self.state["queue"]
        queue.assign(tf.concat([outputs["z_2"], queue.value], axis=0)[:24])
        return {"train/queue": tf.cast(tf.reduce_mean(queue.value), tf.float32)}
"""

_CENTRE = """
    def compute_loss(self, outputs):
        views = [outputs[f"z_{i}"] for i in range(1, len(self.config.drawn_views) + 1)]
        targets = [
            tf.stop_gradient(tf.nn.softmax((z - self.state["centre"].value) / 0.5))
            for z in views[:2]
        ]
        return -tf.add_n(
            [
                tf.reduce_sum(target * tf.nn.log_softmax(view), axis=1)
                for i, target in enumerate(targets)
                for j, view in enumerate(views)
                if i != j
            ]
        )

    def after_update(self, step, plan, outputs):
        centre = self.state["centre"]
        mean = tf.reduce_mean(outputs["mean"], axis=0)  # of replicas, micro-batches
        centre.assign(0.9 * centre.value + 0.1 * mean)
        return {}
"""

_POSTERIZE = '''"""Layers of a user's own."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="posterize")
class Posterize(keras.layers.Layer):
    """Keeps so many bits of each channel."""

    def __init__(self, bits, **kwargs):
        super().__init__(**kwargs)
        self.levels = 2.0**bits

    def call(self, images):
        return tf.floor(images * self.levels) / self.levels
'''

_DUMMIES = {
    "queued": {
        "views": '(ViewConfig(layers=(layer("posterize>Posterize", bits=4, '
        'before="blur"),)),) * 2',
        "attributes": """    watched_outputs = ("z_2",)
    log_names = ("train/queue",)""",
        "state": "queue",
        "shape": "(24, self.config.width)",
        "body": _QUEUE,
    },
    "centred": {
        "views": "(ViewConfig(count=2, **CROP), ViewConfig(size=16, count=2, **CROP))",
        "attributes": """    watched_outputs = ("mean",)
    couples_images = False""",
        "state": "centre",
        "shape": "(self.config.width,)",
        "body": _CENTRE,
    },
}
NAMES = tuple(_DUMMIES)


def write_methods(folder: pathlib.Path) -> pathlib.Path:
    """Writes the packages and the module into a folder, and returns it."""
    for name, parts in _DUMMIES.items():
        package = folder / f"{name}_tf"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f'"""Dummy{name.title()}."""\n')
        for module, text in (
            ("config", _CONFIG),
            ("recipes", _RECIPES),
            ("method", _METHOD),
        ):
            text = text.format(name=name, **parts)
            (package / f"{module}.py").write_text(text)
    (folder / "posterize.py").write_text(_POSTERIZE)
    return folder
