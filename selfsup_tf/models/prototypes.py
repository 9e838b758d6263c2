"""Prototypes: learned directions, whose cosines with a projection are its scores."""

import keras


def build_prototypes(
    input_size: int,
    count: int,
    *,
    name: str,
    learn_lengths: bool = False,
    precision: str = "float32",
) -> keras.Model:
    """Builds the last part of DINO's head, from projections to scores.

    Args:
        input_size: Size P of a projection.
        count: Prototypes, K.
        name: Name of the model, such as "prototypes".
        learn_lengths: See `UnitDense`.
        precision: What it multiplies in, a Keras dtype policy; the output is float32.

    Returns:
        A model from (N, P), normalised here, to (N, K).
    """
    full = "float64" if precision == "float64" else "float32"
    x = inputs = keras.Input((input_size,), dtype=full, name="projection")
    x = keras.layers.UnitNormalization(dtype=full, name="unit")(x)
    x = UnitDense(count, learn_lengths, dtype=precision, name="directions")(x)
    x = keras.layers.Identity(dtype=full, name="scores")(x)
    return keras.Model(inputs, x, name=name)


@keras.saving.register_keras_serializable(package="selfsup_tf")
class UnitDense(keras.layers.Layer):
    """A Dense layer without bias whose weights have length 1, output by output.

    From (N, P) to (N, units): the cosines with the learned directions where its input
    has length 1. The weights start as those of PyTorch's Linear.

    Args:
        units: Outputs.
        learn_lengths: Whether each output is multiplied by a length, which is learned
            and starts at 1.

    Reference: Salimans and Kingma 2016, "Weight normalization"; facebookresearch/dino,
        vision_transformer.py, DINOHead.
    """

    def __init__(self, units: int, learn_lengths: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.units, self.learn_lengths = units, learn_lengths

    def build(self, shape):
        """Makes the weights, which are normalised in their own precision."""
        start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.kernel = self.add_weight(
            (shape[-1], self.units), initializer=start, autocast=False, name="kernel"
        )
        if self.learn_lengths:
            # Of rank 2, so that they are decayed, as the authors' are.
            self.lengths = self.add_weight(
                (1, self.units), initializer="ones", autocast=False, name="lengths"
            )

    def call(self, x):
        """The scores, in the precision of the layer."""
        kernel = self.kernel / keras.ops.norm(self.kernel, axis=0)
        if self.learn_lengths:
            kernel = kernel * self.lengths
        return keras.ops.matmul(x, keras.ops.cast(kernel, self.compute_dtype))

    def get_config(self):
        """The arguments of the constructor."""
        own = {"units": self.units, "learn_lengths": self.learn_lengths}
        return {**super().get_config(), **own}
