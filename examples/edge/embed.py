"""Embeds, finds and classifies images on a small computer.

    pip install ai-edge-litert numpy pillow

    python embed.py index encoder_int8.tflite photos --index=photos.npz
    python embed.py search encoder_int8.tflite query.jpg --index=photos.npz --k=5
    python embed.py embed encoder_int8.tflite a.jpg b.png --output=embeddings.npz
    python embed.py classify encoder_int8.tflite a.jpg b.png --k=3

Needs no TensorFlow and nothing of the package: copy this folder beside a TFLite file
that export.py has written. `index` run again embeds only what is new or has changed,
and forgets what is gone. `classify` is for files that were exported with a classifier.
What is no image is skipped and named; where single files were asked for, the exit code
is then 1.

Legend: N images, D length of the representation h.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
from encoder import Encoder, Problem, evaluation_view, read_image
from index import check_place, find_files, known_by, load_index, load_kept, write_npz


def call_on_files(
    call: Callable,
    paths: list[pathlib.Path],
    flags: argparse.Namespace,
    *,
    of: tuple[int, int],
):
    """Calls a network on the views of files and names those that are no images.

    Args:
        call: An encoder, or its `classify`.
        paths: The files.
        flags: Of the command line: how many are read at once, and how.
        of: Size and channels of the views that it takes.

    Yields:
        (paths, answers): of one batch after the other those that could be read, and
        what the network says of them, (N, ...) float32.
    """
    for start in range(0, len(paths), flags.batch):
        readable, views = [], []
        for path in paths[start : start + flags.batch]:
            try:
                image = read_image(path, exif=not flags.as_stored)
                views.append(evaluation_view(image, *of))
                readable.append(path)
            except Problem as problem:
                print(f"skipped {path}: {problem}", file=sys.stderr)
        if readable:
            yield readable, call(np.stack(views))


def run_index(encoder: Encoder, flags: argparse.Namespace) -> None:
    """Makes the index of a folder, or brings it up to date."""
    folder, path = pathlib.Path(flags.folder).resolve(), pathlib.Path(flags.index)
    if not folder.is_dir():
        raise Problem(f"expected a folder of images; received {flags.folder}.")
    found, unread = find_files(folder)
    for place in unread:
        print(f"skipped {folder / place}: it can't be read", file=sys.stderr)
    if path.resolve().is_relative_to(folder):
        found.pop(str(path.resolve().relative_to(folder)), None)
    if not found and path.exists():
        raise Problem(
            f"expected the images of {path} in {folder}; received an empty folder, as "
            "of a disk that is not mounted. To begin anew, delete the index."
        )
    check_place(path)
    names, representation = load_kept(path, encoder, flags, folder, found, unread)
    kept = len(names)
    new = [folder / name for name in sorted(found.keys() - set(names))]
    started = time.perf_counter()
    try:
        for paths, h in call_on_files(encoder, new, flags, of=encoder.takes):
            names += [str(path.relative_to(folder)) for path in paths]
            representation += list(h)
            if sys.stderr.isatty():
                print(f"\r{len(names) - kept} of {len(new)}", end="", file=sys.stderr)
    finally:
        # An interrupted run keeps what it has done; an index of nothing is removed.
        if not names:
            path.unlink(missing_ok=True)
        else:
            arrays = {
                "folder": str(folder),
                "names": np.array(names),
                "stamps": np.array([found[name] for name in names]),
                "representation": np.stack(representation),
                "model": known_by(encoder, flags),
            }
            write_npz(path, arrays)
    if not names:
        raise Problem(f"expected images in {folder}; received none that is readable.")
    added, seconds = len(names) - kept, time.perf_counter() - started
    print(
        f"{path}: {len(names)} images; {added} embedded in {seconds:.1f} s, "
        f"{len(new) - added} skipped"
    )


def run_search(encoder: Encoder, flags: argparse.Namespace) -> None:
    """Prints the images of an index that are most like one."""
    index = load_index(flags.index, encoder, flags)
    try:
        image = read_image(flags.image, exif=not flags.as_stored)
        view = evaluation_view(image, *encoder.takes)
    except Problem as problem:
        raise Problem(f"{flags.image}: {problem}") from problem
    folder, names = pathlib.Path(str(index["folder"])), index["names"].tolist()
    cosines = unit(index["representation"]) @ unit(encoder(view[None]))[0]
    for row in np.argsort(-cosines, kind="stable")[: flags.k]:
        print(f"{cosines[row]:.4f}  {folder / names[row]}")


def unit(h: np.ndarray) -> np.ndarray:
    """h, (N, D), with rows of length 1."""
    return h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12)


def run_embed(encoder: Encoder, flags: argparse.Namespace) -> None:
    """Writes the representations of single files."""
    check_place(pathlib.Path(flags.output))
    parts = list(call_on_images(encoder, flags, of=encoder.takes))
    names = [str(path) for paths, _ in parts for path in paths]
    representation = np.concatenate([h for _, h in parts])
    arrays = {"names": np.array(names), "representation": representation}
    write_npz(flags.output, arrays)
    print(f"{flags.output}: representation {representation.shape}")


def run_classify(encoder: Encoder, flags: argparse.Namespace) -> None:
    """Prints the most probable classes of single files."""
    encoder.require_classifier()
    for paths, answers in call_on_images(encoder.classify, flags, of=encoder.takes):
        for path, probabilities in zip(paths, answers, strict=True):
            for row in np.argsort(-probabilities, kind="stable")[: flags.k]:
                name = encoder.class_names[row]
                print(f"{probabilities[row]:.4f}  {name}  {path}")


def call_on_images(call: Callable, flags: argparse.Namespace, *, of: tuple[int, int]):
    """As `call_on_files`, of the images that the command line names.

    Raises:
        Problem: None is readable.
    """
    files, count = [pathlib.Path(name) for name in flags.images], 0
    for paths, answers in call_on_files(call, files, flags, of=of):
        count += len(paths)
        yield paths, answers
    if not count:
        raise Problem("expected images; received none that is readable.")
    flags.left_out = len(files) - count


def positive(text: str) -> int:
    """A whole number above 0 of the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected 1 or more; received {text}")
    return int(text)


