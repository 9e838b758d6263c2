"""How good an encoder is; knows neither the method nor the training code."""
