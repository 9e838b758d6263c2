"""SimCLR's two branches: one encoder and one projector, shared."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="simclr_tf")
class SplitViews(keras.layers.Layer):
    """Parts a batch of both views, (2N, D), into two of (N, D)."""

    def call(self, both):
        """The first and the second half of the batch."""
        return tuple(tf.split(both, 2, axis=0))

    def compute_output_shape(self, input_shape):
        """Two batches of unknown size."""
        part = (None, *input_shape[1:])
        return part, part


def build_simclr(encoder: keras.Model, projector: keras.Model) -> keras.Model:
    """The dual-branch model.

    Both views go through the network as one batch, so that BatchNorm sees them
    together, as in the reference.

    Args:
        encoder: f, from (N, S, S, 3) to (N, D).
        projector: g, from (N, D) to (N, P).

    Returns:
        A model with inputs view_1 and view_2, (N, S, S, 3) in [0, 1], and outputs
        representation_1, representation_2 (N, D), projection_1, projection_2 (N, P).

    Reference: Chen et al. 2020, section 2.1; google-research/simclr, tf2/model.py.
    """
    shape = encoder.inputs[0].shape[1:]
    view_1 = keras.Input(shape, name="view_1")
    view_2 = keras.Input(shape, name="view_2")
    both = keras.layers.Concatenate(axis=0, dtype=view_1.dtype, name="views")(
        [view_1, view_2]
    )
    h = encoder(both)
    z = projector(h)
    split_h = SplitViews(dtype=encoder.outputs[0].dtype, name="representations")
    split_z = SplitViews(dtype=projector.outputs[0].dtype, name="projections")
    h_1, h_2 = split_h(h)
    z_1, z_2 = split_z(z)
    return keras.Model(
        {"view_1": view_1, "view_2": view_2},
        {
            "representation_1": h_1,
            "representation_2": h_2,
            "projection_1": z_1,
            "projection_2": z_2,
        },
        name="simclr",
    )
