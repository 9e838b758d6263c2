"""The images that judge an encoder: opened, and kept apart from those it knows."""

import functools
from typing import TYPE_CHECKING, Any

from selfsup_tf.config import FROM_PYTHON
from selfsup_tf.errors import check
from selfsup_tf.evaluation import run_images
from selfsup_tf.evaluation.flags import RunFlags
from selfsup_tf.evaluation.naming import names_its_data, place_digest, short_name
from selfsup_tf.lineage import NONE, labels_in
from selfsup_tf.run import ENCODERS, RunDirectory

if TYPE_CHECKING:
    import keras

    from selfsup_tf.data.source import Source


class JudgedImages:
    """The images that judge an encoder.

    Args:
        flags: What the user says: an object of a protocol's flags.
        encoder: The encoder, from Python; None where it is the run's.
        images: (train, test) as `open_source` takes them, from Python; the second may
            be None. None opens those that the flags or the run name.

    Attributes:
        run: The directory.
        given: The encoder from Python, or None.
    """

    def __init__(
        self,
        flags: RunFlags,
        *,
        encoder: "keras.Model | None" = None,
        images: tuple[Any, Any] | None = None,
    ):
        self.flags = flags
        self.run = RunDirectory(flags.run_dir)
        self.given, self._images = encoder, images
        self._which = self._said("encoder") or "last"

    def _said(self, name: str) -> Any:
        """A flag that not every protocol has."""
        return vars(self.flags).get(name)

    @functools.cached_property
    def _stored(self) -> dict[str, Any] | None:
        """The run's config.json; None where no run is named."""
        return self.run.read_config() if self.flags.run_dir else None

    @property
    def _is_best(self) -> bool:
        """Whether it is the best encoder of its run."""
        return self.run.encoder(self._which).stem == ENCODERS["best"]

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
        data, _ = self.data
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

        data, reading = self.data
        found = getattr(sources, function)(data, **reading, **options)
        run_images.tell_of(found if isinstance(found, tuple) else (found,))
        return found

    @functools.cached_property
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
        return self._own("exif", True) and self._said("exif") is not False

    def _own(self, name: str, otherwise: Any) -> Any:
        """A field of the run's config, if it has one."""
        return (self._stored or {}).get(name, otherwise)

    @functools.cached_property
    def is_other_data(self) -> bool:
        """Whether --data names others than the run's images, which may have moved."""
        data, own = self._said("data"), self._own("data", FROM_PYTHON)
        # What a run was given in Python has no name to compare with.
        named = data is not None and self.given is None and own != FROM_PYTHON
        return named and not run_images.are_of_run(self.run, own, data)

    @property
    def place(self) -> str:
        """Tells the images from others by `place_digest`; "" are the run's own."""
        data = self._said("data")
        known = self._own("data", FROM_PYTHON) != FROM_PYTHON
        if data is None or self._images or (known and not self.is_other_data):
            return ""
        return place_digest(data)

    @property
    def _called(self) -> list[str | None]:
        """What the name of a result may call the images, the plainest first."""
        data = self._said("data")
        if data is None:
            return [None]
        called = [short_name(data), f"{short_name(data)}-{place_digest(data)[:4]}"]
        if names_its_data(self.flags) or self.is_other_data:
            return called
        return [None, *called] if self.place else [None]

    @functools.cached_property
    def _learned(self) -> run_images.Learned:
        """What the run has learned of its images."""
        labels = labels_in(self.run, is_best=self._is_best) if self._stored else NONE
        return run_images.Learned(labels)

    @property
    def can_be_judged(self) -> bool:
        """Whether there are images whose labels have not gone into it."""
        data, _ = self.data
        some, test = self._learned.labels(data), self._learned.test_labels(data)
        return not test and (not some or self.has_test_split)

    @property
    def has_test_split(self) -> bool:
        """Whether the images have a part to be judged by; no image is read."""
        from selfsup_tf.data.sources import has_test_split

        data, reading = self.data
        return has_test_split(data, **reading)
