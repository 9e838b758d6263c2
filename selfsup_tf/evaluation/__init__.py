"""How good an encoder is: protocols, what they measure and draw, and the report."""
