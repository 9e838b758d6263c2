"""The encoder as a SavedModel that needs TensorFlow and nothing of this package.

Legend: N images, S height and width of the encoder's input, D length of the
representation h.
"""

import pathlib

import keras
import tensorflow as tf

from selfsup_tf.data.files import decode_image
from selfsup_tf.data.views import evaluation_view

SIGNATURES = ("serving_default", "serve_float", "serve_bytes")


class ServedEncoder(tf.Module):
    """What lies in the SavedModel.

    The loaded object is called with images, (N, S, S, 3) float32 in [0, 1], and
    `training`, and gives h; gradients reach its `trainable_weights`, so it can be
    fine-tuned where this package isn't.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
    """

    def __init__(self, encoder: keras.Model):
        super().__init__(name="encoder")
        self._size = encoder.input_shape[1]
        self._call = encoder
        self.weights = [weight.value for weight in encoder.weights]
        self.trainable_weights = [w.value for w in encoder.trainable_weights]

    @tf.function
    def __call__(self, images, training=False):
        """h, (N, D) float32, of images (N, S, S, 3) float32 in [0, 1]."""
        return tf.cast(self._call(images, training=training), tf.float32)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")]
    )
    def serve_uint8(self, images):
        """Images of any size as they come from a file, 0 to 255."""
        return self._represent(evaluation_view(images, self._size))

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "images")]
    )
    def serve_float(self, images):
        """Images in [0, 1]; those of the encoder's own size are taken as they are."""
        shape = tf.shape(images)
        native = tf.logical_and(shape[1] == self._size, shape[2] == self._size)
        return self._represent(
            tf.cond(native, lambda: images, lambda: evaluation_view(images, self._size))
        )

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")])
    def serve_bytes(self, image_bytes):
        """Encoded images (JPEG, PNG, GIF, BMP), each of its own size."""
        spec = tf.TensorSpec((self._size, self._size, 3), tf.float32)
        views = tf.map_fn(
            lambda contents: evaluation_view(decode_image(contents), self._size),
            image_bytes,
            fn_output_signature=spec,
        )
        return self._represent(views)

    def _represent(self, views):
        views = tf.ensure_shape(views, (None, self._size, self._size, 3))
        return {"representation": self(views, training=False)}


def export_saved_model(
    encoder: keras.Model, directory: str | pathlib.Path
) -> pathlib.Path:
    """Writes the encoder with its three signatures.

    Each gives {"representation": h (N, D) float32}; the crop and size of the
    evaluation view and the normalisation are inside.

    - serving_default: images (N, H, W, 3) uint8, 0 to 255, of any H and W.
    - serve_float: images (N, H, W, 3) float32 in [0, 1], of any H and W; those of
      S x S are taken as they are.
    - serve_bytes: image_bytes (N,) string, files, each of its own size.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        directory: Where to; made, and written into if it is there.

    Returns:
        The directory.
    """
    served = ServedEncoder(encoder)
    spec = tf.TensorSpec(encoder.input_shape, tf.float32, "images")
    # What is traced before saving can be called after loading: both modes are.
    for training in (False, True):
        served.__call__.get_concrete_function(spec, training=training)
    functions = (served.serve_uint8, served.serve_float, served.serve_bytes)
    signatures = {
        name: function.get_concrete_function()
        for name, function in zip(SIGNATURES, functions, strict=True)
    }
    tf.saved_model.save(served, str(directory), signatures=signatures)
    return pathlib.Path(directory)
