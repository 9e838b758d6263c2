"""Integers in place of floats: TFLite files, what they lose, and what stays float."""
