"""An encoder that is judged: its networks and files; `judged_images` has the images."""

import contextlib
import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from selfsup_tf.config import Config
from selfsup_tf.errors import InputError, check
from selfsup_tf.evaluation.beside import makers, open_beside
from selfsup_tf.evaluation.flags import RunFlags
from selfsup_tf.evaluation.judged_images import JudgedImages
from selfsup_tf.evaluation.naming import name_result, options_of, titled
from selfsup_tf.evaluation.protocol import Result
from selfsup_tf.files import read_json
from selfsup_tf.methods import restore_config

if TYPE_CHECKING:
    import keras

    from selfsup_tf.data.stored_vectors import StoredVectors
    from selfsup_tf.models.teacher import Teacher


class Judged(JudgedImages):
    """An encoder that is judged: its networks, its images, its files.

    Args:
        flags: What the user says of it: an object of a protocol's flags.
        protocol: The protocol's word, which names the files.
        encoder: The encoder, from Python; None loads the run's.
        images: (train, test) as `open_source` takes them, from Python; the second may
            be None. None opens those that the flags or the run name.
        cache: A folder that keeps representations of an encoder from Python.

    Attributes:
        cache: A folder that keeps representations, or None.
    """

    def __init__(
        self,
        flags: RunFlags,
        protocol: str,
        *,
        encoder: "keras.Model | None" = None,
        images: tuple[Any, Any] | None = None,
        cache: pathlib.Path | None = None,
    ):
        super().__init__(flags, encoder=encoder, images=images)
        self.protocol = protocol
        self.cache = cache if encoder is not None else self.run.features
        seed = self._said("seed")
        check(
            seed is None or 0 <= seed < 2**32,
            "seed within [0, 2^32)",
            seed,
            "Any whole number in it will do.",
        )
        check(
            self._which == "last" or self.run.file is None,
            "--encoder beside the directory of a run",
            f"--encoder={self._which} beside a file",
            "Name the directory, or leave --encoder out.",
        )

    @functools.cached_property
    def encoder(self) -> "keras.Model":
        """The encoder that is judged: float32 [0, 1] (N, S, S, 3) -> h (N, D)."""
        if self.given is not None:
            return self.given
        from selfsup_tf.models.saved import load_encoder

        return load_encoder(self.run, self._which)

    def encoders(
        self,
        untrained: bool | None = None,
        *,
        same_views: bool = False,
        vectors: bool = False,
    ) -> dict[str, Callable[[], Any]]:
        """What makes each encoder, by name: the judged one, and those beside it.

        Args:
            untrained: Whether the same network untrained is one; None asks the flags.
            same_views: Whether all take views of the judged one's size.
            vectors: Whether `StoredVectors` may stand beside in place of a network.

        Raises:
            InputError: One of them can't be opened; told before images are opened.
        """
        from selfsup_tf.evaluation.features import image_size
        from selfsup_tf.models.untrained import untrained_copy

        encoder = self.encoder
        found = {"trained": lambda: encoder}
        if self._said("untrained") if untrained is None else untrained:
            found["untrained"] = lambda: untrained_copy(encoder)
        size = image_size(encoder)
        taken = {"size": size if same_views else None, "vectors": vectors}
        return found | makers(self._beside, **taken, channels=encoder.input_shape[-1])

    @functools.cached_property
    def _beside(self) -> "dict[str, Teacher | StoredVectors]":
        """The encoders of --beside by their names."""
        return open_beside(self._said("beside") or ())

    @functools.cached_property
    def config(self) -> Config | None:
        """What the run was made with; None where no run is named, or none is there."""
        return None if self._stored is None else restore_config(self._stored)

    def classifier(self, advice: str) -> "keras.Model":
        """The classifier that is judged, or answers: (N, S, S, 3) -> logits (N, C).

        Args:
            advice: What to do where there is none.

        Raises:
            InputError: There is none, or the file that is named holds an encoder.
        """
        from selfsup_tf.models.saved import load_network

        if self.given is not None:
            return self.given
        found = load_network(self.run, "classifier", advice=advice)
        check(
            self.run.file is None
            or found.name == "classifier"
            or not self.run.config.is_file(),
            f"a classifier in {self.run.file}",
            f"another network of the run, {found.name}",
            advice,
        )
        return found

    @property
    def projector(self) -> "keras.Model | None":
        """The run's projector, where it kept one that fits this encoder."""
        from selfsup_tf.models.saved import load_network

        if self.given is not None:
            return None
        # The projector of the run's end fits its last encoder alone.
        projector = self.run.kept("projector")
        fits = not self._is_best and projector.is_file()
        return load_network(projector) if fits else None

    @functools.cached_property
    def name(self) -> str:
        """The name of its result, see `naming.name_result`.

        Where a result of other images has the plain name, the images' name is added;
        where that is taken, too, a digest of where they lie.
        """
        name = ""
        for data in self._called:
            name = name_result(self.protocol, self.flags, self.run.file, data=data)
            if not self._is_of_others(name):
                break
        return name

    def _is_of_others(self, name: str) -> bool:
        """Whether a result of this name is there that is of other images."""
        file = self.run.result(name)
        if self.flags.run_dir == "" or not file.is_file():
            return False
        with contextlib.suppress(InputError):  # a damaged one is written anew
            there = read_json(file)
            place = there.get("place") if isinstance(there, dict) else None
            return place not in (None, self.place)
        return False

    def file(self, suffix: str = ".json") -> pathlib.Path:
        """Where a result, or what lies beside it, goes; see `check_place`."""
        self.check_place()
        return self.run.result(self.name, suffix)

    def picture(self, encoder: str) -> pathlib.Path:
        """Where a picture of the judged encoder goes, or of one that stands beside."""
        place = list(self._beside).index(encoder) + 1 if encoder in self._beside else 0
        return self.file(f"_beside{place}.png" if place else ".png")

    def check_place(self) -> None:
        """Raises InputError where no run is named, as numbers alone need none."""
        advice = 'Name a directory: run_dir="runs/a"'
        there = self.flags.run_dir != ""
        check(there, "run_dir, in whose eval/ files go", "none", advice)

    def result(self, protocol_title: str, **fields: Any) -> Result:
        """A result of this encoder: title, options, hash and versions are filled in.

        Args:
            protocol_title: What the flags say is added.
            **fields: Of `Result`; they win.
        """
        from selfsup_tf.evaluation.features import versions, weights_hash

        beside = (note for one in self._beside.values() for note in one.described)
        filled = {
            "protocol": self.protocol,
            "title": titled(protocol_title, self.name.removeprefix(self.protocol)),
            "options": options_of(self.flags),
            "place": self.place if self._images is None else None,
            "versions": versions(),
        }
        fields["notes"] = (*fields.get("notes", ()), *beside)
        if "weights_hash" not in fields:
            filled["weights_hash"] = weights_hash(self.encoder)
        return Result(**filled | fields)