def parse() -> argparse.Namespace:
    """The command line; `run` is the command's function."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(
        required=True, metavar="index | search | embed | classify"
    )
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("model", metavar="MODEL", help="a TFLite file")
    every.add_argument("--num_threads", type=positive, help="cores to use")
    every.add_argument(
        "--as_stored",
        action="store_true",
        help="photographs not turned upright, for an encoder of --exif=False",
    )
    every.add_argument("--batch", type=positive, default=16, help="images read at once")

    def command(run, name):
        part = commands.add_parser(name, parents=[every], help=run.__doc__)
        part.set_defaults(run=run, left_out=0)  # files that were named in vain
        return part

    index = command(run_index, "index")
    index.add_argument("folder", metavar="FOLDER")
    search = command(run_search, "search")
    search.add_argument("image", metavar="IMAGE")
    search.add_argument("--k", type=positive, default=5, help="how many neighbours")
    classify = command(run_classify, "classify")
    classify.add_argument("--k", type=positive, default=1, help="how many classes")
    for part in (index, search):
        part.add_argument("--index", required=True, help="the index, an .npz file")
    embed = command(run_embed, "embed")
    for part in (embed, classify):
        part.add_argument("images", metavar="IMAGE", nargs="+")
    embed.add_argument("--output", required=True, help="an .npz file to write")
    return parser.parse_args()


def main() -> None:
    """Runs one command."""
    flags = parse()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names may hold any bytes
    try:
        flags.run(Encoder(flags.model, flags.num_threads), flags)
        if flags.left_out:
            sys.exit(1)  # a program that calls this one reads no warnings
    except (Problem, OSError) as problem:
        sys.exit(f"embed.py: {problem}")
    except KeyboardInterrupt:
        sys.exit("embed.py: interrupted")


if __name__ == "__main__":
    main()
