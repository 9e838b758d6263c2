"""The programs that run an artefact in its runtime, and what starts them."""

import ast
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.errors import InputError
from selfsup_tf.exporting import runtimes
from selfsup_tf.exporting.artefact import Artefact
from selfsup_tf.exporting.jobs import Job, write_inputs
from selfsup_tf.exporting.runtimes import ParityError, run

PROBES = runtimes.PROBES


def load_probing():
    """The module that the probes share, which lies on no path of this program."""
    spec = importlib.util.spec_from_file_location("probing", PROBES / "probing.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["probing"] = module
    spec.loader.exec_module(module)
    return module


probing = load_probing()


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


def write_onnx(path, dtype):
    onnx = pytest.importorskip("onnx", reason="pip install '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="pip install '.[onnx]'")
    kind = {"float32": onnx.TensorProto.FLOAT, "uint8": onnx.TensorProto.UINT8}[dtype]
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["images"], ["cast"], to=onnx.TensorProto.FLOAT),
        helper.make_node(
            "ReduceMean", ["cast"], ["representation"], axes=[1, 2], keepdims=0
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", kind, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("representation", onnx.TensorProto.FLOAT,
                                       ["N", 3])],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.save(model, str(path))
    return path


class Served(tf.Module):
    """Signatures of the kinds that a SavedModel of an encoder has."""

    def __init__(self):
        super().__init__()
        self.zero = tf.Variable(0.0)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")]
    )
    def of_uint8(self, images):
        found = tf.reduce_mean(tf.cast(images, tf.float32), (1, 2)) + self.zero
        return {"representation": found}

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "images")]
    )
    def of_floats(self, images):
        return {"representation": tf.reduce_mean(images, (1, 2)) + self.zero}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "contents")])
    def of_files(self, contents):
        length = tf.cast(tf.strings.length(contents), tf.float32)[:, None]
        return {
            "representation": length + self.zero,
            "label": tf.strings.as_string(tf.strings.length(contents)),
        }


def test_probes_need_numpy_and_their_runtime_alone():
    allowed = {"numpy", "probing"} | {
        *("argparse", "dataclasses", "importlib", "json", "os", "statistics", "sys"),
        *("time", "collections", "typing", "resource"),
    }
    runtime = {
        "probing.py": set(),
        "litert_probe.py": {"ai_edge_litert"},
        "onnx_probe.py": {"onnxruntime"},
        "saved_model_probe.py": {"tensorflow"},
    }
    for name, extra in runtime.items():
        tree = ast.parse((PROBES / name).read_text())
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
        assert imported <= allowed | extra, name
        assert extra <= imported, name


def test_batches_keep_the_order_and_never_mix_shapes():
    shapes = [(2, 2), (2, 2), (2, 2), (3, 2), (2, 2)]
    items = [np.full((*s, 3), n, np.uint8) for n, s in enumerate(shapes)]
    found = list(probing.batches(items, 2))
    assert [[int(i[0, 0, 0]) for i in b] for b in found] == [[0, 1], [2], [3], [4]]
    files = [np.zeros(n, np.uint8) for n in (5, 2, 9)]
    assert [[len(f) for f in b] for b in probing.batches(files, 2)] == [[5, 2], [9]]


def test_a_fixed_batch_is_filled_and_the_filling_dropped():
    called = []

    def call(batch):
        called.append(len(batch))
        return {"representation": batch.mean((1, 2))}

    signature = probing.Signature(np.stack, call, 4, {}, {})
    inputs = images(10)
    found = probing.embed(signature, inputs, 32)["representation"]
    assert called == [4, 4, 4]
    np.testing.assert_array_equal(found, inputs.mean((1, 2)))


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


def test_a_tflite_file_of_a_free_batch(tmp_path):
    artefact = Artefact(write_tflite(tmp_path / "m.tflite"), "tflite_float32")
    views, bank = images(70), images(5, seed=1)
    jobs = [
        Job("serving_default", write_inputs(tmp_path / f"{n}.npy", a))
        for n, a in enumerate((views, bank))
    ]
    outputs, measured = run(artefact, jobs, tmp_path)
    for found, inputs in zip(outputs, (views, bank), strict=True):
        np.testing.assert_allclose(
            found["representation"], mean_of_pixels(inputs), atol=1e-6
        )
    measured = measured["serving_default"]
    assert measured.runtime.startswith("ai-edge-litert 2")
    assert measured.batch is None
    assert measured.inputs == {"images": {"dtype": "float32", "shape": [None, 8, 8, 3]}}
    assert measured.latency_ms_one_core > 0 and measured.latency_ms_all_cores > 0
    assert measured.num_cores == probing.count_cores()
    assert 10 < measured.peak_memory_mb < 300
    assert 0 < measured.model_memory_mb < measured.peak_memory_mb
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".npy", ".npy", ".tflite"]


