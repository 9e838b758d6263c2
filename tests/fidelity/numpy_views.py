"""The operations of the views, written out in Python and NumPy, float64, loops.

Each function says what a function of the reference does, which it names, and takes
nothing from the package. Images are (H, W, 3) in [0, 1]; a box is (y, x, height, width)
in pixels. Random numbers are given: `draws` are uniform in [0, 1).

Sources: [S] google-research/simclr, tf2/data_util.py; [B] google-deepmind/
deepmind-research, byol/utils/augmentations.py and dataset.py; [T] tensorflow,
core/kernels/image/; [V] pytorch/vision, transforms/v2/_geometry.py.
"""

import itertools
import math

import numpy as np


def scale_brightness(image, factor):
    """[S] random_brightness, impl simclrv2."""
    return image * factor


def shift_brightness(image, shift):
    """[B] adjust_brightness; [S] impl simclrv1."""
    return image + shift


def adjust_contrast(image, factor):
    """[B] adjust_contrast: about the mean of each channel over the image."""
    result = np.empty_like(image)
    for c in range(3):
        mean = math.fsum(image[:, :, c].ravel()) / image[:, :, c].size
        result[:, :, c] = factor * (image[:, :, c] - mean) + mean
    return result


def adjust_saturation(image, factor):
    """[B] adjust_saturation: S of HSV times the factor, cut off at 0 and 1."""

    def pixel(r, g, b):
        h, s, v = rgb_to_hsv(r, g, b)
        return hsv_to_rgb(h, min(max(s * factor, 0.0), 1.0), v)

    return _each_pixel(image, pixel)


def adjust_hue(image, turns):
    """[B] adjust_hue: H of HSV, in turns, moved and taken modulo 1."""

    def pixel(r, g, b):
        h, s, v = rgb_to_hsv(r, g, b)
        return hsv_to_rgb((h + turns) % 1.0, s, v)

    return _each_pixel(image, pixel)


def rgb_to_hsv(r, g, b):
    """[B] rgb_to_hsv, which names tensorflow's adjust_saturation_op.cc."""
    value = max(r, g, b)
    span = value - min(r, g, b)
    saturation = span / value if value > 0 else 0.0
    if span == 0:
        return 0.0, saturation, value
    if r == value:
        hue = (g - b) / (6 * span)
    elif g == value:
        hue = (b - r) / (6 * span) + 2 / 6
    else:
        hue = (r - g) / (6 * span) + 4 / 6
    return hue + (hue < 0), saturation, value


def hsv_to_rgb(h, s, v):
    """[B] hsv_to_rgb."""
    chroma = s * v
    least = v - chroma
    sextant = (h % 1.0) * 6
    middle = chroma * (1 - abs(sextant % 2 - 1))
    red, green, blue = {
        0: (chroma, middle, 0),
        1: (middle, chroma, 0),
        2: (0, chroma, middle),
        3: (0, middle, chroma),
        4: (middle, 0, chroma),
        5: (chroma, 0, middle),
    }[int(sextant)]
    return red + least, green + least, blue + least


def jitter(image, operations, values, order):
    """[S] color_jitter_rand, [B] _color_jitter: in this order, clipped after each."""
    for which in order:
        image = operations[which](image, values[which])
        image = np.clip(image, 0.0, 1.0)
    return image


def to_grayscale(image):
    """[B] _to_grayscale; [S] tf.image.rgb_to_grayscale."""
    return _each_pixel(
        image, lambda r, g, b: (0.2989 * r + 0.5870 * g + 0.1140 * b,) * 3
    )


def solarize(image, threshold):
    """[B] _solarize_single_image."""
    return np.where(image < threshold, image, 1.0 - image)


def blur_taps(height, reference):
    """Length of the blur's kernel.

    [S] kernel_size = height // 10, [B] kernel_size = height / 10; then both radius =
    int(kernel_size / 2) and 2 radius + 1.
    """
    kernel_size = height // 10 if reference == "simclr" else height / 10
    return 2 * int(kernel_size / 2) + 1


def blur_kernel(sigma, taps):
    """[S] gaussian_blur, [B] _gaussian_blur_single_image: weights that sum to 1."""
    radius = taps // 2
    weights = [math.exp(-(x**2) / (2 * sigma**2)) for x in range(-radius, radius + 1)]
    return np.array(weights) / math.fsum(weights)


def gaussian_blur(image, sigma, taps):
    """[S], [B]: along the rows, then along the columns; "SAME", zeros outside."""
    kernel = blur_kernel(sigma, taps)
    for axis in (1, 0):
        image = np.moveaxis(image, axis, 0)
        blurred = np.zeros_like(image)
        for place, tap in itertools.product(range(len(image)), range(taps)):
            neighbour = place + tap - taps // 2
            if 0 <= neighbour < len(image):
                blurred[place] += kernel[tap] * image[neighbour]
        image = np.moveaxis(blurred, 0, axis)
    return image


def flip(image):
    """[B] jnp.fliplr: column x becomes column W - 1 - x."""
    result = np.empty_like(image)
    width = image.shape[1]
    for x in range(width):
        result[:, width - 1 - x] = image[:, x]
    return result


