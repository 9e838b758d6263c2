"""A run that is judged or exported: its networks, its images, its files."""

import dataclasses
import pathlib
import re
from typing import Any

from selfsup_tf import config as configs
from selfsup_tf.cli import program, protocols
from selfsup_tf.errors import check
from selfsup_tf.run import RunDirectory

# Flags that change no number, or stand in a file's name in a way of their own.
_UNNAMED = ("run_dir", "data", "data_dir", "untrained", "classes", "output")


class Run:
    """The run that is judged: its networks, its images, its files.

    Args:
        flags: What the user says of it.
        protocol: Names the files.
    """

    def __init__(self, flags: protocols.RunFlags, protocol: str):
        check(
            flags.encoder == "last" or not flags.run_dir.endswith(".keras"),
            "--encoder beside the directory of a run",
            f"--encoder={flags.encoder} beside a file",
            "Name the directory, or leave --encoder out.",
        )
        self.flags = flags
        self.files = RunDirectory(flags.run_dir)
        self.directory = self.files.path
        self.folder = self.files.evaluation
        self.cache = self.files.features
        self._protocol = protocol

    @property
    def encoder(self) -> Any:
        """Its encoder, a keras.Model."""
        from selfsup_tf import api

        return api.load_encoder(self.flags.run_dir, self.flags.encoder)

    @property
    def encoder_path(self) -> pathlib.Path:
        """The file of the encoder."""
        return self.files.encoder(self.flags.encoder)

    def file(self, suffix: str) -> pathlib.Path:
        """Where a result goes: in its name stands every flag that is not the default.

        `knn.json`, `knn_k=5.json`, `health_encoder=best.json`, `map_data=photos.png`
        """
        names = [self._protocol]
        path = pathlib.Path(self.flags.run_dir)
        if path.suffix == ".keras" and path.stem != "encoder":
            names.append(f"file={path.stem}")
        if self._protocol == "transfer":
            names.append(pathlib.Path(self.flags.data).stem)
        elif self._is_other_data:
            names.append(f"data={pathlib.Path(self.flags.data).stem}")
        for field in dataclasses.fields(self.flags):
            value = getattr(self.flags, field.name)
            if field.name not in _UNNAMED and value != field.default:
                value = "-".join(map(str, value)) if isinstance(value, tuple) else value
                names.append(f"{field.name.replace('_', '-')}={value}")
        return self.folder / f"{'_'.join(names)}{suffix}"

    @property
    def _is_other_data(self) -> bool:
        """Whether --data names other images than the run's own, which may have moved.

        What a run was given in Python has no name to compare with.
        """
        if self.flags.data is None:
            return False
        own = self._own("data", configs.FROM_PYTHON)
        ours, theirs = (pathlib.Path(d).expanduser() for d in (own, self.flags.data))
        moved = not ours.exists() and ours.stem == theirs.stem
        same = own == self.flags.data or ours.resolve() == theirs.resolve()
        return not (own == configs.FROM_PYTHON or moved or same)

    def _own(self, name: str, otherwise: Any) -> Any:
        """A field of the run's config, if it has one."""
        return (self.files.read_config() or {}).get(name, otherwise)

    def _data(self) -> tuple[str, str | None]:
        flags = self.flags
        return program.run_data(flags.run_dir, flags.data, flags.data_dir)

    @property
    def has_learned(self) -> bool:
        """Whether labels of the images that shall judge it may have gone into it.

        They are learned by a run that leaves a classifier, and choose the best encoder
        by the online k-NN.
        """
        learned = (self.directory / "classifier.keras").is_file()
        if self.encoder_path.stem == "encoder_best":
            chosen = self.files.read_best()
            learned |= chosen is None or "knn" in chosen["by"]
        if not learned:
            return False
        return may_have_learned(self._own("data", configs.FROM_PYTHON), self._data()[0])

    @property
    def has_learned_test(self) -> bool:
        """Whether labels of a test split of these images may have gone into it."""
        own = self._own("data", configs.FROM_PYTHON), self._own("split", "train")
        return self.has_learned and may_have_learned_test(*own, self._data()[0])

    @property
    def can_be_judged(self) -> bool:
        """Whether there are images whose labels have not gone into it."""
        from selfsup_tf.data.sources import has_test_split

        data, data_dir = self._data()
        if self.has_learned_test:
            return False
        return not self.has_learned or has_test_split(data, data_dir=data_dir)

    def _check_test(self) -> None:
        check(
            not self.has_learned_test,
            f"a test split of {self._data()[0]} that the network has not seen",
            f"a run that learned labels of {self._own('split', 'a part')} of "
            f"{self._own('data', 'it')}",
            "Name images that it has not seen: --data=FOLDER",
        )

    def open_evaluation(self) -> tuple[Any, Any]:
        """Labelled images to fit on and to be judged on."""
        from selfsup_tf import api

        self._check_test()
        data, data_dir = self._data()
        pair = api.open_evaluation(data, learned=self.has_learned, data_dir=data_dir)
        program.name_skipped(*pair)
        return pair

    def open_pair(self) -> tuple[Any, Any]:
        """Images and others, with labels or without."""
        from selfsup_tf import api

        data, data_dir = self._data()
        pair = api.open_pair(data, data_dir=data_dir)
        program.name_skipped(*pair)
        return pair

    def open_test(self) -> Any:
        """Images that a classifier has not learned from."""
        from selfsup_tf import api

        self._check_test()
        data, data_dir = self._data()
        test = api.open_test(data, learned=self.has_learned, data_dir=data_dir)
        program.name_skipped(test)
        return test

    def open_source(self, split: str | None = None) -> Any:
        """One part of the images; that which the run learned from by default."""
        from selfsup_tf import api

        data, data_dir = self._data()
        if split is None and not self._is_other_data:
            split = self._own("split", "train")
        source = api.open_source(data, data_dir=data_dir, split=split or "train")
        program.name_skipped(source)
        return source


def may_have_learned(own: str, data: str) -> bool:
    """Whether a run on the data `own` may have learned from `data`: a part, or all.

    What was given in Python may have been anything.
    """
    from selfsup_tf.data.folders import TEST_SPLITS

    if own == configs.FROM_PYTHON:
        return True
    ours, theirs = (pathlib.Path(d).expanduser().resolve() for d in (own, data))
    if data == own or ours.is_relative_to(theirs):
        return True
    inside = theirs.relative_to(ours).parts if theirs.is_relative_to(ours) else ()
    return bool(inside) and inside[0] not in TEST_SPLITS


def may_have_learned_test(own: str, split: str, data: str) -> bool:
    """Whether a run on a part of `own` may have learned from the test split of `data`.

    Args:
        own: What the run learned from.
        split: Which part of it, such as train, train+test or test[:50%].
        data: What judges the run.
    """
    from selfsup_tf.data.folders import TEST_SPLITS

    ours, theirs = (pathlib.Path(d).expanduser().resolve() for d in (own, data))
    if data == own or ours == theirs:
        return bool({*TEST_SPLITS, "all"} & set(re.findall(r"\w+", split)))
    inside = ours.relative_to(theirs).parts if ours.is_relative_to(theirs) else ()
    return bool(inside) and inside[0] in TEST_SPLITS