def test_a_quantised_tflite_file_of_a_fixed_batch(tmp_path):
    path = write_tflite(tmp_path / "m.tflite", batch=3, quantised=True)
    views = images(7)
    jobs = [Job("serving_default", write_inputs(tmp_path / "views.npy", views))]
    (found,), measured = run(Artefact(path, "tflite_uint8"), jobs, tmp_path)
    found, measured = found["representation"], measured["serving_default"]
    step = measured.outputs["representation"]["scale"]
    assert measured.outputs["representation"]["zero_point"] > 100
    # Input and output are each off by half a step at most; the kernels by two more.
    assert np.abs(found - mean_of_pixels(views) + 0.75).max() < 0.5 / 255 + 2.5 * step
    assert found.dtype == np.float32 and np.ptp(found) > 20 * step
    assert measured.batch == 3
    assert measured.latency_ms_one_core > 0
    assert measured.inputs["images"]["dtype"] == "uint8"
    assert measured.inputs["images"]["scale"] == pytest.approx(1 / 255, rel=0.02)


def test_the_latency_of_a_fixed_batch_is_shared_out(tmp_path, monkeypatch):
    """It stands in one column with that of files which take an image at a time."""
    report = {
        "runtime": "r 1",
        "threads": 2,
        "peak_memory_mb": 9.0,
        "model_memory_mb": 1.0,
    }
    calls = iter([(12.0, 4), (6.0, 4), (12.0, None), (6.0, None)])

    def probe(artefact, flags):
        latency, batch = next(calls)
        found = {"latency_ms": latency, "batch": batch, "inputs": {}, "outputs": {}}
        return {**report, "signatures": {"a": found}}

    monkeypatch.setattr(runtimes, "_probe", probe)
    artefact = Artefact(tmp_path / "m.tflite", "tflite_float32")
    for one, every in ((3.0, 1.5), (12.0, 6.0)):
        _, measured = run(artefact, [], tmp_path)
        assert measured["a"].latency_ms_one_core == one
        assert measured["a"].latency_ms_all_cores == every


