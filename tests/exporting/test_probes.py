"""The programs that run an artefact in its runtime, and what starts them."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from artefacts import artefact, load

from selfsup_tf.data.decode import MAX_PIXELS
from selfsup_tf.errors import InputError
from selfsup_tf.exporting.format import PROBES, Artefact
from selfsup_tf.exporting.formats.onnx import Onnx
from selfsup_tf.exporting.runtime import ParityError, run, write_inputs

probing = load(PROBES / "probing.py")


def probed_by(program, folder):
    """An artefact whose probe is this program."""
    probed = Onnx()
    probed.probe = folder / "a_probe.py"
    probed.probe.write_text(textwrap.dedent(program))
    return Artefact(pathlib.Path("encoder.onnx"), probed)


def images(count, *, size=8, seed=0):
    return np.random.default_rng(seed).random((count, size, size, 3), np.float32)


def mean_of_pixels(values):
    """What every model below computes: (N, 8, 8, 3) -> (N, 3)."""
    return np.asarray(values, np.float32).mean((1, 2))


def write_tflite(path, *, batch=None, quantised=False):
    """A file that averages pixels; quantised: less 0.75, uint8 in and out."""
    spec = tf.TensorSpec((batch, 8, 8, 3), tf.float32, "images")

    class Mean(tf.Module):
        @tf.function(input_signature=[spec])
        def represent(self, images):
            mean = tf.reduce_mean(images, (1, 2))
            return {"representation": mean - 0.75 if quantised else mean}

    module = Mean()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.represent.get_concrete_function()], module
    )
    if quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([i[None]] for i in images(50))
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    return path


def test_batches_keep_the_order_and_never_mix_shapes():
    shapes = [(2, 2), (2, 2), (2, 2), (3, 2), (2, 2)]
    items = [np.full((*s, 3), n, np.uint8) for n, s in enumerate(shapes)]
    found = list(probing.batches(items, 2))
    assert [[int(i[0, 0, 0]) for i in b] for b in found] == [[0, 1], [2], [3], [4]]
    files = [np.zeros(n, np.uint8) for n in (5, 2, 9)]
    assert [[len(f) for f in b] for b in probing.batches(files, 2)] == [[5, 2], [9]]


@pytest.mark.parametrize("shape", [(1200, 1920), (3000, 4000), (64, 9000), (8, 8)])
def test_a_call_of_large_images_is_one_that_a_server_takes(shape):
    items = [np.broadcast_to(np.uint8(0), (*shape, 3))] * 40
    calls = [len(b) for b in probing.batches(items, 32, probing.MOST_PIXELS)]
    assert sum(calls) == 40 and max(calls) <= 32
    sides = [max(side, 512) for side in shape]  # as the server counts small ones
    assert max(calls) * sides[0] * sides[1] <= MAX_PIXELS


def test_latency_is_a_median_of_calls_after_warm_up(monkeypatch):
    """The clock moves by what a call says it took: slow at first, then once more."""
    took = iter([9.0] * probing.WARM_UP + [0.01] * 6 + [5.0] + [0.01] * 100)
    clock = [0.0]

    def call(batch):
        clock[0] += next(took)

    monkeypatch.setattr(probing.time, "perf_counter", lambda: clock[0])
    signature = probing.Signature(np.stack, call, None, {"images": 1}, {})
    found = probing.measure(signature, images(1)[0], runs=10, seconds=100)
    assert found["latency_ms"] == pytest.approx(10)
    assert found["latency_runs"] == 10
    clock[0] = 0.0
    took = iter([9.0] * 50)
    found = probing.measure(signature, images(1)[0], runs=50, seconds=1)
    assert found["latency_runs"] == probing.MIN_RUNS


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_the_process_s_own():
    """A process that is started inherits the peak that `getrusage` tells, of 400 MB."""
    held = bytearray(400_000_000)
    held[::4096] = b"1" * len(held[::4096])
    program = textwrap.dedent(
        f"""
        import json, sys
        sys.path.insert(0, {str(PROBES)!r})
        import probing
        before = probing.memory_megabytes()
        more = bytearray(60_000_000)
        more[::4096] = b"1" * len(more[::4096])
        during = probing.memory_megabytes()
        del more
        print(json.dumps([before, during, probing.memory_megabytes()]))
        """
    )
    # Settings of malloc may keep what is freed.
    env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    answer = subprocess.check_output([sys.executable, "-E", "-c", program], env=env)
    before, during, after = json.loads(answer)
    assert before["peak"] < 200
    assert 55 < during["now"] - before["now"] < 75
    # The kernel counts in blocks of some pages for each core.
    assert after["peak"] > max(during["peak"] - 2, after["now"] + 40)


def test_a_tflite_file_of_a_free_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where paths may be relative to
    written = artefact(write_tflite(pathlib.Path("m.tflite")), "tflite_float32")
    views, bank = images(70), images(5, seed=1)
    jobs = [
        ("serving_default", write_inputs(pathlib.Path(f"{n}.npy"), a))
        for n, a in enumerate((views, bank))
    ]
    outputs, measured = run(written, jobs, pathlib.Path())
    for found, inputs in zip(outputs, (views, bank), strict=True):
        np.testing.assert_allclose(
            found["representation"], mean_of_pixels(inputs), atol=1e-6
        )
    measured = measured["serving_default"]
    assert measured["runtime"].startswith("ai-edge-litert 2")
    assert measured["batch"] == "any"
    assert measured["inputs"] == {
        "images": {"dtype": "float32", "shape": [None, 8, 8, 3]}
    }
    assert measured["latency_ms_one_core"] > 0 and measured["latency_ms_all_cores"] > 0
    assert measured["num_cores"] == probing.count_cores()
    assert 10 < measured["peak_memory_mb"] < 300
    assert 0 < measured["model_memory_mb"] < measured["peak_memory_mb"]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".npy", ".npy", ".tflite"]


def test_a_quantised_tflite_file_of_a_fixed_batch(tmp_path):
    path = write_tflite(tmp_path / "m.tflite", batch=3, quantised=True)
    views = images(7)
    jobs = [("serving_default", write_inputs(tmp_path / "views.npy", views))]
    (found,), measured = run(artefact(path, "tflite_uint8"), jobs, tmp_path)
    found, measured = found["representation"], measured["serving_default"]
    step = measured["outputs"]["representation"]["scale"]
    assert measured["outputs"]["representation"]["zero_point"] > 100
    # Input and output are each off by half a step at most; the kernels by two more.
    assert np.abs(found - mean_of_pixels(views) + 0.75).max() < 0.5 / 255 + 2.5 * step
    assert found.dtype == np.float32 and np.ptp(found) > 20 * step
    assert measured["batch"] == "3"
    assert measured["latency_ms_one_core"] > 0
    assert measured["inputs"]["images"]["dtype"] == "uint8"
    assert measured["inputs"]["images"]["scale"] == pytest.approx(1 / 255, rel=0.02)


def test_the_latency_of_a_fixed_batch_is_shared_out(tmp_path):
    """It stands in one column with that of files which take an image at a time."""
    for batch, one, every in ((4, 3.0, 1.5), (None, 12.0, 6.0)):
        program = f"""
            import json, sys
            found = {{"latency_ms": 12.0 if "--threads=1" in sys.argv else 6.0}}
            found |= {{"batch": {batch}, "inputs": {{}}, "outputs": {{}}}}
            report = {{"runtime": "r 1", "threads": 2, "peak_memory_mb": 9.0}}
            report |= {{"model_memory_mb": 1.0, "signatures": {{"a": found}}}}
            print(json.dumps(report))
        """
        _, measured = run(probed_by(program, tmp_path), [], tmp_path)
        assert measured["a"]["latency_ms_one_core"] == one
        assert measured["a"]["latency_ms_all_cores"] == every
        assert measured["a"]["batch"] == str(batch or "any")


def test_a_probe_finds_what_this_process_finds_and_not_this_package(
    tmp_path, monkeypatch
):
    """Packages on a relative PYTHONPATH, as outside a virtual environment."""
    site = tmp_path / "site"
    (site / "selfsup_tf").mkdir(parents=True)
    (site / "selfsup_tf" / "__init__.py").write_text("")
    (site / "a_runtime.py").write_text("NAME = 'a runtime'")
    program = """
        import json, os
        import a_runtime, probing
        probing.forbid_package()
        try:
            import selfsup_tf
            found = "this package"
        except ImportError:
            found = a_runtime.NAME
        raise SystemExit(f"{found} in {os.getcwd()}")
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "site")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    with pytest.raises(ParityError, match="a runtime in ") as error:
        run(probed_by(program, tmp_path), [], tmp_path)
    assert f"in {tmp_path}" not in str(error.value)


