"""Write an encoder as SavedModel and TFLite, each compared with the original.

python export.py --run_dir=runs/a
python export.py --run_dir=runs/a --formats saved_model tflite_int8
python export.py --run_dir=runs/a --directory=exported --overwrite=True
python export.py --help
"""

from selfsup_tf import cli

if __name__ == "__main__":
    cli.export()
