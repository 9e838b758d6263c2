"""Tell how good an encoder is.

python eval.py knn --run_dir=runs/a
python eval.py linear --run_dir=runs/a
python eval.py report --run_dir=runs/a
python eval.py neighbours --run_dir=runs/a             a picture
python eval.py knn --run_dir=runs/a --data=~/labelled  on other images
python eval.py --help
"""

from selfsup_tf import cli

if __name__ == "__main__":
    cli.evaluate()
