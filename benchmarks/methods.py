"""All methods after equal CPU time on CIFAR-10: k-NN and linear accuracy.

python benchmarks/methods.py --data_dir=DIRECTORY --output=runs/methods
python benchmarks/methods.py --data_dir=DIRECTORY --output=runs/methods --methods dino

Each method's recipe `cifar10_cpu` is trained for as many steps as --minutes of all
cores pay for, its schedules over these steps. What a step costs is measured first, in
the processor's time of a process and not on the clock, so that other work on the
machine takes nothing from anybody. A method whose results are there already is not run
again.

Minutes rank how fast a method learns at the beginning, on a narrow network and a small
batch, and not the methods.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]


def main() -> None:
    """Trains, judges and prints the table."""
    flags = _parse_flags()
    if flags.cost_of:
        print(json.dumps(_cost(flags.cost_of, flags)))
        return
    from selfsup_tf.methods import find_method, list_methods

    several = (n for n in list_methods() if find_method(n).config_class.num_views != 1)
    names = flags.methods or [
        n for n in several if "cifar10_cpu" in find_method(n).recipes
    ]
    for name in names:
        _run(name, flags)
    cores = os.cpu_count()
    print(f"\n{flags.minutes:g} minutes of {cores} cores, in the processor's time\n")
    print("| method | epochs | images/s | k-NN | untrained | linear |")
    print("|---|---|---|---|---|---|")
    for name in names:
        folder = flags.output / name
        cost = json.loads((flags.output / f"{name}.json").read_text())
        cells = [_cell(folder, protocol) for protocol in ("knn", "linear")]
        speed = cost["batch_size"] / cost["seconds"] * cores
        epochs = 60 * flags.minutes * speed / cost["images"]
        title = find_method(name).title
        print(f"| {title} | {epochs:.1f} | {speed:.0f} | {' | '.join(cells)} |")


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", help="where TFDS keeps CIFAR-10")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--minutes", default=10.0, type=float)
    parser.add_argument(
        "--methods", nargs="+", help="all that learn from several views"
    )
    parser.add_argument("--cost_of", help=argparse.SUPPRESS)  # in a process of its own
    return parser.parse_args()


def _run(name: str, flags: argparse.Namespace) -> None:
    folder = flags.output / name
    data = [f"--data_dir={flags.data_dir}"] if flags.data_dir else []
    if (folder / "eval" / "linear.json").is_file():
        return
    known = flags.output / f"{name}.json"
    if not known.is_file():  # a run that was stopped goes on for as long
        own = [__file__, f"--output={flags.output}", *data, f"--cost_of={name}"]
        said = subprocess.run(
            [sys.executable, *own], check=True, stdout=subprocess.PIPE, text=True
        )
        flags.output.mkdir(parents=True, exist_ok=True)
        known.write_text(said.stdout.splitlines()[-1])
    cost = json.loads(known.read_text())
    steps = round(60 * flags.minutes * os.cpu_count() / cost["seconds"])
    run_dir = f"--run_dir={folder}"
    length = ["--epochs=None", f"--steps={steps}", "--knn_epochs=100"]
    for program, *words in (
        ("train.py", name, "cifar10_cpu", *length),
        ("eval.py", "knn"),
        ("eval.py", "linear", "--untrained=False"),
    ):
        command = [sys.executable, str(ROOT / program), *words, run_dir, *data]
        print("$", *command[1:], flush=True)
        subprocess.run(command, check=True)


def _cost(name: str, flags: argparse.Namespace) -> dict[str, float]:
    """The processor's time of a step, of the input pipeline's too, in seconds."""
    import tensorflow as tf

    import selfsup_tf as selfsup
    from selfsup_tf.config import make_plan
    from selfsup_tf.distribution.strategy import connect
    from selfsup_tf.methods import find_method
    from selfsup_tf.training.step import build, distributed_batches, make_train_steps

    package = find_method(name)
    config = package.recipe("cifar10_cpu")(data_dir=flags.data_dir)
    source = selfsup.open_source(config.data, data_dir=flags.data_dir)
    plan = make_plan(config, source.size - config.held_out)
    strategy = connect(config)
    with strategy.scope():
        method = package.load()(config)
        optimizer = build(method, plan)
        train_steps = make_train_steps(method, optimizer, plan)
        batches = distributed_batches(strategy, source, method, plan)

        def train(first, count):
            arguments = tf.constant(first, tf.int64), tf.constant(count)
            train_steps(batches, *arguments)["train/loss"].numpy()

        train(0, 10)  # traces and warms up
        start = time.process_time()
        train(10, 40)
        seconds = (time.process_time() - start) / 40
    images = plan.steps_per_epoch * config.batch_size
    return {"seconds": seconds, "batch_size": config.batch_size, "images": images}


def _cell(folder: pathlib.Path, protocol: str) -> str:
    stored = json.loads((folder / "eval" / f"{protocol}.json").read_text())
    row = stored["rows"][0]
    low, high = (100 * value for value in row["interval"])
    beside = row["beside"].get("untrained") if protocol == "knn" else None
    untrained = f" | {100 * beside['value']:.2f} %" if beside else ""
    return f"{100 * row['value']:.2f} % ({low:.1f} to {high:.1f}){untrained}"


if __name__ == "__main__":
    main()
