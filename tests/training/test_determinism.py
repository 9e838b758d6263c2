"""With --deterministic=True the same run gives the same bits, interrupted or not."""

import pathlib

SCRIPT = pathlib.Path(__file__).with_name("deterministic_runs.py")


def test_an_interrupted_run_has_the_bits_of_an_uninterrupted_one(run_program):
    done = run_program(SCRIPT, "simclr:float32", "byol:float64")
    assert done.stdout.splitlines() == ["0 True", "0 True"]
