"""How many pairs of views the input pipeline makes in a second.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --data=cifar10 --data_dir=~/tensorflow_datasets
    python benchmarks/input_pipeline.py --folder=~/photos

Small images are augmented in batches at 32 pixels, the folder's one by one at 224, both
without and with blur, with SimCLR's other defaults. Then the folder as `prepare` writes
it at 512 pixels, and photographs of 12 megapixels, made of the folder's first ones, as
they are and prepared. Beside them, in the same run since
machines are noisy: the same source read and decoded only, and a reference that makes a
view of one image with the ops of `tf.image`, as google-research/simclr does.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

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
    rng = np.random.default_rng(0)
    for number in range(128):
        coarse = tf.constant(rng.uniform(0, 255, size=(30, 40, 3)), tf.float32)
        image = tf.image.resize(coarse, (300, 400), "bicubic")
        image = tf.saturate_cast(image, tf.uint8)
        tf.io.write_file(str(folder / f"{number}.jpg"), tf.io.encode_jpeg(image))
    return folder


def main() -> None:
    """Measures and prints."""
    arguments = _arguments()
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
            folder = _noise_folder(pathlib.Path(temporary))
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
