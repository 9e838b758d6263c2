"""How many pairs of views the input pipeline makes in a second.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --data=cifar10 --data_dir=~/tensorflow_datasets
    python benchmarks/input_pipeline.py --folder=~/photos
    python benchmarks/input_pipeline.py --folder=~/photos --peers

Small images are augmented in batches at 32 pixels, the folder's one by one at 224, both
without and with blur, with SimCLR's other defaults. Then the folder as `prepare` writes
it at 512 pixels, and photographs of 12 megapixels, made of the folder's first ones, as
they are and prepared. Beside them, in the same run since
machines are noisy: the same source read and decoded only, and a reference that makes a
view of one image with the ops of `tf.image`, as google-research/simclr does.

With --peers, only the folder at 224 pixels, in turns with what PyTorch's users take
(`input_pipeline_peers.py`), which is installed into an environment of its own. Theirs
and ours read the same files, on all cores, and give batches of float32, but for the row
of bytes. lightly and torchvision low-pass what they shrink, as ours does by
`antialias=True`; OpenCV does not, as ours by default.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from peers.environment import peers_python

from selfsup_tf import config as config_lib
from selfsup_tf.data import pipeline, preparing, sources
from selfsup_tf.data.source import Source

_ENDLESS = 10**7


class _Config(config_lib.Config):
    method = "none"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a TFDS name or .npz file of small images")
    parser.add_argument("--data_dir", help="where TFDS keeps its data")
    parser.add_argument("--folder", help="a folder of JPEG images")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of each measurement"
    )
    parser.add_argument(
        "--peers", action="store_true", help="beside other packages, in turns"
    )
    parser.add_argument(
        "--peers_env",
        type=pathlib.Path,
        default=pathlib.Path("~/.cache/selfsup-tf/peers"),
        help="where their environment is, or is made",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of --peers")
    return parser.parse_args()


def _rate(batches: Iterator, batch_size: int, seconds: float) -> float:
    """Images per second, after two seconds to warm up and tune."""
    start = time.perf_counter()
    while time.perf_counter() - start < 2:
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += batch_size
    return count / (time.perf_counter() - start)


def _reference_view(image: tf.Tensor, view: config_lib.ViewConfig, size: int):
    """A view without blur, by the stateful ops of `tf.image`."""
    begin, extent, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        min_object_covered=0.0,
        area_range=view.crop_area,
        aspect_ratio_range=view.crop_aspect,
        use_image_if_no_bounding_boxes=True,
    )
    image = tf.image.resize(tf.slice(image, begin, extent), (size, size), "bicubic")
    image = tf.image.random_flip_left_right(image / 255)
    operations = [
        lambda x: x * tf.random.uniform((), 1 - view.brightness, 1 + view.brightness),
        lambda x: tf.image.random_contrast(x, 1 - view.contrast, 1 + view.contrast),
        lambda x: tf.image.random_saturation(
            x, 1 - view.saturation, 1 + view.saturation
        ),
        lambda x: tf.image.random_hue(x, view.hue),
    ]

    def jitter(x):
        order = tf.random.shuffle(tf.range(4))
        for slot in range(4):
            branches = [lambda x=x, op=op: op(x) for op in operations]
            x = tf.clip_by_value(tf.switch_case(order[slot], branches), 0.0, 1.0)
        return x

    image = _sometimes(view.jitter, image, jitter)
    return _sometimes(
        view.grayscale,
        image,
        lambda x: tf.tile(tf.image.rgb_to_grayscale(x), [1, 1, 3]),
    )


def _sometimes(probability, image, operation):
    chosen = tf.random.uniform(()) < probability
    return tf.cond(chosen, lambda: operation(image), lambda: image)


def _measure(source: Source, size: int, batch_size: int, seconds: float) -> None:
    def report(name, rate):
        print(f"{size:>4} px  {name:<34} {rate:>8,.0f} per second", flush=True)

    plain = config_lib.ViewConfig(blur=0.0)
    images = source.shuffled(seed=0, epoch=0, labels=False).repeat()
    only = images.map(lambda example: tf.shape(example["image"])).batch(batch_size)
    reading = _rate(iter(only), batch_size, seconds)
    report("images read and decoded", reading)

    def reference(example):
        return [_reference_view(example["image"], plain, size) for _ in range(2)]

    pairs = images.map(reference, num_parallel_calls=tf.data.AUTOTUNE)
    pairs = pairs.batch(batch_size).prefetch(tf.data.AUTOTUNE)
    report("pairs by tf.image, no blur", _rate(iter(pairs), batch_size, seconds))

    for name, blur in (("no blur", 0.0), ("blur of every other view", 0.5)):
        view = config_lib.ViewConfig(blur=blur)
        config = _Config(image_size=size, batch_size=batch_size, views=(view, view))
        pairs = pipeline.training_dataset(source, config, total_steps=_ENDLESS)
        rate = _rate(iter(pairs), batch_size, seconds)
        report(f"pairs, {name}", rate)
        share = f"{rate / reading:.0%}"
        print(f"         of which reading and decoding takes {share} of the time")


def _noise_folder(folder: pathlib.Path) -> pathlib.Path:
    """Smooth noise of 400 x 300 pixels as JPEG, which decodes like photographs."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(128):
        coarse = tf.constant(rng.uniform(0, 255, size=(30, 40, 3)), tf.float32)
        image = tf.image.resize(coarse, (300, 400), "bicubic")
        image = tf.saturate_cast(image, tf.uint8)
        tf.io.write_file(str(folder / f"{number}.jpg"), tf.io.encode_jpeg(image))
    return folder


