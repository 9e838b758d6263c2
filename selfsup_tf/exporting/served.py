"""The signatures of the SavedModel, which needs TensorFlow and nothing of this package.

It is made of `tf.Module`, and not by `keras.export.ExportArchive` (Keras 3.15.1): an
archive of an encoder and a classifier on it stores the weights twice (2,097,969 bytes
for 1,048,000), has no place for a `classifier` that can be fine-tuned beside the
encoder, and offers a server the call in training mode as a signature.

Legend: N images, H and W of any size, S height and width of the encoder's input, D
length of the representation h, C classes.
"""

import logging
import pathlib
import tempfile
from collections.abc import Callable

import keras
import tensorflow as tf

from selfsup_tf.data.channels import INTERCHANGEABLE, to_channels
from selfsup_tf.data.decode import MAX_PIXELS, decode_image
from selfsup_tf.data.views import evaluation_view
from selfsup_tf.errors import check
from selfsup_tf.exporting.format import Networks
from selfsup_tf.exporting.program import check_classifier
from selfsup_tf.exporting.quiet import quiet_log

LABELS_FILE = "labels.txt"
# Of one request. The largest image takes 1 GB while it is cropped and resized.
_DECODED_AT_ONCE = 4
# Images of one request: as many as their largest layer's outputs fill, but those that a
# server gathers (batching.config) and that warm it up always.
_LAYER_BYTES = 2**30
_ALWAYS_TAKEN = 32
# Of [0, 1]: what rounding on the way here may add.
_SLACK = 1e-3

_BYTES = tf.TensorSpec((None,), tf.string, "image_bytes")


