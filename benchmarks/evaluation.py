"""What an evaluation costs beside the work that it can't do without.

python benchmarks/evaluation.py
python benchmarks/evaluation.py --only knn --rounds 5

  knn        k-NN of Q queries in N images, D dimensions, beside the bare matrix product
             of the same float32 arrays in the same pieces, and its memory beyond them
  features   representations of uint8 images in memory, images in and arrays out, beside
             `encoder.predict` on views that are float32 already
  panel      the health panel of a run, beside the training between two of its visits

The two of a row take turns in one process; the ratio is the median of the turns'. Each
part has a process of its own.
"""

import argparse
import multiprocessing
import os
import pathlib
import re
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import selfsup_tf as selfsup
import simclr_tf
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.evaluation.features import compile_network, extract_features
from selfsup_tf.evaluation.measures import monitor
from selfsup_tf.evaluation.measures.knn import MAX_SIMILARITIES, knn_votes
from selfsup_tf.models.encoders import build_encoder


def main() -> None:
    """Prints what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--queries", default=10_000, type=int)
    parser.add_argument("--bank", default=50_000, type=int)
    parser.add_argument("--features", default=2048, type=int)
    parser.add_argument("--images", default=10_000, type=int)
    parser.add_argument("--steps", default=60, type=int, help="of the run with a panel")
    flags = parser.parse_args()
    print(f"{os.cpu_count()} CPU cores, float32, TensorFlow {tf.__version__}")
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool:
        for name in [flags.only] if flags.only else PARTS:
            print(f"\n{pool.apply(PARTS[name], (flags,))}", flush=True)


def _knn(flags: argparse.Namespace) -> str:
    random = np.random.default_rng(0)
    bank = random.standard_normal((flags.bank, flags.features), np.float32)
    queries = random.standard_normal((flags.queries, flags.features), np.float32)
    labels = random.integers(0, 10, flags.bank)
    rows = max(64, MAX_SIMILARITIES // flags.bank)

    def product():
        right = tf.convert_to_tensor(bank)
        for start in range(0, flags.queries, rows):
            left = tf.convert_to_tensor(queries[start : start + rows])
            tf.matmul(left, right, transpose_b=True)

    def vote():
        knn_votes(bank, labels, queries, k=200, temperature=0.1, num_classes=10)

    # Traced and warm before anything is counted.
    knn_votes(bank[:300], labels[:300], queries[:9], k=200, num_classes=10)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is
    before = _status("VmRSS")
    vote()
    megabytes = (_status("VmHWM") - before) / 1024
    bare, whole, ratio = _turns(product, vote, flags.rounds)
    return (
        f"knn: {flags.queries} queries, {flags.bank} images, {flags.features} "
        f"dimensions, k 200\nmatrix product {bare:.2f} s, k-NN {whole:.2f} s, "
        f"ratio {ratio:.2f}, {megabytes:.0f} MB beyond the features"
    )


def _features(flags: argparse.Namespace) -> str:
    config = simclr_tf.recipes.cifar10_cpu()
    encoder = build_encoder(config.encoder, config.image_size)
    images = make_shapes("train", size=min(flags.images, 8000))[0]
    source = open_source(images)
    views = images.astype(np.float32) / 255
    encode = compile_network(encoder)

    def predict():
        encoder.predict(views, batch_size=256, verbose=0)

    def extract():
        extract_features(encoder, source, batch_size=256, encode=encode)

    predict()
    extract()
    bare, whole, ratio = _turns(predict, extract, flags.rounds)
    count = len(images)
    return (
        f"features: {count} images of 32 px, ResNet-18 of width 1/4, batch 256\n"
        f"encoder.predict {count / bare:.0f} images/s, extract_features "
        f"{count / whole:.0f} images/s, rate {1 / ratio:.2f} of predict's"
    )


def _panel(flags: argparse.Namespace) -> str:
    spent = []
    visit = monitor.HealthPanel.__call__

    def timed(self, *arguments):
        start = time.perf_counter()
        scores = visit(self, *arguments)
        spent.append((time.perf_counter() - start, self.count))
        return scores

    monitor.HealthPanel.__call__ = timed
    # Three visits; the first also traces, draws the views, and is left out, as is the
    # training before it.
    images = make_shapes("train", size=8000)[0]
    epochs = flags.steps / (len(images) // 256)
    config = simclr_tf.recipes.cifar10_cpu(
        data="shapes",
        epochs=None,
        steps=3 * flags.steps,
        knn_epochs=epochs,
        checkpoint_epochs=1000.0,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = selfsup.train(
            simclr_tf.SimCLR(config), images, run_dir=f"{folder}/run", progress=False
        )
    steps = [r for r in run.log if r["step"] > flags.steps]
    training = sum(
        10 * config.batch_size / record["train/images_per_second"] for record in steps
    )
    panel = sum(seconds for seconds, _ in spent[1:])
    return (
        f"panel: {spent[0][1]} images every {flags.steps} steps of "
        f"{config.batch_size}, SimCLR, ResNet-18 of width 1/4, 32 px\n"
        f"training {training:.1f} s, panel {panel:.2f} s, "
        f"{100 * panel / training:.2f} % (its first visit, with tracing and the "
        f"drawing of views, {spent[0][0]:.2f} s once a run)"
    )


PARTS = {"knn": _knn, "features": _features, "panel": _panel}


def _turns(bare, whole, rounds: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the turns' whole / bare."""
    seconds = []
    for _ in range(rounds):
        turn = []
        for run in (bare, whole):
            start = time.perf_counter()
            run()
            turn.append(time.perf_counter() - start)
        seconds.append(turn)
    ratios = [second / first for first, second in seconds]
    return (
        *map(statistics.median, zip(*seconds, strict=True)),
        statistics.median(ratios),
    )


def _status(key: str) -> int:
    """In KiB."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s*(\d+) kB", text)[1])


if __name__ == "__main__":
    main()
