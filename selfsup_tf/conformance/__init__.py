"""Whether a method, of anybody's, keeps what the training loop promises of it."""