class _ServedNetwork(tf.Module):
    """A network that the loaded object calls, and can fine-tune.

    It is called with images, (N, S, S, 3) float32 in [0, 1], and `training`; gradients
    reach its `trainable_weights`, where this package isn't.

    Args:
        network: float32 [0, 1] (N, S, S, 3) -> (N, D or C) float32.
        name: Of the module.
        max_pixels: The most pixels, H x W, of a file's image; N x H x W of others.
        exif: Whether a JPEG is turned upright.
    """

    def __init__(self, network: keras.Model, name: str, max_pixels: int, exif: bool):
        super().__init__(name=name)
        _, self._size, _, self._channels = network.input_shape
        of_any_size = (None, None, None, self._channels)
        self.pixels = tf.TensorSpec(of_any_size, tf.uint8, "images")
        self.floats = tf.TensorSpec(of_any_size, tf.float32, "images")
        self._max_pixels, self._exif = max_pixels, exif
        # A module that holds the model itself stores its weights twice: once as the
        # model's, which are objects of Keras, and once as those that it lists.
        self._call = lambda images, training: network(images, training=training)
        self.weights = [weight.value for weight in network.weights]
        # The states of random layers too, which a call in training mode needs.
        self.states = [variable.value for variable in network.variables]
        self.trainable_weights = [w.value for w in network.trainable_weights]
        self.native = tf.TensorSpec((None, *network.input_shape[1:]), name="images")
        for training in (False, True):  # the calls that the loaded object has
            called = self.__call__.get_concrete_function(self.native, training=training)
        fitting = _LAYER_BYTES // (4 * _largest_output(called.graph))
        room = max(max_pixels, _ALWAYS_TAKEN * self._size**2)
        self._max_images = min(max(fitting, _ALWAYS_TAKEN), room // self._size**2)
        self._max_request_pixels = room

    @property
    def takes_files(self) -> bool:
        """Whether files hold such images."""
        return self._channels in INTERCHANGEABLE

    @tf.function
    def __call__(self, images, training=False):
        """(N, D or C) float32 of images (N, S, S, 3) float32 in [0, 1]."""
        return tf.cast(self._call(images, training=training), tf.float32)

    def signature(self, spec: tf.TensorSpec, view: Callable, answer: Callable):
        """What a server calls: from a request to views, and from those to an answer."""

        @tf.function(input_signature=[spec])
        def serve(request):
            # A caller may have got the shape wrong, and a resize of a million channels
            # costs gigabytes before anything else complains.
            request = tf.ensure_shape(_require_images(request), spec.shape)
            views = tf.ensure_shape(view(request), self.native.shape)
            return answer(self(views, training=False))

        return serve.get_concrete_function()

    def view_pixels(self, images: tf.Tensor) -> tf.Tensor:
        """(N, H, W, 3) uint8 -> (N, S, S, 3) float32 in [0, 1]."""
        return evaluation_view(self._require_pixels(images), self._size)

    def view_floats(self, images: tf.Tensor) -> tf.Tensor:
        """The same of floats in [0, 1]; those of S x S are views."""
        images = _require_unit_range(self._require_pixels(images))
        native = tf.reduce_all(tf.shape(images)[1:3] == self._size)
        return tf.cond(
            native, lambda: images, lambda: evaluation_view(images, self._size)
        )

    def check_views(self, images: tf.Tensor) -> tf.Tensor:
        """Views, (N, S, S, 3) float32 in [0, 1], taken as they are."""
        return _require_unit_range(self._require_batch(images))

    def view_files(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """(N,) string -> (N, S, S, 3) float32 in [0, 1]."""

        def view(contents):
            image = decode_image(contents, self._max_pixels, exif=self._exif)
            return evaluation_view(to_channels(image, self._channels), self._size)

        return tf.map_fn(
            view,
            self._require_batch(image_bytes),
            fn_output_signature=tf.TensorSpec(self.native.shape[1:], tf.float32),
            parallel_iterations=_DECODED_AT_ONCE,
        )

    def _require_batch(self, images: tf.Tensor) -> tf.Tensor:
        """The images or files, which are not too many.

        A request of a few bytes can claim any shape: it may give one value for all.
        """
        shape = tf.shape(images)
        message = f"expected at most {self._max_images} images; received the shape"
        return _require(images, shape[0] <= self._max_images, message, shape)

    def _require_pixels(self, images: tf.Tensor) -> tf.Tensor:
        """The images, (N, H, W, 3), with N x H x W within the limit.

        Sides below S count as S: a resize holds images of H x W, S x W and S x S.
        """
        images = self._require_batch(images)
        size, most = self._size, self._max_request_pixels
        shape = tf.shape(images)
        # In floats, whose product can't wrap.
        count, *sides = tf.unstack(tf.cast(shape[:3], tf.float64))
        height, width = (tf.maximum(side, size) for side in sides)
        few = count * height * width <= most
        message = (
            f"expected images of at most {most} pixels, N x H x W (a side counts as "
            f"{size} at least); received the shape"
        )
        return _require(images, few, message, shape)


def _serve_encoder(served: _ServedNetwork) -> dict:
    """The signatures of an encoder, by name."""

    def represent(h):
        return {"representation": h}

    found = {
        "serving_default": (served.pixels, served.view_pixels),
        "serve_float": (served.floats, served.view_floats),
        "serve_bytes": (_BYTES, served.view_files),
        "raw": (served.native, served.check_views),
    }
    if not served.takes_files:
        del found["serve_bytes"]
    return {name: served.signature(*of, represent) for name, of in found.items()}


def _serve_classifier(served: _ServedNetwork, labels_file: pathlib.Path) -> dict:
    """The signatures of a classifier, by name; its class names stand one a line."""
    served.labels_file = tf.saved_model.Asset(str(labels_file))
    served.labels = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            served.labels_file.asset_path,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
        ),
        default_value="",
    )

    def classify(logits):
        probabilities = tf.nn.softmax(logits)
        label = served.labels.lookup(tf.argmax(probabilities, axis=-1))
        return {"probabilities": probabilities, "label": label}

    found = {"classify": served.signature(served.pixels, served.view_pixels, classify)}
    if served.takes_files:
        by_files = served.signature(_BYTES, served.view_files, classify)
        found["classify_bytes"] = by_files
    return found


