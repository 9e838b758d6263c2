"""What the sub-folders of a folder of images are: splits, classes, or a wrapping."""

import collections
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Collection, Iterator

from selfsup_tf.data.splits import all_like_splits, find_splits, judges_of
from selfsup_tf.run import is_run

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"),
    *(".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"),
)
"""Of files that are read. What is in them says how."""

_UNREAD = """
    tif tiff heic heif hif avif jxl jp2 j2k jpf jpx jpm jxr wdp hdp
    apng mng jng dib rle ico icns cur tga pcx ppm pgm pbm pnm pam pfm
    xbm xpm sgi ras qoi bpg flif dds exr hdr dpx djvu mpo jps
    raw dng cr2 cr3 crw nef nrw arw srf sr2 srw orf raf rw2 rwl pef
    x3f 3fr fff erf kdc dcr mef mos mrw iiq gpr
    psd psb xcf kra ai eps svg svgz wmf emf
    dcm dicom nii mha nrrd fits fit svs ndpi czi lif
"""
UNREAD = frozenset(f".{kind}" for kind in _UNREAD.split())
"""Of files that are pictures, and of no kind that is read."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the splits of a folder are.

    Attributes:
        splits: The folder of each split, in the order of `find_splits`; "train" alone
            where there are none.
        judges: The split to be judged by, or None. Where the images to learn from lie
            in class folders, one without can't judge.
        notes: What there is to say of it, in sentences.
    """

    splits: dict[str, pathlib.Path]
    judges: str | None = None
    notes: tuple[str, ...] = ()


def find_layout(folder: pathlib.Path) -> Layout:
    """Finds the splits of a folder; no file is read.

    Sub-folders without pictures count for nothing. A folder whose pictures all lie in
    one sub-folder stands for that, again and again. What is a split,
    `selfsup_tf.data.splits.find_splits` says; of splits to be learned from alone,
    pictures must not lie beside them.
    """
    folder = _unwrap(folder)
    beside = _has_pictures(folder)
    names = list(_holding(folder))
    found = find_splits(names)
    if not found or (beside and not judges_of(found)):
        notes = ()
        if all_like_splits(names):
            what = f"{', '.join(names)} are taken for classes, as none is named train. "
            notes = (what + "If they are splits, name one of them as the data.",)
        return Layout({"train": folder}, notes=notes)
    splits = {"train": _unwrap(folder / found["train"])}
    classes = frozenset(_holding(splits["train"]))
    for word, name in found.items():
        splits.setdefault(word, _unwrap(folder / name, classes))
    tests = judges_of(splits)
    flat = [test for test in tests if not _has_classes(splits[test])]
    if not _has_classes(splits["train"]):
        flat = []  # no labels are to be compared with
    notes = [f"Splits: {', '.join(_called(*item) for item in found.items())}."]
    if flat:
        notes.append(f"No class folders, so no judge, in {', '.join(flat)}.")
    others = [name for name in names if name not in found.values()]
    if others or beside:
        others += ["the images beside them"] * beside
        notes.append(f"Of no split, and left out: {', '.join(others)}.")
    judges = next((test for test in tests if test not in flat), None)
    return Layout(splits, judges, tuple(notes))


def list_files(
    root: pathlib.Path, unread: dict[str, str] | None = None
) -> Iterator[str]:
    """All files below a folder, but hidden ones: relative to it, with "/" inside.

    Folders that may not be opened, directories of runs, whose pictures are charts, and
    links that lead nowhere, are added to `unread` with the reason.
    """
    unread = {} if unread is None else unread
    folders = collections.deque([("", (os.path.realpath(root),))])
    while folders:
        prefix, above = folders.popleft()
        entries = _entries(root / prefix)
        if entries is None:
            unread[prefix] = "permission denied"
        elif is_run(root / prefix):
            unread[prefix], entries = "the directory of a run", None
        for entry in entries or ():
            if entry.name.startswith("."):
                continue
            file, folder = _is_what(entry)
            if file:
                yield prefix + entry.name
            elif not folder:
                unread[prefix + entry.name] = "no file, or a link that leads nowhere"
            elif os.path.realpath(entry) not in above:
                # A link to a folder above it would lead round for ever.
                below = (*above, os.path.realpath(entry))
                folders.append((f"{prefix}{entry.name}/", below))


def suffix_of(file: str) -> str:
    """The suffix in small letters, with its dot."""
    return os.path.splitext(file)[1].lower()


def _called(word: str, name: str) -> str:
    return word if word == name else f"{word} ({name})"


def _unwrap(folder: pathlib.Path, classes: Collection[str] = ()) -> pathlib.Path:
    """The folder, or that below it which alone holds all pictures and is no class."""
    while not _has_pictures(folder):
        first_two = list(itertools.islice(_holding(folder), 2))
        if len(first_two) != 1 or first_two[0] in classes:
            break
        folder = folder / first_two[0]
    return folder


def _has_classes(folder: pathlib.Path) -> bool:
    return not _has_pictures(folder) and any(True for _ in _holding(folder))


def _holding(folder: pathlib.Path) -> Iterator[str]:
    """Names of the sub-folders that hold pictures, sorted.

    A link to where it lies, or above, is none.
    """
    here = pathlib.Path(os.path.realpath(folder))
    for entry in sorted(_entries(folder) or (), key=lambda entry: entry.name):
        if entry.name.startswith(".") or not _is_what(entry)[1]:
            continue
        if here.is_relative_to(os.path.realpath(entry)):
            continue
        if any(map(_is_picture, list_files(folder / entry.name))):
            yield entry.name


def _has_pictures(folder: pathlib.Path) -> bool:
    files = (entry for entry in _entries(folder) or () if _is_what(entry)[0])
    return any(_is_picture(f.name) for f in files if not f.name.startswith("."))


def _entries(folder: pathlib.Path) -> Iterator[os.DirEntry] | None:
    """What lies in a folder; None where it may not be opened."""
    try:
        return os.scandir(folder)
    except PermissionError:
        return None


def _is_what(entry: os.DirEntry) -> tuple[bool, bool]:
    """Whether it is, or leads to, a file, and a folder."""
    try:
        return entry.is_file(), entry.is_dir()
    except OSError:  # a link that leads to itself
        return False, False


def _is_picture(file: str) -> bool:
    return suffix_of(file) in SUFFIXES or suffix_of(file) in UNREAD