def test_a_runtime_that_is_not_installed_is_no_fault_of_the_file(tmp_path):
    written = probed_by("import no_such_runtime", tmp_path)
    with pytest.raises(
        InputError, match=r"No module named 'no_such_runtime'.*nothing of the file"
    ):
        run(written, [], tmp_path)


def test_what_can_not_be_loaded_is_an_error_with_the_runtime_s_words(tmp_path):
    path = tmp_path / "encoder_int8.tflite"
    path.write_bytes(b"no flatbuffer at all")
    views = write_inputs(tmp_path / "views.npy", images(1))
    with pytest.raises(
        ParityError,
        match=r"encoder_int8\.tflite to run in its runtime \(litert_probe\).*exit "
        r"status 1: ValueError: .*Nothing was exported",
    ):
        run(artefact(path, "tflite_int8"), [("serving_default", views)], tmp_path)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", "ended with SIGABRT"),
        ("import sys; print('a\\nlast\\n', file=sys.stderr); sys.exit(3)",
         "exit status 3: last"),
        ("import time; time.sleep(60)", "within 2 s"),
    ],
)  # fmt: skip
def test_a_probe_that_dies_is_an_error(tmp_path, program, message):
    with pytest.raises(ParityError, match=message):
        run(probed_by(program, tmp_path), [], tmp_path, timeout=2.0)
