"""The whole way in minutes on a laptop: images in, a proven encoder out.

python examples/demo.py --run_dir=runs/demo

Pretrains SimCLR on the built-in shapes without their labels, judges the encoder beside
the same network untrained, exports it, proves the exports and puts all of it on a page.
Run again, it resumes or, when the run is finished, only repeats what follows the
training.
"""

import argparse
import logging
import pathlib
import time

import selfsup_tf as selfsup
import simclr_tf


def main() -> None:
    """Runs the demo and prints what it measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run_dir", default="runs/demo", type=pathlib.Path)
    parser.add_argument("--epochs", default=simclr_tf.recipes.shapes().epochs, type=int)
    flags = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("selfsup_tf").setLevel(logging.INFO)
    run_dir = flags.run_dir

    config = simclr_tf.recipes.shapes(epochs=flags.epochs)
    images = selfsup.open_source("shapes")
    started = time.perf_counter()
    run = selfsup.train(simclr_tf.SimCLR(config), "shapes", run_dir=run_dir)
    minutes = (time.perf_counter() - started) / 60

    for protocol, options in PROTOCOLS.items():
        print()
        selfsup.run_protocol(protocol, run_dir=str(run_dir), **options)
    train, test = selfsup.open_evaluation("shapes")
    exported = selfsup.export(
        run.encoder,
        run_dir / "export",
        images=test,
        training_images=train,
        overwrite=True,
    )
    selfsup.write_report(run_dir)

    print(f"\nTrained for {minutes:.1f} minutes on {images.size} images, no labels.\n")
    print(exported)
    print("\nWhere everything lies:")
    for name, what in WRITTEN.items():
        print(f"  {run_dir / name!s:34} {what.format(run_dir)}")


# Of 800 images a class, the nearest 20 say more than the nearest 200.
PROTOCOLS = {
    "knn": {"k": 20},
    "linear": {},
    "health": {},
    "neighbours": {},
    "map": {},
    "views": {},
}

WRITTEN = {
    "config.json": "what the run was made with",
    "log.jsonl": "loss, rate, spread, speed, step by step",
    "tensorboard": "the same as curves: tensorboard --logdir={0}/tensorboard",
    "checkpoints": "to resume from",
    "encoder.keras": "the encoder",
    "report.html": "all of it on one page: open it in a browser",
    "eval/views.png": "what the encoder learned from",
    "eval/knn_k=20.json": "k-NN accuracy",
    "eval/linear.json": "linear-probe accuracy",
    "eval/health.json": "whether it has collapsed, without labels",
    "eval/neighbours.png": "test images and their nearest neighbours",
    "eval/map.png": "test images by what the encoder takes to be alike",
    "export": "SavedModel, three TFLite files, MODEL_CARD.md, manifest",
}


if __name__ == "__main__":
    main()
