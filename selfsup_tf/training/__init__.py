"""Pretraining: optimizers, schedules, the step, checkpoints and the loop."""
