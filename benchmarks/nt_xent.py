"""Time and memory of NT-Xent, all logits at once beside tile by tile.

python benchmarks/nt_xent.py
python benchmarks/nt_xent.py --sizes 4096 8192 --rounds 9

Forward and backward of the mean loss of N images, 2 N anchors and as many candidates,
float32, temperature 0.1. The columns:

  s         median seconds; plain and tiled take turns in one process
  ratio     median of the turns' tiled / plain
  CPU       the same of the seconds that all cores together spent, which other
            programs on the machine disturb less
  MB        the most resident memory while it first runs beyond what was resident
            before, with the projections made and TensorFlow warm: the gradients, the
            normalised projections and all else included. A process of its own each

Plain stands as "-" where it would take more than --limit_gib. The tile is the one that
`log_sum_exp` chooses by itself, or a quarter of the candidates where it chooses none.
"""

import argparse
import multiprocessing
import os
import pathlib
import re
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from simclr_tf.log_sum_exp import TILE_LOGITS
from simclr_tf.loss import nt_xent_loss

PLAIN_COPIES = 3
"""Of the logits, that plain holds at its peak."""


def main() -> None:
    """Prints a row for each size."""
    flags = _parse_flags()
    print(f"D = {flags.features}, {os.cpu_count()} CPU cores, float32\n")
    print(
        f"{'2N':>8}{'tile':>7}{'plain s':>10}{'tiled s':>10}{'ratio':>8}{'CPU':>7}"
        f"{'plain MB':>11}{'tiled MB':>11}"
    )
    # Each measurement in a process of its own: the first is not the second's warm-up.
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool:
        for size in flags.sizes:
            tiles = {"tiled": min(TILE_LOGITS // size, size // 4)}
            if PLAIN_COPIES * 4 * size**2 <= flags.limit_gib * 2**30:
                tiles["plain"] = size
            megabytes = {
                form: pool.apply(_megabytes, (size, flags.features, tile))
                for form, tile in tiles.items()
            }
            seconds = pool.apply(_seconds, (size, flags, tiles))
            _print_row(size, tiles, seconds, megabytes)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[2**n for n in range(10, 17)]
    )
    parser.add_argument("--features", default=128, type=int)
    parser.add_argument("--rounds", default=7, type=int)
    parser.add_argument(
        "--seconds", default=60.0, type=float, help="no new round after these"
    )
    parser.add_argument("--limit_gib", default=8.0, type=float)
    return parser.parse_args()


def _forward_backward(size, features, tile):
    """A function without arguments that computes the gradients, compiled as a graph."""
    views = tf.random.stateless_normal([2, size // 2, features], [1, 2])

    @tf.function
    def step(view_1, view_2):
        with tf.GradientTape() as tape:
            tape.watch([view_1, view_2])
            loss = tf.reduce_mean(nt_xent_loss(view_1, view_2, 0.1, tile=tile))
        return tape.gradient(loss, [view_1, view_2])

    inputs = tuple(tf.unstack(views))
    return lambda: [gradient.numpy() for gradient in step(*inputs)]


def _megabytes(size, features, tile):
    _forward_backward(64, features, 16)()
    run = _forward_backward(size, features, tile)
    # Makes the peak what is resident now.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(key):
    """In KiB."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s*(\d+) kB", text)[1])


def _seconds(size, flags, tiles):
    """Pairs (seconds, seconds of CPU) for each form, one a round."""
    runs = {
        form: _forward_backward(size, flags.features, tile)
        for form, tile in tiles.items()
    }
    seconds = {form: [] for form in tiles}
    end = time.perf_counter() + flags.seconds
    for attempt in range(flags.rounds + 1):
        if attempt > 1 and time.perf_counter() > end:
            break
        for form, run in runs.items():
            start = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - start[0], time.process_time() - start[1]
            if attempt:  # the first traces and warms up
                seconds[form].append(spent)
    return seconds


def _print_row(size, tiles, seconds, megabytes):
    def cell(values, form, width, digits):
        if form not in values:
            return f"{'-':>{width}}"
        return f"{values[form]:{width}.{digits}f}"

    shown = {
        form: statistics.median(wall for wall, _ in pairs)
        for form, pairs in seconds.items()
    }
    if "plain" in seconds:
        for i, ratio in enumerate(("ratio", "CPU")):
            rounds = zip(seconds["tiled"], seconds["plain"], strict=True)
            shown[ratio] = statistics.median(t[i] / p[i] for t, p in rounds)
    print(
        f"{size:8}{tiles['tiled']:7}{cell(shown, 'plain', 10, 3)}"
        f"{cell(shown, 'tiled', 10, 3)}{cell(shown, 'ratio', 8, 2)}"
        f"{cell(shown, 'CPU', 7, 2)}"
        f"{cell(megabytes, 'plain', 11, 0)}{cell(megabytes, 'tiled', 11, 0)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