def export_saved_model(
    networks: Networks,
    directory: str | pathlib.Path,
    *,
    max_pixels: int = MAX_PIXELS,
    exif: bool = True,
) -> None:
    """Writes the encoder with its signatures.

    These give {"representation": h (N, D) float32}; the crop and size of the evaluation
    view and the normalisation are inside.

    - serving_default: images (N, H, W, 3) uint8, 0 to 255, of any H and W.
    - serve_float: images (N, H, W, 3) float32 in [0, 1], of any H and W; those of
      S x S are taken as they are.
    - serve_bytes: image_bytes (N,) string, files (JPEG, PNG, GIF, BMP, WebP), each of
      its own size; where the encoder takes 1 or 3 channels.
    - raw: images (N, S, S, 3) float32 in [0, 1], taken as they are.

    With a classifier, which the loaded object has as `classifier`, these give
    {"probabilities": (N, C) float32, "label": (N,) string}; the names lie in
    assets/labels.txt too.

    - classify: images as for serving_default.
    - classify_bytes: image_bytes as for serve_bytes.

    A request is answered whole or by an error (INVALID_ARGUMENT): an empty batch, one
    of more images than fill 1 GiB in the network's largest layer (which takes about 3
    in all; 32 images are always taken),
    floats beyond [0, 1] or NaN, images of other channels than its own or of more than
    `max_pixels` together, a file that claims more or can't be decoded. One bad file
    fails its request; the next is served. Not bounded is what a PNG inflates to behind
    the pixels that it claims, which costs time and no memory: libpng runs to the end of
    its stream. A server can look first, as examples/serving/png.py does.

    Args:
        networks: The encoder, and a classifier with its names or none.
        directory: Where to; made, and written into if it is there.
        max_pixels: The most pixels of a file's image, H x W, and of the images of a
            request, N x H x W, where sides below S count as S. The largest file takes
            about 16 bytes a pixel while it is served, and up to four are at once.
        exif: Whether a JPEG is turned upright, as its camera notes in EXIF.

    Raises:
        InputError: The classifier and the names don't fit each other or the encoder.
    """
    check_classifier(networks)
    classifier, class_names = networks.classifier, networks.class_names
    check(
        classifier is None or bool(class_names),
        "class_names beside a classifier",
        "none",
        "The answers of classify are names; give them in the order of labels.",
    )
    served = _ServedNetwork(networks.encoder, "encoder", max_pixels, exif)
    signatures = _serve_encoder(served)
    with tempfile.TemporaryDirectory() as folder:
        if classifier is not None:
            labels_file = pathlib.Path(folder) / LABELS_FILE
            labels_file.write_bytes("".join(f"{n}\n" for n in class_names).encode())
            served.classifier = _ServedNetwork(
                classifier, "classifier", max_pixels, exif
            )
            signatures |= _serve_classifier(served.classifier, labels_file)
        # Where TensorFlow takes Python for interactive, it tells where its files are.
        with quiet_log("tensorflow", logging.WARNING):
            tf.saved_model.save(served, str(directory), signatures=signatures)


def _require(images: tf.Tensor, condition: tf.Tensor, *received) -> tf.Tensor:
    """The images, where the condition holds; else an error of what was received."""
    required = tf.debugging.Assert(condition, received, 4)
    with tf.control_dependencies([required]):
        return tf.identity(images)


def _largest_output(graph: tf.Graph) -> int:
    """Numbers of the largest tensor that a graph makes of one image."""
    shapes = [t.shape for op in graph.get_operations() for t in op.outputs]
    return max(
        shape[1:].num_elements()
        for shape in shapes
        if shape.rank and shape[0] is None and shape[1:].is_fully_defined()
    )


def _require_images(images: tf.Tensor) -> tf.Tensor:
    """The images or files, of which there is one at least, with a pixel at least."""
    message = "expected one image or more; received an empty batch, of shape"
    return _require(images, tf.size(images) > 0, message, tf.shape(images))


def _require_unit_range(images: tf.Tensor) -> tf.Tensor:
    """The float images, which are in [0, 1]."""
    # Written so that NaN is beyond.
    beyond = ~((images >= -_SLACK) & (images <= 1 + _SLACK))
    count = tf.math.count_nonzero(beyond)
    message = "expected float images in [0, 1] without NaN; of the received values, "
    return _require(images, count == 0, message + "this many are not:", count)
