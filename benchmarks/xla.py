"""Whether XLA compiles the whole training step, and whether its loss is the same.

python benchmarks/xla.py
python benchmarks/xla.py byol:ViT:mixed_bfloat16 simclr:ResNet:float32

A row for each method, encoder and precision: seconds to build and trace the step, and
to compile it; the loss of the same weights, views and masks uncompiled and compiled;
how far they are apart, how far they may be, and how far the loss moves when the second
views are handed to the wrong images. Ends with status 1 where a loss is further off
than the precision explains.

The CPU stands in for a TPU here, of which XLA asks the same: shapes that are known when
the step is compiled, and nothing that needs the host. Dropout is the one thing that is
not the same in both by itself (see `same_masks`).
"""

import argparse
import contextlib
import dataclasses
import gc
import itertools
import os
import sys
import time
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What XLA makes of the graph stays the same; only LLVM's polish of the code for this
# CPU, which takes half the time and which a TPU never sees, is left out.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config import EncoderConfig, OptimizerConfig, make_plan
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.methods import find_method
from selfsup_tf.training.step import Replica, build

METHODS = {
    "simclr": {"projector": (32, 16), "temperature": 1.0},
    "byol": {"projector": (32, 16), "predictor": (32, 16)},
}
"""The methods, with heads that compile in no time.

At SimCLR's usual temperature of .1 the loss magnifies tenfold what rounding makes of
the cosines, and all but the largest of them drop out of the mean.
"""

ENCODERS = {
    "ResNet": EncoderConfig(name="resnet18", width=1 / 16, stem="small_stride2"),
    "EfficientNet": EncoderConfig(name="EfficientNetB0"),
    "MobileNetV3": EncoderConfig(name="MobileNetV3Small"),
    "ViT": EncoderConfig(name="vit_tiny"),
}
"""The smallest network of each family; the ResNet, which is ours, is narrow too."""

EPSILON = {"float32": 2.0**-23, "mixed_bfloat16": 2.0**-7, "mixed_float16": 2.0**-10}
"""From 1 to the next larger number of what each precision computes in."""

IMAGE_SIZE = 32
BATCH_SIZE = 32
DRAWS = 16
STUDENT = 4.07
"""What Student's t of DRAWS - 1 degrees of freedom exceeds once in a thousand times."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A step uncompiled and compiled.

    Attributes:
        method: Name of the method.
        encoder: Family of the encoder, of `ENCODERS`.
        precision: As in a config.
        trace_seconds: To build the method and trace its step.
        compile_seconds: To compile the step and run it once.
        plain: Loss of the uncompiled step.
        compiled: Loss of the compiled one.
        tolerance: How far apart rounding may bring them (see `rounding_noise`).
        mispaired: Loss of the uncompiled step whose second views are another image's.
    """

    method: str
    encoder: str
    precision: str
    trace_seconds: float
    compile_seconds: float
    plain: float
    compiled: float
    tolerance: float
    mispaired: float

    @property
    def difference(self) -> float:
        """Of the two losses."""
        return abs(self.compiled - self.plain)

    @property
    def equal(self) -> bool:
        """Whether rounding explains the difference."""
        return self.difference <= self.tolerance


def compare(name: str, encoder: str, precision: str) -> Comparison:
    """The step of a method, with the network of a family, uncompiled and compiled."""
    start = time.perf_counter()
    package = find_method(name)
    config = package.config_class(
        encoder=ENCODERS[encoder],
        image_size=IMAGE_SIZE,
        batch_size=BATCH_SIZE,
        epochs=None,
        steps=10,
        precision=precision,
        optimizer=OptimizerConfig(warmup_epochs=0.0),
        **METHODS[name],
    )
    keras.utils.set_random_seed(config.seed)
    method = package.load()(config)
    with same_masks():
        step, variables = trace_step(method)
    state = [v.numpy() for v in variables]
    compiled_step = tf.function(step, jit_compile=True)
    views = draw_views()
    seconds = [time.perf_counter() - start]

    def loss(function, view_1, view_2):
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)
        batch = {"view_1": tf.constant(view_1), "view_2": tf.constant(view_2)}
        start = time.perf_counter()
        value = float(function(batch)["train/loss"].numpy())
        seconds.append(time.perf_counter() - start)
        return value

    plain = loss(step, *views)
    mispaired = loss(step, views[0], np.roll(views[1], 1, axis=0))
    tolerance = rounding_noise(lambda v: loss(step, *v), views, precision)
    compiled = loss(compiled_step, *views)
    return Comparison(
        name,
        encoder,
        precision,
        seconds[0],
        seconds[-1],
        plain,
        compiled,
        # The mean of the losses is a float32 sum in every precision.
        tolerance + BATCH_SIZE * 2.0**-24 * abs(plain),
        mispaired,
    )


