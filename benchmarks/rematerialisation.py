"""Time and memory of a gradient, with and without rematerialisation.

python benchmarks/rematerialisation.py
python benchmarks/rematerialisation.py --cases resnet18:0.25:small_stride2:32:256

A case is NAME:WIDTH:STEM:IMAGE_SIZE:BATCH_SIZE. Forward and backward of SimCLR's model
on two views of random images, each way in processes of its own, both ways in turn.
Seconds are medians over all steps but the first of a process. Memory is that of the
first step, since TensorFlow keeps what it once had: the most that the process holds,
less what it holds after a step on two images; the median over processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

CASES = ("resnet50:1.0:imagenet:64:64", "resnet18:0.25:small_stride2:32:256")


def main() -> None:
    """Prints a row for each case and precision."""
    flags = _parse_flags()
    if flags.way:
        print(json.dumps(_measure(flags)))
        return
    print(f"{os.cpu_count()} CPU cores; plain, rematerialised, and their ratio\n")
    print(f"{'encoder':40}{'precision':16}{'s/step':>21}{'MiB':>25}")
    for case in flags.cases:
        for precision in flags.precisions:
            _row(flags, case, precision)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--steps", default=4, type=int, help="steps of a process")
    parser.add_argument("--rounds", default=2, type=int, help="processes of each way")
    parser.add_argument("--way", choices=["plain", "again"], help=argparse.SUPPRESS)
    return parser.parse_args()


def _row(flags, case, precision):
    results = {"plain": [], "again": []}
    for _ in range(flags.rounds):
        for way, found in results.items():
            command = [sys.executable, __file__, "--way", way, "--cases", case]
            command += ["--precisions", precision, "--steps", str(flags.steps)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    cells = []
    for key, digits in (("seconds", 2), ("mebibytes", 0)):
        plain, again = (
            statistics.median(value for found in results[way] for value in found[key])
            for way in ("plain", "again")
        )
        cells.append(f"{plain:9.{digits}f}{again:9.{digits}f}{again / plain:7.2f}")
    print(f"{case:40}{precision:16}{''.join(cells)}", flush=True)


def _measure(flags):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from selfsup_tf.config import EncoderConfig
    from selfsup_tf.methods import find_method
    from selfsup_tf.models.rematerialisation import rematerialised

    ((network, width, stem, size, batch),) = (c.split(":") for c in flags.cases)
    package = find_method("simclr")
    config = package.recipe("cifar10_cpu")(
        encoder=EncoderConfig(name=network, width=float(width), stem=stem),
        image_size=int(size),
        batch_size=int(batch),
        precision=flags.precisions[0],
    )
    method = package.load()(config)
    method.build()
    model = rematerialised(method.model) if flags.way == "again" else method.model
    weights = [v.value for v in method.trainable_variables]
    shape = (int(size), int(size), 3)
    views = {f"view_{i}": tf.random.uniform((int(batch), *shape)) for i in (1, 2)}
    any_batch = {name: tf.TensorSpec((None, *shape)) for name in views}

    @tf.function(input_signature=[any_batch])
    def step(views):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = tf.reduce_mean(method.compute_loss(model(views, training=True)))
        gradients = tape.gradient(loss, weights)
        # The sum keeps every gradient from being optimised away.
        return tf.add_n([tf.reduce_sum(g) for g in gradients])

    step({name: view[:2] for name, view in views.items()}).numpy()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # VmHWM starts again from what is held now
    rest, seconds = _status("VmRSS"), []
    for _ in range(flags.steps):
        start = time.perf_counter()
        step(views).numpy()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:], "mebibytes": [_status("VmHWM") - rest]}


def _status(key):
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
