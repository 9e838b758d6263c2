"""Networks: encoders, heads, and the moving average of a network."""
