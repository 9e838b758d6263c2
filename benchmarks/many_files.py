"""How long a folder of very many files takes to open, the first time and later.

    python benchmarks/many_files.py --count=100000

Each opening is a process of its own; the files are small JPEGs in a hundred folders,
made for the purpose and removed. Memory is what the process had at its peak beside what
TensorFlow takes without any images.
"""

import argparse
import io
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="files")
    return parser.parse_args()


def _write(folder: pathlib.Path, count: int) -> None:
    import PIL.Image

    from selfsup_tf.data.sources.shapes import make_shapes

    files = []
    for image in make_shapes("train", size=500)[0]:
        file = io.BytesIO()
        PIL.Image.fromarray(image).save(file, "JPEG")
        files.append(file.getvalue())
    for number in range(count):
        path = folder / f"class_{number % 100:02d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[number % len(files)])


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _open(folder: pathlib.Path, images: int) -> tuple[float, float, float]:
    """Seconds to open the folder and to read some images, and MB taken by both."""
    from selfsup_tf.data.sources import open_source
    from selfsup_tf.data.sources.shapes import make_shapes

    small = open_source(make_shapes("train", size=10)[0])
    list(small.ordered())  # TensorFlow is awake
    before, start = _peak(), time.perf_counter()
    source = open_source(folder)
    opened = time.perf_counter()
    shuffled = source.shuffled(seed=0, epoch=0).take(images)
    for _ in shuffled.prefetch(8):
        pass
    return opened - start, time.perf_counter() - opened, _peak() - before


def _in_a_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    flags = _arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = str(pathlib.Path(place, "cache"))
        folder, images = pathlib.Path(place, "images"), min(2000, flags.count)
        _in_a_process(_write, folder, flags.count)
        print(f"{flags.count} files; reading is of {images} images in random order")
        print(f"{'opening':<10}{'opened':>10}{'read':>10}{'memory':>10}")
        for name in ("first", "second", "third"):
            opened, read, memory = _in_a_process(_open, folder, images)
            print(f"{name:<10}{opened:>8.1f} s{read:>8.1f} s{memory:>7.0f} MB")


if __name__ == "__main__":
    main()
