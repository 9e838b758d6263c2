"""Which layers lose what int8 loses, and int8 files that leave those in float32.

Legend: N images, S height and width of the encoder's input, D length of the
representation h.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from selfsup_tf.exporting.format import AUTO, Format, Networks, Options, Threshold
from selfsup_tf.exporting.parity import Parity, ParityError, compare, require_parity
from selfsup_tf.exporting.program import build_program
from selfsup_tf.exporting.proof import Proof
from selfsup_tf.exporting.quantisation.converter import check_calibration
from selfsup_tf.exporting.quantisation.mixed import MixedQuantizer

# All activations of a batch are in memory.
BATCH_SIZE = 8
# A layer in float32 that gains less than this has not mended anything.
LEAST_GAIN = 1e-4


@dataclasses.dataclass(frozen=True)
class LayerLoss:
    """What int8 does to one layer.

    Attributes:
        layer: Its name, which `keep_float` takes.
        operation: Its operation in the file, such as CONV_2D; of several, the one that
            loses most.
        noise: Share of its output, or of its weights if that is more, that rounding
            to int8 makes error: mean square of the error over that of the values, each
            channel for itself (at most 1), the mean over channels. 8 bits well used
            make it 1e-5 to 1e-3.
        cosine_int8: Mean cosine of the representations with the encoder's when every
            layer is int8.
        cosine_kept: The same with this layer alone in float32.
    """

    layer: str
    operation: str
    noise: float
    cosine_int8: float
    cosine_kept: float


class Int8Search:
    """Int8 files of one encoder with some layers in float32, each measured alike.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        calibration_images: What int8 is calibrated on, (M, S, S, 3) float32 in [0, 1].
        images: Others to measure on, likewise; 64 will do.

    Raises:
        InputError: No images, or of another shape.
    """

    def __init__(
        self,
        encoder: keras.Model,
        calibration_images: Sequence[np.ndarray],
        images: Sequence[np.ndarray],
    ):
        for given in (calibration_images, images):
            check_calibration("int8", given, encoder.input_shape[1:])
        # A batch of a fixed size, which every operation can take.
        batch = min(BATCH_SIZE, len(images))
        self._quantizer = MixedQuantizer(
            build_program(Networks(encoder), Options(batch=batch)), calibration_images
        )
        self._images = np.asarray(images[: len(images) // batch * batch], np.float32)
        self._batch = batch
        self._expected = self._represent(
            lambda taken: encoder(tf.constant(taken), training=False).numpy()
        )
        # Each is a quantisation and a run, and the searches ask for some of them twice.
        self.cosine = functools.cache(self.cosine)

    def cosine(self, keep_float: Collection[str] = ()) -> float:
        """Mean cosine with the encoder of a file with these layers in float32."""
        contents = self._quantizer.quantize(keep_float)
        try:
            received = self._run(contents)
        except RuntimeError:
            # Scales that lie far apart are too much for XNNPACK: a loss to be found.
            received = self._run(
                contents,
                experimental_op_resolver_type=(
                    OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ),
            )
        return compare(self._expected, received)["cosine_mean"]

    def lossy_layers(self, count: int = 10) -> list[LayerLoss]:
        """The layers through which int8 loses most, the worst first.

        The `count` noisiest are left in float32 one at a time, by TFLite's quantisation
        debugger, each of them a quantisation and a run, and ordered by what that gains
        at the representation. Operations written between layers (x + y) have no name
        and are not among them.
        """
        plain = self.cosine()
        noises = list(self._quantizer.noises(self._images).items())[:count]
        found = [
            LayerLoss(layer, operation, noise, plain, self.cosine((layer,)))
            for layer, (operation, noise) in noises
        ]
        return sorted(found, key=lambda loss: -loss.cosine_kept)

    def suggest(self, threshold: float, count: int = 10) -> tuple[str, ...]:
        """The layers that int8 must leave for a mean cosine of `threshold`.

        Of `count` lossy layers one after the other is left in float32, the worst first,
        until that is reached; those that gain nothing are left out.
        """
        kept, cosine = (), self.cosine()
        for loss in self.lossy_layers(count) if cosine < threshold else ():
            tried = self.cosine((*kept, loss.layer))
            if tried > cosine + LEAST_GAIN:
                kept, cosine = (*kept, loss.layer), tried
            if cosine >= threshold:
                break
        return kept

    def _run(self, contents: bytes, **options) -> np.ndarray:
        runner = Interpreter(model_content=contents, **options).get_signature_runner()
        return self._represent(lambda taken: runner(images=taken)["representation"])

    def _represent(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        starts = range(0, len(self._images), self._batch)
        return np.concatenate(
            [np.array(function(self._images[n : n + self._batch])) for n in starts]
        )


def of_proof(encoder: keras.Model, proof: Proof) -> Int8Search:
    """The search on a proof's images, whose `typical` calibration is known."""
    return Int8Search(encoder, proof.typical, proof.held_out.views[:64])


def resolve_keep_float(
    options: Options,
    wanted: Sequence[Format],
    encoder: keras.Model,
    proof: Proof,
    thresholds: Mapping[str, Threshold],
) -> Options:
    """The options with names of layers in place of "auto".

    Args:
        options: As they were asked for.
        wanted: The formats of the export.
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        proof: As for `of_proof`.
        thresholds: Of the formats, by their words.
    """
    if AUTO not in options.keep_float:
        return options
    least = [thresholds[f.word].cosine for f in wanted if "keep_float" in f.heeds]
    found = of_proof(encoder, proof).suggest(max(least), count=20)
    return dataclasses.replace(options, keep_float=found)


def require_parity_by_layers(
    parity: Parity, of: Format, encoder: keras.Model, proof: Proof, options: Options
) -> None:
    """Raises ParityError; where 8 bits stray, with the layers that they lose in.

    Args:
        parity: What was measured.
        of: The artefact's format.
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        proof: As for `of_proof`.
        options: Of the export, as they were asked for.
    """
    try:
        require_parity(parity, of.advice)
    except ParityError as error:
        strays = parity.cosine_mean < parity.threshold
        if "keep_float" not in of.heeds or parity.output != "representation":
            raise
        if not strays or options.keep_float:
            raise
        losses = of_proof(encoder, proof).lossy_layers()
        raise ParityError(
            f"{error}\n{format_layers(losses)}\n"
            "--keep_float=auto leaves in float32 what it takes, as far as that helps."
        ) from error


def format_layers(losses: Sequence[LayerLoss]) -> str:
    """The layers as lines of text for a terminal."""
    if not losses:
        return "No layer loses anything to int8."
    width = max(len("layer"), *(len(loss.layer) for loss in losses)) + 2
    lines = [
        f"mean cosine in int8: {losses[0].cosine_int8:.5f}",
        f"{'layer':{width}}{'operation':20}{'noise':>9}{'cosine when kept':>18}",
    ]
    for loss in losses:
        lines.append(
            f"{loss.layer:{width}}{loss.operation:20}{loss.noise:9.2%}"
            f"{loss.cosine_kept:18.5f}"
        )
    return "\n".join(lines)
