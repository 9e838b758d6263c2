"""What is measured of an encoder, and drawn or written of it: a module each."""
