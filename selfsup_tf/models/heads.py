"""Heads: the small networks between a representation and a loss."""

from collections.abc import Sequence

import keras


def build_head(
    input_size: int,
    widths: Sequence[int],
    *,
    name: str,
    hidden_bias: bool,
    output_norm: bool,
    initializer: keras.initializers.Initializer,
    precision: str = "float32",
) -> keras.Model:
    """Dense layers, with BatchNorm and ReLU after each but the last.

    Args:
        input_size: Size D of what comes in.
        widths: Output size of each Dense layer.
        name: Name of the model, such as "projector".
        hidden_bias: Whether the hidden Dense layers have a bias, as BYOL's do; SimCLR's
            leave it to the BatchNorm that follows. The last one never has.
        output_norm: Whether a BatchNorm without centre ends the head, as in SimCLR.
        initializer: Of the Dense layers' kernels.
        precision: What it computes in, a Keras dtype policy; the output is float32.

    Returns:
        A model from (N, D) to (N, widths[-1]).

    Reference: google-research/simclr, tf2/model.py; deepmind-research,
        byol/utils/networks.py.
    """
    x = inputs = keras.Input((input_size,), name="representation")
    for index, width in enumerate(widths, start=1):
        last = index == len(widths)
        x = keras.layers.Dense(
            width,
            use_bias=hidden_bias and not last,
            kernel_initializer=initializer.clone(),
            dtype=precision,
            name=f"dense{index}",
        )(x)
        if not last or output_norm:
            x = keras.layers.BatchNormalization(
                momentum=0.9,
                epsilon=1e-5,
                center=not last,
                synchronized=True,
                dtype=precision,
                name=f"norm{index}",
            )(x)
        if not last:
            x = keras.layers.ReLU(dtype=precision, name=f"relu{index}")(x)
    full = "float64" if precision == "float64" else "float32"
    x = keras.layers.Identity(dtype=full, name="output")(x)
    return keras.Model(inputs, x, name=name)
