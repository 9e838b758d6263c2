"""Brings a checkpoint of google-research/simclr into a run directory of its own.

python -m simclr_tf r50_1x_sk0/saved_model --run_dir=runs/google
python eval.py linear --run_dir=runs/google --data=~/photos
python train.py finetune folder --pretrained=runs/google --data=~/photos
python export.py --run_dir=runs/google --data=~/photos
"""

import dataclasses

from selfsup_tf import cli
from selfsup_tf.errors import check
from selfsup_tf.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Imports the encoder and the projection head of a checkpoint, TensorFlow 2.

    See docs/import.md for the forms that are taken.
    """

    checkpoint: cli.Positional[str]
    """A SavedModel, a directory of checkpoints, or the prefix of one."""
    run_dir: str
    """A new directory, for encoder.keras and projector.keras."""
    image_size: int | None = None
    """Height and width of the encoder's input; 224, or 32 for the stem of CIFAR."""
    projector: bool = True
    """Whether the projection head is taken too, where there is one."""


def main() -> None:
    """Parses the command line and imports."""
    with cli.friendly():
        flags = cli.parse_flags(Arguments, "python -m simclr_tf", None)
        run = RunDirectory(flags.run_dir)
        folder = run.path
        there = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
        check(
            run.file is None and not there,
            "run_dir to be new or empty",
            flags.run_dir,
            "Choose another place.",
        )
        cli.import_tensorflow()
        from simclr_tf.checkpoints import import_simclr

        imported = import_simclr(
            flags.checkpoint, image_size=flags.image_size, projector=flags.projector
        )
        run.write_network(imported.encoder, "encoder")
        config, numbers = imported.encoder_config, imported.encoder.count_params()
        print(
            f"{config.name}, width {config.width:g}, sk_ratio {config.sk_ratio:g}, "
            f"se_ratio {config.se_ratio:g}: {numbers:,} numbers in "
            f"{run.kept('encoder')}"
        )
        if imported.projector is not None:
            run.write_network(imported.projector, "projector")
            print(
                f"projection head: {imported.projector.count_params():,} numbers in "
                f"{run.kept('projector')}"
            )
        print(f"{len(imported.unused)} variables of the checkpoint are not needed:")
        for name in imported.unused:
            print(f"  {name}")


if __name__ == "__main__":
    main()
