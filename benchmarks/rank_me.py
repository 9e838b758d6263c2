"""Whether RankMe, which needs no labels, ranks encoders as a linear probe does.

python benchmarks/rank_me.py runs/a runs/b runs/c --data_dir=~/tfds

For each run: RankMe of h and of z, k-NN and linear accuracy on its own data; then
Spearman's rank correlation of each with the linear accuracy over all runs, and over the
runs of each method. A network that no training has touched stands below the table and
is in no correlation.

Reference: Garrido et al. 2023, "RankMe: assessing the downstream performance of
pretrained self-supervised representations by their rank", section 4.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import scipy.stats

import selfsup_tf as selfsup
from selfsup_tf.models.untrained import untrained_copy
from selfsup_tf.run import RunDirectory

COLUMNS = ("RankMe h", "RankMe z", "uniformity", "alignment", "k-NN", "linear")


def main() -> None:
    """Prints a row for each run, and the correlations."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--data_dir")
    parser.add_argument("--count", default=4096, type=int, help="images for RankMe")
    flags = parser.parse_args()
    print(f"{'run':28}{'method':9}" + "".join(f"{c:>11}" for c in COLUMNS))
    rows = []
    for run in flags.runs:
        config = selfsup.load_config(run)
        data_dir = flags.data_dir or config.data_dir
        encoder = selfsup.load_encoder(run)
        row = _measure(encoder, run, config, data_dir, flags.count)
        rows.append((config.method, row))
        _print(run.name, config.method, row)
    fresh = untrained_copy(encoder)
    _print("untrained", "", _measure(fresh, None, config, data_dir, flags.count))
    methods = sorted({method for method, _ in rows})
    for kind in ("all", *methods):
        chosen = [row for method, row in rows if kind in ("all", method)]
        if len(chosen) < 3:
            continue
        print(f"\nSpearman's correlation with linear, {len(chosen)} runs of {kind}:")
        for column in COLUMNS[:-1]:
            one = [row[column] for row in chosen]
            found = scipy.stats.spearmanr(one, [row["linear"] for row in chosen])
            print(f"  {column:12}{found.statistic:+.2f}")


def _measure(encoder, run, config, data_dir, count) -> dict[str, float]:
    source = selfsup.open_source(config.data, data_dir=data_dir)
    train, test = selfsup.open_evaluation(config.data, data_dir=data_dir)
    directory = run and RunDirectory(run)
    cache = directory and directory.features
    projector = None
    if directory and directory.kept("projector").is_file():
        projector = selfsup.load_network(run, "projector")
    health = selfsup.health(
        encoder, source, config=config, projector=projector, count=count
    )
    z = health.projection
    return {
        "RankMe h": health.representation.rank_me,
        "RankMe z": float("nan") if z is None else z.rank_me,
        "uniformity": health.representation.uniformity,
        "alignment": health.representation.alignment,
        "k-NN": 100 * selfsup.knn(encoder, train, test, cache=cache).top_1,
        "linear": 100 * selfsup.linear_probe(encoder, train, test, cache=cache).top_1,
    }


def _print(name: str, method: str, row: dict[str, float]) -> None:
    cells = "".join(f"{row[column]:11.2f}" for column in COLUMNS)
    print(f"{name:28}{method:9}{cells}", flush=True)


if __name__ == "__main__":
    main()
