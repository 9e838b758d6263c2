"""All methods after equal CPU time on CIFAR-10: k-NN and linear accuracy.

python benchmarks/methods.py --data_dir=DIRECTORY --output=runs/methods
python benchmarks/methods.py --data_dir=DIRECTORY --output=runs/methods --methods dino

Each method's recipe `cifar10_cpu` is trained for as many steps as --minutes of
processor time pay for, over all cores, its schedules over these steps. What a step
costs is measured first, in --rounds in which each method has its turn, and the least of
a method counts: a machine that others use makes a step dearer, never cheaper. The table
says what the rounds found. What comes then may be as slow as it likes. A method whose
results are there already is not run again; other --minutes want another --output.

Minutes rank how fast a method learns at the beginning, on a narrow network and a small
batch, and not the methods.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from peers.kept import keep, known

from selfsup_tf.config import to_dict
from selfsup_tf.files import read_json
from selfsup_tf.methods import find_method, list_methods

ROOT = pathlib.Path(__file__).parents[1]


def main() -> None:
    """Trains, judges and prints the table."""
    flags = _parse_flags()
    if flags.cost_of:
        print(json.dumps(_cost(flags.cost_of, flags)))
        return
    several = (n for n in list_methods() if find_method(n).config_class.num_views != 1)
    names = flags.methods or [
        n for n in several if "cifar10_cpu" in find_method(n).recipes
    ]
    costs = _costs(names, flags)
    for name in names:
        _run(name, costs[name], flags)
    print(f"\n{flags.minutes:g} minutes of processor time, {os.cpu_count()} cores\n")
    print("| method | epochs | images a processor second (median)", end=" ")
    print("| k-NN (200, .1) | untrained | linear (L-BFGS) |\n|---|---|---|---|---|---|")
    for name in sorted(names, key=lambda name: -_accuracy(flags.output / name)):
        folder = flags.output / name
        cells = [_cell(folder, protocol) for protocol in ("knn", "linear")]
        cost = costs[name]
        speeds = [cost["batch_size"] / seconds for seconds in cost["seconds"]]
        epochs = 60 * flags.minutes * max(speeds) / cost["images"]
        speed = f"{max(speeds):.0f} ({statistics.median(speeds):.0f})"
        title = find_method(name).title
        print(f"| {title} | {epochs:.1f} | {speed} | {' | '.join(cells)} |")


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", help="where TFDS keeps CIFAR-10")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--minutes", default=10.0, type=float)
    parser.add_argument("--rounds", default=4, type=int, help="of measuring a step")
    parser.add_argument(
        "--methods", nargs="+", help="all that learn from several views"
    )
    parser.add_argument("--cost_of", help=argparse.SUPPRESS)  # in a process of its own
    return parser.parse_args()


def _data(flags: argparse.Namespace) -> list[str]:
    return [f"--data_dir={flags.data_dir}"] if flags.data_dir else []


def _costs(names: list[str], flags: argparse.Namespace) -> dict[str, dict]:
    """What `_cost` gives in each round; a run that was stopped keeps what it found."""
    costs = {}
    for name in names:
        file = flags.output / f"{name}.json"
        costs[name] = known(file, _asked(name)) or {"seconds": []}
    for turn in range(flags.rounds):
        for name, cost in costs.items():
            if len(cost["seconds"]) > turn:
                continue
            own = [__file__, f"--output={flags.output}", *_data(flags)]
            said = subprocess.run(
                [sys.executable, *own, f"--cost_of={name}"],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found = json.loads(said.stdout.splitlines()[-1])
            cost["seconds"].append(found.pop("seconds"))
            cost.update(found)
            keep(flags.output / f"{name}.json", _asked(name), cost)
            print(f"{name}: {cost['seconds'][-1]:.3f} s a step", flush=True)
    return costs


def _run(name: str, cost: dict, flags: argparse.Namespace) -> None:
    folder = flags.output / name
    steps = round(60 * flags.minutes / min(cost["seconds"]))
    if (folder / "eval" / "linear.json").is_file():
        stored = read_json(folder / "config.json")["steps"]
        if stored != steps:
            raise SystemExit(f"{folder} has {stored} steps, not {steps}: remove it.")
        return
    run_dir = f"--run_dir={folder}"
    length = ["--epochs=None", f"--steps={steps}", "--knn_epochs=100"]
    for program, *words in (
        ("train.py", name, "cifar10_cpu", *length),
        ("eval.py", "knn"),
        ("eval.py", "linear", "--untrained=False"),
    ):
        command = [sys.executable, str(ROOT / program), *words, run_dir, *_data(flags)]
        print("$", *command[1:], flush=True)
        subprocess.run(command, check=True)


def _asked(name: str) -> dict:
    return to_dict(find_method(name).recipe("cifar10_cpu")())


def _cost(name: str, flags: argparse.Namespace) -> dict[str, float]:
    """The processor's time of a step, of the input pipeline's too, in seconds.

    The least of four times ten steps.
    """
    import tensorflow as tf

    import selfsup_tf as selfsup
    from selfsup_tf.config import make_plan
    from selfsup_tf.distribution.strategy import connect
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
        found = []
        for first in range(10, 50, 10):
            start = time.process_time()
            train(first, 10)
            found.append((time.process_time() - start) / 10)
    images = plan.steps_per_epoch * config.batch_size
    return {"seconds": min(found), "batch_size": config.batch_size, "images": images}


def _accuracy(folder: pathlib.Path) -> float:
    return read_json(folder / "eval" / "knn.json")["rows"][0]["value"]


def _cell(folder: pathlib.Path, protocol: str) -> str:
    row = read_json(folder / "eval" / f"{protocol}.json")["rows"][0]
    low, high = (100 * value for value in row["interval"])
    beside = row["beside"].get("untrained") if protocol == "knn" else None
    untrained = f" | {100 * beside['value']:.2f} %" if beside else ""
    return f"{100 * row['value']:.2f} % ({low:.1f} to {high:.1f}){untrained}"


if __name__ == "__main__":
    main()
