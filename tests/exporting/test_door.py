"""A format of one's own: two files in a folder on the path, and nothing else edited."""

import json
import os
import textwrap

import keras
import numpy as np

from selfsup_tf.data.sources.shapes import make_shapes

FORMAT = '''
"""The encoder as its weights: for programs that need NumPy alone."""

import pathlib

from selfsup_tf.exporting.format import Format, Threshold


class Dummy(Format):
    """An .npz file of a mean over the pixels and a dense layer upon it."""

    word = "dummy"
    file = "encoder.npz"
    probe = pathlib.Path(__file__).parents[1] / "probes" / "dummy_probe.py"
    threshold = Threshold(0.9999)
    packages = ("numpy",)
    advice = "Multiply again."

    def write(self, networks, path, *, options, calibration):
        import numpy as np

        kernel, bias = networks.encoder.layers[-1].get_weights()
        np.savez(path, kernel=kernel, bias=bias)

    def code(self, entry, preprocessing):
        return f'import numpy as np\\nweights = np.load("{entry["path"]}")'


FORMAT = Dummy()
'''
PROBE = '''
"""Runs a dummy file in NumPy. See `probing`."""

import numpy as np
from probing import Signature, main


def load(path, threads):
    weights = np.load(path)
    shape = {"dtype": "float32", "shape": [None, 16, 16, 3]}
    signature = Signature(
        prepare=np.stack,
        call=lambda images: {
            "representation": images.mean((1, 2)) @ weights["kernel"] + weights["bias"]
        },
        batch=None,
        inputs={"images": shape},
        outputs={"representation": {"dtype": "float32", "shape": [None, 8]}},
    )
    return {"serving_default": signature}


if __name__ == "__main__":
    main(load, f"numpy {np.__version__}")
'''


def test_a_format_of_ones_own_is_exported_proven_and_verified(tmp_path, run_program):
    room = tmp_path / "mine" / "selfsup_tf" / "exporting"
    for place, text in (("formats/dummy", FORMAT), ("probes/dummy_probe", PROBE)):
        (room / place).parent.mkdir(parents=True)
        (room / f"{place}.py").write_text(textwrap.dedent(text))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    images = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    keras.Model(images, keras.layers.Dense(8)(pooled)).save(run_dir / "encoder.keras")
    train, test = make_shapes("train", size=60), make_shapes("test", size=40)
    data = tmp_path / "data.npz"
    np.savez(data, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    export = ("export.py", f"--run_dir={run_dir}", f"--data={data}")
    folders = [str(tmp_path / "mine"), os.environ.get("PYTHONPATH", "")]
    path = {"env": {"PYTHONPATH": os.pathsep.join(filter(None, folders))}}

    help_text = " ".join(run_program("export.py", "--help", **path).stdout.split())
    assert "saved_model" in help_text and "onnx, dummy." in help_text
    done = run_program(*export, "--formats", "dummy", **path)
    assert "encoder.npz: written and proven" in done.stdout
    assert "compared on 40 images of data:test" in done.stdout
    manifest = json.loads((run_dir / "export" / "manifest.json").read_text())
    (entry,) = manifest["artefacts"]
    assert (entry["path"], entry["format"]) == ("encoder.npz", "dummy")
    assert entry["options"] == {}
    (row,) = manifest["parity"]
    assert row["cosine_mean"] > 0.99999 and row["knn_top_1"] is not None
    assert row["runtime"] == f"numpy {np.__version__}"
    assert manifest["versions"]["numpy"] == np.__version__
    card = (run_dir / "export" / "MODEL_CARD.md").read_text()
    assert 'weights = np.load("encoder.npz")' in card
    # Without the format too: the files are what was exported.
    run_program("export.py", f"--verify={run_dir / 'export'}")

    # What strays is refused, with the format's own advice.
    probe = room / "probes" / "dummy_probe.py"
    probe.write_text(probe.read_text().replace('+ weights["bias"]', "+ 1"))
    again = (*export, "--formats", "dummy", "--overwrite=True")
    done = run_program(*again, check=False, **path)
    assert done.returncode == 1 and "Multiply again. Nothing was" in done.stderr
    done = run_program(*again, "--batch=2", check=False, **path)
    assert done.returncode == 2 and "a format that batch changes" in done.stderr
    done = run_program(*again, "--min_cosine", "dumy", "0.5", check=False, **path)
    assert done.returncode == 2 and "Perhaps you meant: dummy" in done.stderr
