"""An encoder that is judged: its networks, its images, its files."""

import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from selfsup_tf.config import FROM_PYTHON, Config
from selfsup_tf.errors import check
from selfsup_tf.evaluation import run_images
from selfsup_tf.evaluation.beside import makers, open_beside
from selfsup_tf.evaluation.flags import RunFlags
from selfsup_tf.evaluation.protocol import Result
from selfsup_tf.evaluation.results import name_result, options_of, titled
from selfsup_tf.lineage import NONE, labels_in
from selfsup_tf.methods import restore_config
from selfsup_tf.run import ENCODERS, RunDirectory

if TYPE_CHECKING:
    import keras

    from selfsup_tf.data.source import Source
    from selfsup_tf.data.stored_vectors import StoredVectors
    from selfsup_tf.models.teacher import Teacher


class Judged:
    """An encoder that is judged: its networks, its images, its files.

    Args:
        flags: What the user says of it: an object of a protocol's flags.
        protocol: The protocol's word, which names the files.
        encoder: The encoder, from Python; None loads the run's.
        images: (train, test) as `open_source` takes them, from Python; the second may
            be None. None opens those that the flags or the run name.
        cache: A folder that keeps representations of an encoder from Python.

    Attributes:
        run: The directory.
        given: The encoder from Python, or None.
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
        self.flags, self.protocol = flags, protocol
        self.run = RunDirectory(flags.run_dir)
        self.cache = cache if encoder is not None else self.run.features
        self.given, self._images = encoder, images
        self._which = self._said("encoder") or "last"
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

    def _said(self, name: str) -> Any:
        """A flag that not every protocol has."""
        return vars(self.flags).get(name)

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

    @functools.cached_property
    def _stored(self) -> dict[str, Any] | None:
        """The run's config.json; None where no run is named."""
        return self.run.read_config() if self.flags.run_dir else None

    @property
    def _is_best(self) -> bool:
        """Whether it is the best encoder of its run."""
        return self.run.encoder(self._which).stem == ENCODERS["best"]

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

    def open_evaluation(self) -> "tuple[Source, Source]":
        """Labelled images to fit on, and labelled images to be judged on."""
        check(
            self._images is None or self._images[1] is not None,
            "images to judge on beside those to fit on",
            "one set alone",
            "Give the test images, too.",
        )
        return self._given_images or self._evaluation_images

    def open_pair(self) -> "tuple[Source, Source]":
        """Images and others, with labels or without."""
        return self._given_images or self.opened("open_pair")

    def open_test(self) -> "Source":
        """Images that a classifier has not learned from."""
        if self._given_images:
            return self._given_images[1]
        return self._open_unseen("open_test")

    def open_source(self, split: str | None = None) -> "Source":
        """One part of the images; that which the run learned from by default."""
        if self._given_images:
            return self._given_images[0]
        if split is None and not self.is_other_data:
            split = self._own("split", "train")
        return self.opened("open_source", split=split or "train")

    @functools.cached_property
    def _given_images(self) -> "tuple[Source, Source] | None":
        """The images from Python, or None."""
        if self._images is None:
            return None
        from selfsup_tf.data.sources import open_source

        given = (images for images in self._images if images is not None)
        opened = [open_source(images, channels=self.channels) for images in given]
        return opened[0], opened[-1]

    @functools.cached_property
    def _evaluation_images(self) -> "tuple[Source, Source]":
        """Opened once, whoever asks: a folder is listed in doing so."""
        return self._open_unseen("open_evaluation")

    def _open_unseen(self, function: str) -> Any:
        """Opens images of which one part has not been learned from."""
        data, _ = self.data()
        check(
            not self._learned.test_labels(data),
            f"a test split of {data} that the network has not seen",
            f"a run that learned labels of {self._own('split', 'a part')} of "
            f"{self._own('data', 'it')}",
            "Name images that it has not seen: --data=FOLDER",
        )
        beside = run_images.check_unseen(self._said("beside") or (), data)
        return self.opened(function, learned=beside or self._learned.labels(data))

    def opened(self, function: str, **options: Any) -> Any:
        """Images by a function of `data.sources`; what is to say of them is said."""
        from selfsup_tf.data import sources

        data, reading = self.data()
        found = getattr(sources, function)(data, **reading, **options)
        run_images.tell_of(found if isinstance(found, tuple) else (found,))
        return found

    def data(self) -> tuple[str, dict[str, Any]]:
        """Where the images are, and fields of `Reading`: as said, else the run's."""
        said = self._said("data"), self._said("data_dir")
        data, data_dir = run_images.images_of(self.run, self._stored, *said)
        labels = self._said("labels")
        if labels is None:
            labels = self.is_other_data or self._own("labels", True)
        reading = {"labels": labels, "exif": self.turns_upright, "data_dir": data_dir}
        return data, reading | {"channels": self.channels}

    @property
    def channels(self) -> int | None:
        """Of the images that the encoder takes; None where nothing says it."""
        if self.given is not None:
            return run_images.channels_in(self.given.input_shape)
        named = bool(self.flags.run_dir)
        return (
            run_images.read_channels(self.run.encoder(self._which)) if named else None
        )

    @property
    def turns_upright(self) -> bool:
        """Whether photographs are turned: as the run did, unless a flag forbids it."""
        # Runs of before there was a choice read photographs as they are stored.
        return self._own("exif", not self._stored) and self._said("exif") is not False

    def _own(self, name: str, otherwise: Any) -> Any:
        """A field of the run's config, if it has one."""
        return (self._stored or {}).get(name, otherwise)

    @property
    def is_other_data(self) -> bool:
        """Whether --data names others than the run's images, which may have moved."""
        data, own = self._said("data"), self._own("data", FROM_PYTHON)
        # What a run was given in Python has no name to compare with.
        named = data is not None and self.given is None and own != FROM_PYTHON
        return named and not run_images.may_be_the_same(own, data)

    @functools.cached_property
    def _learned(self) -> run_images.Learned:
        """What the run has learned of its images."""
        labels = labels_in(self.run, is_best=self._is_best) if self._stored else NONE
        return run_images.Learned(labels)

    @property
    def can_be_judged(self) -> bool:
        """Whether there are images whose labels have not gone into it."""
        data, _ = self.data()
        some, test = self._learned.labels(data), self._learned.test_labels(data)
        return not test and (not some or self.has_test_split)

    @property
    def has_test_split(self) -> bool:
        """Whether the images have a part to be judged by; no image is read."""
        from selfsup_tf.data.sources import has_test_split

        data, reading = self.data()
        return has_test_split(data, **reading)

    @property
    def name(self) -> str:
        """The name of its result, see `results.name_result`."""
        other = self.is_other_data
        return name_result(self.protocol, self.flags, self.run.file, other_data=other)

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
            "versions": versions(),
        }
        fields["notes"] = (*fields.get("notes", ()), *beside)
        if "weights_hash" not in fields:
            filled["weights_hash"] = weights_hash(self.encoder)
        return Result(**filled | fields)
