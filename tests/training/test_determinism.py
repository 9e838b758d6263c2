"""With --deterministic=True the same run gives the same bits, interrupted or not."""

import pathlib

SCRIPT = pathlib.Path(__file__).with_name("deterministic_runs.py")


def test_an_interrupted_run_has_the_bits_of_an_uninterrupted_one(run_program):
    done = run_program(SCRIPT, "simclr:float32", "byol:float64")
    assert done.stdout.splitlines() == ["0 True", "0 True"]


def test_runs_where_the_environment_asks_for_determinism(run_program, tmp_path):
    words = ["--steps=2", "--epochs=None", "--batch_size=8", "--image_size=16"]
    words += ["--encoder.width=0.0625", "--encoder.stem=small_stride2"]
    words += ["--optimizer.warmup_epochs=0", f"--run_dir={tmp_path / 'run'}"]
    env = {"TF_DETERMINISTIC_OPS": "1"}
    run_program("train.py", "simclr", "shapes", *words, env=env)
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert "train/loss" in log and "train/data_wait" not in log