def normalize(image, mean, std):
    """[B] dataset.py normalize_images."""
    return np.stack([(image[:, :, c] - mean[c]) / std[c] for c in range(3)], axis=-1)


def crop_and_resize(image, box, size, method, antialias):
    """A slice, then the weights of each axis.

    The overshoot of bicubic interpolation is left in.
    """
    y, x, height, width = box
    crop = image[y : y + height, x : x + width]
    rows = resize_weights(height, size, method, antialias)
    columns = resize_weights(width, size, method, antialias)
    return np.einsum("th,hwc,sw->tsc", rows, crop, columns)


def resize_weights(source, target, method, antialias):
    """[T] (target, source) weights of `tf.image.resize`, by which pixels are summed.

    resize_bilinear_op.cc and resize_bicubic_op.cc with half_pixel_centers (Keys's
    kernel, a = -.5, looked up in a table of 1024 offsets), and with antialias
    scale_and_translate_op.cc (the kernel is as wide as a target pixel, where that is
    more than one source pixel). Bilinear, the edge is repeated; in the others pixels
    outside count nothing and the weights are made to sum to 1.
    """
    kernel = _cubic if method == "bicubic" else _triangle
    scale = source / target
    stretch = max(scale, 1.0) if antialias else 1.0
    weights = np.zeros((target, source))
    for t in range(target):
        centre = (t + 0.5) * scale - 0.5
        below = math.floor(centre)
        if method == "bilinear" and not antialias:
            share = centre - below
            weights[t, max(below, 0)] += 1 - share
            weights[t, min(below + 1, source - 1)] += share
            continue
        if method == "bicubic" and not antialias:
            centre = below + round((centre - below) * 1024) / 1024
        for s in range(source):
            weights[t, s] = kernel(abs(s - centre) / stretch)
        weights[t] /= weights[t].sum()
    return weights


def torchvision_box(draws, height, width, area, aspect):
    """[V] RandomResizedCrop._get_params.

    The draws are ten shares, ten aspects, y and x.
    """
    for share, ratio in zip(draws[:10], draws[10:20], strict=True):
        target = height * width * (area[0] + (area[1] - area[0]) * share)
        ratio = _log_uniform(ratio, *aspect)
        w = round(math.sqrt(target * ratio))
        h = round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            y = _randint(draws[20], height - h + 1)
            x = _randint(draws[21], width - w + 1)
            return y, x, h, w
    if width / height < aspect[0]:
        w, h = width, round(width / aspect[0])
    elif width / height > aspect[1]:
        w, h = round(height * aspect[1]), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


def byol_box(draws, height, width, area, aspect):
    """[B] dataset.py _decode_and_random_crop.

    The draws are share, aspect, y and x.
    """
    target = (area[0] + (area[1] - area[0]) * draws[0]) * height * width
    ratio = _log_uniform(draws[1], *aspect)
    w = min(round(math.sqrt(target * ratio)), width)
    h = min(round(math.sqrt(target / ratio)), height)
    return _randint(draws[2], height - h + 1), _randint(draws[3], width - w + 1), h, w


def distorted_box(draws, height, width, area, aspect):
    """[T] sample_distorted_bounding_box_op.cc, as [S] distorted_bounding_box_crop asks.

    The draws are a hundred aspects, a hundred heights, y and x.
    """
    least, most = (share * width * height for share in area)
    for attempt in range(100):
        ratio = aspect[0] + (aspect[1] - aspect[0]) * draws[attempt]
        h = round(math.sqrt(least / ratio))
        max_h = round(math.sqrt(most / ratio))
        if round(max_h * ratio) > width:
            max_h = int((width + 0.5 - 1e-7) / ratio)
            if round(max_h * ratio) > width:
                max_h -= 1
        max_h = min(max_h, height)
        h = min(h, max_h)
        if h < max_h:
            h += _randint(draws[100 + attempt], max_h - h + 1)
        w = round(h * ratio)
        if w * h < least:
            h += 1
            w = round(h * ratio)
        if w * h > most:
            h -= 1
            w = round(h * ratio)
        if not (least <= w * h <= most and 0 < w <= width and 0 < h <= height):
            continue
        # min_object_covered = .1, the object being the whole image.
        if w * h / (width * height) >= 0.1:
            break
    else:
        h, w = height, width
    y = _randint(draws[200], height - h) if h < height else 0
    x = _randint(draws[201], width - w) if w < width else 0
    return y, x, h, w


def _each_pixel(image, function):
    result = np.empty_like(image)
    for y, x in itertools.product(range(image.shape[0]), range(image.shape[1])):
        result[y, x] = function(*map(float, image[y, x]))
    return result


def _log_uniform(draw, low, high):
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * draw)


def _randint(draw, count):
    """One of 0 ... count - 1."""
    return int(draw * count)


def _triangle(distance):
    return max(0.0, 1 - distance)


def _cubic(distance):
    if distance < 1:
        return (1.5 * distance - 2.5) * distance**2 + 1
    if distance < 2:
        return ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return 0.0
