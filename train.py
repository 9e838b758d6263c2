"""Learn an encoder from unlabelled images.

python train.py                                        lists the methods
python train.py simclr                                 lists SimCLR's recipes
python train.py simclr shapes --run_dir=runs/shapes
python train.py simclr cifar10_cpu --run_dir=runs/a    the same again resumes
python train.py byol folder --data=~/photos --run_dir=runs/photos
python train.py simclr cifar10 --help                  every flag, with its default
python train.py prepare --data=~/photos --output=small writes large images once, resized
"""

from selfsup_tf import cli

if __name__ == "__main__":
    cli.train()
