"""Images per second of the whole training step beside a bare forward and backward.

python benchmarks/train_step.py
python benchmarks/train_step.py --methods simclr --encoders resnet18:0.25:small_stride2
python benchmarks/train_step.py --data=cifar10 --data_dir=DIRECTORY

An image is one image of the batch, of which the network sees two views. Three things
are timed in turn, again and again in one process, so that a slow minute of the machine
hits them alike; the table shows medians:

  bare      forward and backward of the encoder alone on both views, loss = mean(h)
  step      the training step on views that are already there: model, loss, optimizer
  whole     the same with the input pipeline running beside it; input_pipeline.py times
            the pipeline alone
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf.config import EncoderConfig, make_plan
from selfsup_tf.data.pipeline import training_dataset
from selfsup_tf.distribution.strategy import connect
from selfsup_tf.methods import find_method
from selfsup_tf.training.optimizers import build_optimizer
from selfsup_tf.training.step import make_train_steps


def main() -> None:
    """Prints a row for each method, encoder and precision."""
    flags = _parse_flags()
    source = selfsup.open_source(flags.data, data_dir=flags.data_dir)
    devices = tf.config.list_logical_devices("GPU") or ["CPU"]
    print(
        f"{flags.data}, {flags.image_size} px, batch {flags.batch_size}, "
        f"{os.cpu_count()} CPU cores, device {devices[0]}; images/s\n"
    )
    print(
        f"{'method':8}{'encoder':30}{'precision':16}"
        f"{'bare':>8}{'step':>8}{'whole':>8}{'step/bare':>11}"
    )
    for method in flags.methods:
        for encoder in flags.encoders:
            for precision in flags.precisions:
                _row(source, flags, method, encoder, precision)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--data_dir")
    parser.add_argument("--image_size", default=32, type=int)
    parser.add_argument("--batch_size", default=256, type=int)
    parser.add_argument("--methods", nargs="+", default=["simclr", "byol"])
    parser.add_argument(
        "--encoders",
        nargs="+",
        default=["resnet18:0.25:small_stride2"],
        help="NAME:WIDTH:STEM",
    )
    parser.add_argument(
        "--precisions", nargs="+", default=["float32", "mixed_bfloat16"]
    )
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--steps", default=5, type=int, help="steps in a timing")
    return parser.parse_args()


def _row(source, flags, name, encoder, precision):
    network, width, stem = encoder.split(":")
    package = find_method(name)
    config = package.recipe("cifar10_cpu")(
        encoder=EncoderConfig(name=network, width=float(width), stem=stem),
        image_size=flags.image_size,
        batch_size=flags.batch_size,
        precision=precision,
        epochs=1000.0,
    )
    plan = make_plan(config, source.size)
    strategy = connect(config)
    with strategy.scope():
        method = package.load()(config)
        method.build()
        optimizer = build_optimizer(config.optimizer, plan, method.trainable_variables)
        train_steps = make_train_steps(method, optimizer, plan)
    dataset = training_dataset(source, config, total_steps=plan.total_steps)
    batches = iter(strategy.experimental_distribute_dataset(dataset))
    batch = next(iter(dataset))
    constant = tf.data.Dataset.from_tensors(batch).repeat()
    constant = iter(strategy.experimental_distribute_dataset(constant))
    bare = _bare_step(method.encoder, strategy)
    first, count = tf.constant(0, tf.int64), tf.constant(flags.steps)

    def train(iterator):
        with strategy.scope():
            return train_steps(iterator, first, count)["train/loss"].numpy()

    timings = {
        "bare": lambda: [bare(batch).numpy() for _ in range(flags.steps)],
        "step": lambda: train(constant),
        "whole": lambda: train(batches),
    }
    speeds = {key: [] for key in timings}
    for attempt in range(flags.rounds + 1):
        for key, run in timings.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            if attempt:  # the first traces and warms up
                speeds[key].append(flags.steps * flags.batch_size / seconds)
    median = {key: statistics.median(values) for key, values in speeds.items()}
    ratio = statistics.median(
        s / b for s, b in zip(speeds["step"], speeds["bare"], strict=True)
    )
    print(
        f"{name:8}{encoder:30}{precision:16}{median['bare']:8.0f}{median['step']:8.0f}"
        f"{median['whole']:8.0f}{ratio:11.2f}",
        flush=True,
    )


def _bare_step(encoder, strategy):
    variables = encoder.trainable_variables

    @tf.function
    def forward_backward(views):
        with tf.GradientTape() as tape:
            h = encoder(views, training=True)
            loss = tf.reduce_mean(h)
        gradients = tape.gradient(loss, [v.value for v in variables])
        # The sum keeps every gradient from being optimised away.
        return tf.add_n([tf.reduce_sum(g) for g in gradients])

    @tf.function
    def bare(batch):
        views = tf.concat([batch["view_1"], batch["view_2"]], axis=0)
        result = strategy.run(forward_backward, args=(views,))
        return strategy.experimental_local_results(result)[0]

    return bare


if __name__ == "__main__":
    main()
