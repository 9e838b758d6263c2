"""Ten classes of drawn shapes, for a first run that needs no download.

An image shows one large shape on a background. What the shape is follows from its
label; colours, pose, size, light, textures and clutter are drawn from the same
distribution for every class, so that neither colours nor single pixels tell the class.
N images, S pixels a side, everything in float32 until the last line.
"""

from collections.abc import Callable

import numpy as np

from selfsup_tf.data.source import Reading, Source, SourceKind
from selfsup_tf.data.sources.arrays import array_source
from selfsup_tf.errors import check, check_one_of

SPLIT_SIZES = {"train": 8000, "test": 2000}
IMAGE_SIZE = 32

_BLOCK = 500  # images drawn at once: their float32 planes stay in the CPU's cache
_NUM_DRAWS = 48  # uniform numbers that an image is made from


def make_shapes(
    split: str, *, size: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the images of a split and their labels.

    Image i depends on (split, seed, i) alone, so a smaller set is the beginning of a
    larger one. Label i is i modulo 10, which balances the classes.

    Args:
        split: "train" or "test".
        size: How many images; None for 8,000 and 2,000.
        seed: Chooses another set of the same kind.

    Returns:
        images, uint8 (N, 32, 32, 3), and labels, int64 (N,) in [0, 10).

    Raises:
        InputError: There is no such split, or the size is below 1.
    """
    check_one_of(split, SPLIT_SIZES, "a split of the shapes")
    size = SPLIT_SIZES[split] if size is None else size
    check(size >= 1, "a size of 1 or more", size, "Ask for at least one image.")
    key = [seed % 2**63, list(SPLIT_SIZES).index(split)]
    draws = np.random.default_rng([*key, 0])
    grain = np.random.default_rng([*key, 1])
    labels = np.arange(size, dtype=np.int64) % len(CLASS_NAMES)
    images = np.empty((size, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for start in range(0, size, _BLOCK):
        block = slice(start, min(start + _BLOCK, size))
        count = block.stop - block.start
        images[block] = _draw(
            labels[block],
            draws.random((count, _NUM_DRAWS), np.float32),
            grain.random((count, IMAGE_SIZE, IMAGE_SIZE), np.float32),
        )
    return images, labels


def _draw(labels: np.ndarray, draws: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Images uint8 (N, S, S, 3) from uniform draws (N, K) and pixel noise (N, S, S)."""
    columns = iter(draws.T[:, :, None, None])  # each (N, 1, 1)

    def uniform(low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(columns)

    line = (np.arange(IMAGE_SIZE, dtype=np.float32) + 0.5) / IMAGE_SIZE * 2 - 1
    x, y = line[None, None, :], line[None, :, None]  # the frame is [-1, 1] squared

    figure_luma, ground_luma = _contrasting(uniform)
    figure = _colour(uniform, figure_luma) * _texture(uniform, x, y, grain)
    ground = _colour(uniform, ground_luma) * _texture(uniform, x, y, grain[:, ::-1])
    for _ in range(2):
        ground = _speck(uniform, x, y, ground, ground_luma)

    scale = uniform(0.5, 0.72)
    room = 0.95 - scale
    x, y = x - uniform(-1, 1) * room, y - uniform(-1, 1) * room
    angle = uniform(0, 2 * np.pi)
    u = (np.cos(angle) * x + np.sin(angle) * y) / scale
    v = (np.cos(angle) * y - np.sin(angle) * x) / scale
    distance = np.empty(np.broadcast_shapes(u.shape, v.shape), np.float32)
    for label, name in enumerate(CLASS_NAMES):
        rows = labels == label
        distance[rows] = _DISTANCES[name](u[rows], v[rows])
    cover = np.clip(0.5 - distance * scale * IMAGE_SIZE / 2, 0, 1)
    image = ground + cover * (figure - ground)

    light, direction = uniform(0.0, 0.35), uniform(0, 2 * np.pi)
    shading = 1 + light * (np.cos(direction) * line[None, None, :] * 0.7)
    shading = shading + light * (np.sin(direction) * line[None, :, None] * 0.7)
    image = image * shading + (grain - 0.5) * uniform(0.0, 0.06)
    image = np.clip(np.moveaxis(image, 0, -1), 0, 1)
    return np.round(image * 255).astype(np.uint8)


Uniform = Callable[[float, float], np.ndarray]


def _contrasting(uniform: Uniform) -> tuple[np.ndarray, np.ndarray]:
    """Two lumas, each (N, 1, 1), at least 0.3 apart, either one the brighter."""
    gap = uniform(0.3, 0.5)
    low = 0.12 + uniform(0, 1) * (0.76 - gap)
    bright = uniform(-1, 1) > 0
    return np.where(bright, low + gap, low), np.where(bright, low, low + gap)


def _colour(uniform: Uniform, luma: np.ndarray) -> np.ndarray:
    """A colour (3, N, 1, 1) of this luma in any hue."""
    hue, chroma = uniform(0, 2 * np.pi), uniform(0.05, 0.3)
    third = 2 * np.pi / 3
    waves = np.stack([np.cos(hue), np.cos(hue - third), np.cos(hue + third)])
    waves = waves - np.tensordot([0.299, 0.587, 0.114], waves, 1).astype(np.float32)
    return np.clip(luma + chroma * waves, 0.02, 0.98)


def _texture(
    uniform: Uniform, x: np.ndarray, y: np.ndarray, grain: np.ndarray
) -> np.ndarray:
    """A factor (N, S, S) near 1: plain, stripes, checks, dots or grain."""
    kind, strength = uniform(0, 5), uniform(0.02, 0.08)
    frequency, angle, phase = uniform(7, 13), uniform(0, np.pi), uniform(0, 6.28)
    along = frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase
    across = frequency * (np.cos(angle) * y - np.sin(angle) * x) + phase
    wave, cross_wave = np.sin(along), np.sin(across)
    pattern = np.select(
        [kind < 1, kind < 2, kind < 3, kind < 4],
        [0 * wave, wave, np.sign(wave * cross_wave), 2 * (wave * cross_wave > 0.4) - 1],
        2 * grain - 1,
    )
    return (1 + strength * pattern).astype(np.float32)


def _speck(
    uniform: Uniform, x: np.ndarray, y: np.ndarray, ground: np.ndarray, luma: np.ndarray
) -> np.ndarray:
    """The background with a small round speck of a colour of its own."""
    colour = _colour(uniform, np.clip(luma + uniform(-0.18, 0.18), 0.05, 0.95))
    radius = uniform(0.0, 0.15)
    distance = np.hypot(x - uniform(-1, 1), y - uniform(-1, 1)) - radius
    cover = np.clip(0.5 - distance * IMAGE_SIZE / 2, 0, 1)
    return ground + cover * (colour - ground)


def _box(u: np.ndarray, v: np.ndarray, width: float, height: float) -> np.ndarray:
    """Signed distance to a box of these half sides around the origin."""
    a, b = np.abs(u) - width, np.abs(v) - height
    return np.hypot(np.maximum(a, 0), np.maximum(b, 0)) + np.minimum(
        np.maximum(a, b), 0
    )


def _triangle(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance (along the nearest side's normal) to a triangle pointing up."""
    side = np.abs(u) * np.float32(3**0.5 / 2) - v / 2
    return np.maximum(side, v) - radius / 2


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance to the nearest of ten sides, folded into one by the symmetry."""
    radius, inner = 1.22, 0.52
    fifth = np.float32(np.pi / 5)
    angle = np.abs(np.mod(np.arctan2(u, -v) + fifth, 2 * fifth) - fifth)
    length = np.hypot(u, v)
    px, py = length * np.cos(angle), length * np.sin(angle)
    qx, qy = inner * np.cos(fifth), inner * np.sin(fifth)
    normal = np.array([qy, radius - qx]) / np.hypot(qy, radius - qx)
    return ((px - radius) * normal[0] + py * normal[1]).astype(np.float32)


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Two disks and a square on its corner."""
    u, v = np.abs(u), v - 0.05
    lobe = np.hypot(u - 0.37, v + 0.37) - np.float32(0.37 * 2**0.5)
    a, b = (u + v) / np.float32(2**0.5), (v - u) / np.float32(2**0.5)
    side = np.float32(0.74 * 2**-0.5)
    square = np.maximum(np.abs(a) - side, np.abs(b) - side)
    return np.minimum(lobe, square)


def _arrow(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    head = _triangle(u, v + 0.3, 0.85)
    return np.minimum(head, _box(u, v - 0.42, 0.24, 0.63))


_DISTANCES = {
    "disk": lambda u, v: np.hypot(u, v) - 0.8,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.75) - 0.2,
    "square": lambda u, v: _box(u, v, 0.72, 0.72),
    "triangle": lambda u, v: _triangle(u, v - 0.2, 1.2),
    "star": _star,
    "cross": lambda u, v: np.minimum(_box(u, v, 0.95, 0.28), _box(u, v, 0.28, 0.95)),
    "crescent": lambda u, v: np.maximum(
        np.hypot(u, v) - 1.0, 0.72 - np.hypot(u - 0.45, v)
    ),
    "heart": _heart,
    "arrow": _arrow,
    "bars": lambda u, v: _box(u, np.abs(v) - 0.48, 0.9, 0.24),
}


CLASS_NAMES = tuple(_DISTANCES)


def _open(name: str, split: str, reading: Reading) -> Source:
    images, labels = make_shapes(split)
    return array_source(
        f"{name}:{split}",
        images,
        labels=labels,
        class_names=CLASS_NAMES,
        channels=reading.channels,
    )


SOURCE = SourceKind(
    takes="shapes",
    recognises=lambda name, _: name == "shapes",
    open=_open,
    splits=lambda name, _: tuple(SPLIT_SIZES),
    names=lambda: ["shapes"],
)