def trace_step(method):
    """What the training loop compiles, traced, and the variables that it changes.

    It is traced once, so that both steps are the same graph.
    """
    config = method.config
    optimizer = build(method, make_plan(config, 1000))
    replica = Replica(method, optimizer)
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    views = {name: tf.TensorSpec(shape, name=name) for name in method.model.input}
    wait = tf.zeros((), tf.float64)
    step = tf.function(lambda batch: replica.step(batch, wait)[0])
    return step.get_concrete_function(views), [
        *method.model.variables,
        *optimizer.variables,
    ]


def draw_views():
    """Drawn images and their mirror images under another light, (N, S, S, 3)."""
    images = make_shapes("train")[0][:BATCH_SIZE].astype(np.float32) / 255
    return images, np.ascontiguousarray(images[:, :, ::-1]) * 0.8 + 0.1


def rounding_noise(loss, views, precision):
    """How far two losses may be apart that differ in nothing but their rounding.

    Nothing is known of which intermediate values XLA rounds, and where: it fuses
    operations, sums in another order and leaves a bfloat16 in float32 where it likes.
    But the size of what comes of it can be seen in the uncompiled step alone. Views
    that are moved by no more than the precision can tell apart, one part in 1/epsilon,
    send all that follows through other roundings, as many and as large, and the
    network and the loss amplify them all the same. So the losses of such views are
    draws of what rounding makes of one loss, with a standard deviation s, and the
    uncompiled and the compiled loss are two more: their difference has a standard
    deviation of sqrt(2) s. Since s is estimated from few draws, the bound is Student's.
    """
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        moved = [
            view * (1 + EPSILON[precision] * generator.uniform(-1, 1, view.shape))
            for view in views
        ]
        draws.append(loss([view.astype(np.float32) for view in moved]))
    return STUDENT * 2**0.5 * float(np.std(draws, ddof=1))


@contextlib.contextmanager
def same_masks():
    """Gives dropout masks that do not depend on who compiles them, while traced.

    Seeds and random bits are the same uncompiled and compiled, but TensorFlow makes a
    uniform number of the low 23 bits of a word and XLA of the high ones: both are
    right, and the masks differ. Here they are made of the bits by arithmetic.
    """

    def dropout(x, rate, seed, noise_shape=None):
        shape = tf.shape(x) if noise_shape is None else noise_shape
        bits = tf.random.stateless_uniform(
            shape, seed, minval=None, maxval=None, dtype=tf.uint32
        )
        high = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), "int32")
        kept = tf.cast(high, tf.float32) * 2.0**-24 >= rate
        return tf.where(kept, x / tf.cast(1 - rate, x.dtype), tf.zeros((), x.dtype))

    with mock.patch.object(tf.nn.experimental, "stateless_dropout", dropout):
        yield


def main() -> int:
    """Prints the table; returns how many losses are further off than rounding goes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = [":".join(c) for c in itertools.product(METHODS, ENCODERS, EPSILON)]
    parser.add_argument(
        "cases",
        nargs="*",
        default=every,
        metavar="METHOD:ENCODER:PRECISION",
        help=f"of {', '.join(METHODS)}; {', '.join(ENCODERS)}; {', '.join(EPSILON)}",
    )
    cases = parser.parse_args().cases
    if not set(cases) <= set(every):
        parser.error(f"choose of {' '.join(every)}")
    print(
        f"TensorFlow {tf.__version__}, {os.cpu_count()} CPU cores, "
        f"{IMAGE_SIZE} px, batch {BATCH_SIZE}\n\n"
        f"{'method':8}{'encoder':14}{'precision':16}{'trace s':>8}{'compile s':>11}"
        f"{'uncompiled':>12}{'compiled':>12}{'difference':>12}{'tolerance':>12}"
        f"{'mispaired':>12}"
    )
    wrong = 0
    for case in cases:
        found = compare(*case.split(":"))
        wrong += not found.equal
        print(
            f"{found.method:8}{found.encoder:14}{found.precision:16}"
            f"{found.trace_seconds:8.1f}{found.compile_seconds:11.1f}"
            f"{found.plain:12.6f}{found.compiled:12.6f}{found.difference:12.1e}"
            f"{found.tolerance:12.1e}{abs(found.mispaired - found.plain):12.1e}"
            f"{'' if found.equal else '  NOT EQUAL'}",
            flush=True,
        )
        # Two dozen networks and their steps would stay in memory together.
        keras.backend.clear_session()
        gc.collect()
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(), 1))