def test_a_probe_finds_what_this_process_finds_and_not_this_package(
    tmp_path, monkeypatch
):
    """Packages on a relative PYTHONPATH, as outside a virtual environment."""
    site = tmp_path / "site"
    (site / "selfsup_tf").mkdir(parents=True)
    (site / "selfsup_tf" / "__init__.py").write_text("")
    (site / "a_runtime.py").write_text("NAME = 'a runtime'")
    probes = tmp_path / "probes"
    probes.mkdir()
    (probes / "probing.py").write_text((PROBES / "probing.py").read_text())
    (probes / "onnx_probe.py").write_text(
        textwrap.dedent(
            """
            import json, os
            import a_runtime, probing
            probing.forbid_package()
            try:
                import selfsup_tf
                found = True
            except ImportError:
                found = False
            report = {"name": a_runtime.NAME, "package": found, "at": os.getcwd()}
            print(json.dumps(report))
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "site")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setattr(runtimes, "PROBES", probes)
    artefact = Artefact(pathlib.Path("encoder.onnx"), "onnx")
    found = runtimes._probe(artefact, [])
    assert found["name"] == "a runtime" and not found["package"]
    assert pathlib.Path(found["at"]) not in (tmp_path, pathlib.Path.cwd())


def test_paths_may_be_relative_to_the_working_directory(tmp_path, monkeypatch):
    write_tflite(tmp_path / "m.tflite")
    write_inputs(tmp_path / "views.npy", images(3))
    monkeypatch.chdir(tmp_path)
    artefact = Artefact(pathlib.Path("m.tflite"), "tflite_float32")
    jobs = [Job("serving_default", pathlib.Path("views.npy"))]
    (found,), _ = run(artefact, jobs, pathlib.Path())
    assert found["representation"].shape == (3, 3)


def test_a_runtime_that_is_not_installed_is_no_fault_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "PROBES", tmp_path)
    (tmp_path / "onnx_probe.py").write_text("import no_such_runtime")
    artefact = Artefact(pathlib.Path("encoder.onnx"), "onnx")
    with pytest.raises(
        InputError, match=r"No module named 'no_such_runtime'.*nothing of the file"
    ):
        run(artefact, [], tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_an_onnx_file(tmp_path, dtype):
    artefact = Artefact(write_onnx(tmp_path / "m.onnx", dtype), "onnx")
    views = images(40)
    jobs = [Job("serving_default", write_inputs(tmp_path / "views.npy", views))]
    (found,), measured = run(artefact, jobs, tmp_path)
    expected = views if dtype == "float32" else np.rint(views * 255)
    np.testing.assert_allclose(
        found["representation"], mean_of_pixels(expected), rtol=1e-5
    )
    measured = measured["serving_default"]
    assert measured.runtime.startswith("onnxruntime")
    assert measured.inputs == {"images": {"dtype": dtype, "shape": [None, 8, 8, 3]}}


def test_a_saved_model_with_images_of_any_size_and_files(tmp_path):
    served = Served()
    signatures = {"a": served.of_uint8, "b": served.of_floats, "c": served.of_files}
    tf.saved_model.save(served, str(tmp_path / "saved_model"), signatures=signatures)
    random = np.random.default_rng(0)
    pixels = [
        random.integers(0, 256, (h, 5, 3), np.uint8) for h in (4, 4, 9, 2, 4)
    ]  # fmt: skip
    files = [np.frombuffer(b"x" * n, np.uint8) for n in (3, 14, 1)]
    jobs = [
        Job("a", write_inputs(tmp_path / "pixels.npz", pixels)),
        Job("b", tmp_path / "pixels.npz"),
        Job("c", write_inputs(tmp_path / "files.npz", files)),
        Job("b", write_inputs(tmp_path / "views.npy", images(3))),
    ]
    artefact = Artefact(tmp_path / "saved_model", "saved_model")
    (a, b, c, views), measured = run(artefact, jobs, tmp_path)
    means = np.stack([p.mean((0, 1)) for p in pixels])
    np.testing.assert_allclose(a["representation"], means, rtol=1e-5)
    np.testing.assert_allclose(b["representation"], means / 255, rtol=1e-5)
    np.testing.assert_allclose(
        views["representation"], mean_of_pixels(images(3)), rtol=1e-5
    )
    assert c["representation"].tolist() == [[3], [14], [1]]
    assert c["label"].tolist() == [b"3", b"14", b"1"]
    assert measured["c"].inputs == {"contents": {"dtype": "string", "shape": [None]}}
    assert measured["a"].inputs["images"]["shape"] == [None, None, None, 3]
    assert measured["a"].runtime == f"tensorflow {tf.__version__}"
    with pytest.raises(ParityError, match=r"no signature d; there are: a, b, c"):
        run(artefact, [Job("d", tmp_path / "views.npy")], tmp_path)


def test_what_can_not_be_loaded_is_an_error_with_the_runtime_s_words(tmp_path):
    path = tmp_path / "encoder_int8.tflite"
    path.write_bytes(b"no flatbuffer at all")
    views = write_inputs(tmp_path / "views.npy", images(1))
    with pytest.raises(
        ParityError,
        match=r"encoder_int8\.tflite to run in its runtime \(litert_probe\).*exit "
        r"status 1: ValueError: .*Nothing was exported",
    ):
        run(Artefact(path, "tflite_int8"), [Job("serving_default", views)], tmp_path)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", "ended with SIGABRT"),
        ("import sys; print('a\\nlast\\n', file=sys.stderr); sys.exit(3)",
         "exit status 3: last"),
        ("import time; time.sleep(60)", "within 2 s"),
    ],
)  # fmt: skip
def test_a_probe_that_dies_is_an_error(tmp_path, monkeypatch, program, message):
    monkeypatch.setattr(runtimes, "PROBES", tmp_path)
    monkeypatch.setattr(runtimes, "TIMEOUT", 2.0)
    (tmp_path / "onnx_probe.py").write_text(program)
    artefact = Artefact(pathlib.Path("encoder.onnx"), "onnx")
    with pytest.raises(ParityError, match=message):
        run(artefact, [], tmp_path)
