"""Heads: the small networks between a representation and a loss."""

from collections.abc import Sequence

import keras

from selfsup_tf.errors import check


def build_head(
    input_size: int,
    widths: Sequence[int],
    *,
    name: str,
    norm: str,
    output_bias: bool,
    hidden_bias: bool = False,
    activation: str = "relu",
    initializer: keras.initializers.Initializer | None = None,
    precision: str = "float32",
) -> keras.Model:
    """Builds a head: Dense layers with BatchNorms, each but the last activated.

    Args:
        input_size: Size D of what comes in.
        widths: Output size of each Dense layer.
        name: Name of the model, such as "projector".
        norm: "full": a BatchNorm after every Dense layer; "all": the last one without
            centre, as in SimCLR; "bare": the last one without centre and scale, as in
            SimSiam; "hidden": after each but the last, as in BYOL; "none".
        output_bias: Whether the last Dense layer has a bias.
        hidden_bias: Whether the hidden Dense layers have one, as BYOL's do; others
            leave it to the BatchNorm that follows.
        activation: What follows each layer but the last: "relu", or "gelu", exact.
        initializer: Of the Dense layers' kernels; None is that of PyTorch's Linear,
            uniform between plus and minus 1 / sqrt(inputs).
        precision: What it computes in, a Keras dtype policy; the output is float32.

    Returns:
        A model from (N, D) to (N, widths[-1]).

    Reference: google-research/simclr, tf2/model.py; deepmind-research,
        byol/utils/networks.py.
    """
    if initializer is None:
        initializer = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    full = "float64" if precision == "float64" else "float32"
    x = inputs = keras.Input((input_size,), dtype=full, name="representation")
    for index, width in enumerate(widths, start=1):
        last = index == len(widths)
        x = keras.layers.Dense(
            width,
            use_bias=output_bias if last else hidden_bias,
            kernel_initializer=initializer.clone(),
            dtype=precision,
            name=f"dense{index}",
        )(x)
        if norm in ("full", "all", "bare") or (norm == "hidden" and not last):
            x = keras.layers.BatchNormalization(
                momentum=0.9,
                epsilon=1e-5,
                center=not last or norm == "full",
                scale=not last or norm != "bare",
                synchronized=True,
                dtype=precision,
                name=f"norm{index}",
            )(x)
        if not last:
            options = {"dtype": precision, "name": f"{activation}{index}"}
            if activation == "relu":  # the layer that kept heads hold
                x = keras.layers.ReLU(**options)(x)
            else:
                x = keras.layers.Activation(activation, **options)(x)
    x = keras.layers.Identity(dtype=full, name="output")(x)
    return keras.Model(inputs, x, name=name)


def head_until(head: keras.Model, layer: int) -> keras.Model:
    """A projection head up to and with one of its layers, activation included.

    Args:
        head: From `build_head`; the part shares its layers.
        layer: 1 for the first Dense layer with what follows it, and so on.

    Raises:
        InputError: The head has no such layer.
    """
    layers = [item for item in head.layers if isinstance(item, keras.layers.Dense)]
    check(
        1 <= layer <= len(layers),
        f"a layer of the projection head, 0 to {len(layers)}",
        layer,
        "0 is the encoder's own representation; the authors fine-tune from layer 1.",
    )
    last = layer == len(layers)
    end = head.output if last else layers[layer].input
    return keras.Model(head.input, end, name=f"{head.name}_{layer}")