_PEERS = ("albumentations", "albumentations_bytes", "lightly", "torchvision")
_PACKAGES = ("torch", "torchvision", "albumentations", "lightly")
_PACKAGES += ("opencv-python-headless",)


def _measure_beside_peers(folder: str, arguments: argparse.Namespace) -> None:
    """A table of medians over rounds in which all take turns."""
    python = peers_python(arguments.peers_env, _PACKAGES)
    source = sources.open_source(folder)
    rates: dict[str, dict[float, list[float]]] = {}

    def ours(blur, antialias):
        view = config_lib.ViewConfig(blur=blur, antialias=antialias)
        config = _Config(image_size=224, batch_size=64, views=(view, view))
        pairs = pipeline.training_dataset(source, config, total_steps=_ENDLESS)
        return _rate(iter(pairs), 64, arguments.seconds)

    def theirs(peer, blur):
        file = pathlib.Path(__file__).with_name("input_pipeline_peers.py")
        flags = (f"--peer={peer}", f"--blur={blur}", f"--seconds={arguments.seconds}")
        command = [str(python), str(file), folder, *flags]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    blurs = (0.0, 0.5)
    for _ in range(arguments.rounds):
        for blur in blurs:
            measured = {"ours": ours(blur, False), "ours, antialias": ours(blur, True)}
            measured |= {peer: theirs(peer, blur) for peer in _PEERS}
            for name, rate in measured.items():
                rates.setdefault(name, {}).setdefault(blur, []).append(rate)
    print(f"\npairs of views per second, 224 px, {os.cpu_count()} cores, median of")
    print(f"{arguments.rounds} rounds (ours / theirs, the median of the rounds)\n")
    print(f"{'':<24}{'no blur':>16}{'every other':>16}")
    for name, by_blur in rates.items():
        cells = []
        for blur in blurs:
            of_ours, here = rates["ours"][blur], by_blur[blur]
            ratio = statistics.median(a / b for a, b in zip(of_ours, here, strict=True))
            cells.append(f"{statistics.median(here):,.0f} ({ratio:.2f})")
        print(f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> None:
    """Measures and prints."""
    arguments = _arguments()
    if arguments.folder:
        arguments.folder = str(pathlib.Path(arguments.folder).expanduser())
    if arguments.peers:
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.folder or _noise_folder(pathlib.Path(temporary, "all"))
            _measure_beside_peers(str(folder), arguments)
        return
    if arguments.data:
        small = sources.open_source(arguments.data, data_dir=arguments.data_dir)
    else:
        print("No --data is given: small images are noise, synthesised here.")
        rng = np.random.default_rng(0)
        small = sources.open_source(
            rng.integers(0, 256, size=(8192, 32, 32, 3), dtype=np.uint8)
        )
    _measure(small, 32, 512, arguments.seconds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder
        if not folder:
            print("No --folder is given: JPEG files are smooth noise, written here.")
            folder = _noise_folder(pathlib.Path(temporary, "all"))
        large = sources.open_source(str(folder))
        batch = min(64, large.size)
        _measure(large, 224, batch, arguments.seconds)
        camera = _camera_folder(large, pathlib.Path(temporary, "camera"))
        for name, data in (("the same", str(folder)), ("12 megapixels", str(camera))):
            output = pathlib.Path(temporary, name.replace(" ", "_"))
            preparing.prepare(data, output, size=512)
            for state, place in (("as files", data), ("prepared", str(output))):
                source, view = sources.open_source(place), config_lib.ViewConfig(blur=0)
                views = {"image_size": 224, "views": (view, view)}
                config = _Config(batch_size=min(batch, source.size), **views)
                pairs = pipeline.training_dataset(source, config, total_steps=_ENDLESS)
                rate = _rate(iter(pairs), config.batch_size, arguments.seconds)
                print(f" 224 px  {name}, {state:<20} {rate:>8,.1f} pairs per second")


def _camera_folder(source: Source, folder: pathlib.Path) -> pathlib.Path:
    """32 images enlarged to 4000 x 3000, with the grain of a sensor."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, element in enumerate(source.ordered().take(32).as_numpy_iterator()):
        image = tf.image.resize(element["image"], (3000, 4000), "bicubic").numpy()
        image += rng.normal(0, 3, (3000, 4000, 1))
        image = tf.saturate_cast(image, tf.uint8)
        file = tf.io.encode_jpeg(image, quality=90)
        tf.io.write_file(str(folder / f"{number}.jpg"), file)
    return folder


if __name__ == "__main__":
    main()
