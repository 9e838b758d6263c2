"""With --deterministic=True the same run gives the same bits, interrupted or not."""

import pathlib

SCRIPT = pathlib.Path(__file__).with_name("deterministic_runs.py")


def test_an_interrupted_run_has_the_bits_of_an_uninterrupted_one(run_program):
    kept = '{"loss": "relational", "teacher_sees": "image", "queue": 96}'
    words = ("simclr:float32", "byol:float64", f"distill:float64:{kept}")
    done = run_program(SCRIPT, *words)
    assert done.stdout.splitlines() == ["0 True"] * 3
