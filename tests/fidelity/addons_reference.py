"""Computes with tensorflow-addons, in a process of its own.

python addons_reference.py GIVEN FOUND

GIVEN is a folder of .npz files, each the arguments of the function here that its name
begins with: blur-32.npz. What the function gives lies under the same name in FOUND.
"""

import os
import pathlib
import sys

# It is written for Keras 2, and its kernels were compiled for TensorFlow 2.15 or older.
os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_ADDONS_PY_OPS": "1"}

import numpy as np
import tensorflow as tf
import tf_keras

# Where Keras 2 had what it types its arguments with.
sys.modules["keras.src.engine"] = tf_keras.src.engine

import tensorflow_addons as tfa  # noqa: E402


def lookup(names):
    """Which of the names, such as tfa.image.rotate, are not there."""

    def is_there(name):
        _, module, part = name.split(".")
        return hasattr(getattr(tfa, module), part)

    return {"missing": [name for name in names.tolist() if not is_there(name)]}


def blur(images, sigmas, taps):
    """Images (N, H, W, 3), each with its sigma in pixels; zeros beyond the border."""
    blurred = [
        tfa.image.gaussian_filter2d(image, int(taps), float(sigma), "CONSTANT")
        for image, sigma in zip(images, sigmas, strict=True)
    ]
    return {"images": np.stack(blurred)}


def rotation(images, degrees):
    """Images (N, H, W, 3), bilinearly, mirrored at the edge."""
    radians = np.float32(np.radians(degrees))
    rotated = tfa.image.rotate(images, radians, "bilinear", fill_mode="reflect")
    return {"images": rotated}


def colours(images, turns, saturation, value):
    """Hue by parts of a turn, saturation and value by factors, all in YIQ."""
    radians = 2 * np.pi * float(turns)
    adjusted = tfa.image.adjust_hsv_in_yiq(
        images, radians, float(saturation), float(value)
    )
    return {"images": adjusted}


def activations(x, names):
    """Each of the activations of x."""
    return {name: getattr(tfa.activations, name)(x) for name in names.tolist()}


def nt_xent(z_1, z_2, temperature):
    """NT-Xent as an N-pairs loss of 2N classes, with its gradients.

    Row i of the logits is anchor i, column i its positive, the other view of the same
    image. An anchor's cosine with itself then lies where its positive's row has the
    positive: N columns away, where its weight is made 0.
    """
    z_1, z_2 = tf.constant(z_1), tf.constant(z_2)
    with tf.GradientTape() as tape:
        tape.watch([z_1, z_2])
        anchors = tf.math.l2_normalize(tf.concat([z_1, z_2], axis=0), axis=1)
        positives = tf.roll(anchors, len(z_1), axis=0)
        logits = tf.matmul(anchors, positives, transpose_b=True) / temperature
        itself = np.roll(np.eye(len(logits)), len(z_1), axis=1)
        logits = tf.where(itself == 1, tf.constant(-1e9, logits.dtype), logits)
        loss = tfa.losses.npairs_loss(tf.range(len(logits)), logits)
    return {"loss": loss, "gradients": tf.stack(tape.gradient(loss, [z_1, z_2]))}


def lamb(rates, decay, decoupled, epsilon, **arrays):
    """Weights after each step; those of rank 2 and more are decayed.

    Decoupled: a weight is multiplied by 1 - rate * decay before the step, as in AdamW.
    """
    count = len(arrays) // 2
    weights = [tf.Variable(arrays[f"weight_{i}"], name=f"w{i}") for i in range(count)]
    decayed = [weight for weight in weights if weight.shape.rank > 1]
    spared = [weight.name for weight in weights if weight.shape.rank <= 1]
    rate = tf.Variable(rates[0])
    optimizer = tfa.optimizers.LAMB(
        rate.value,
        # Tensors, since a number would be kept in float32.
        beta_1=tf.constant(0.9, tf.float64),
        beta_2=tf.constant(0.999, tf.float64),
        epsilon=float(epsilon),
        weight_decay=tf.constant(0.0 if decoupled else float(decay), tf.float64),
        exclude_from_weight_decay=spared,
        exclude_from_layer_adaptation=["^none$"],
    )
    found = []
    for step, now in enumerate(rates):
        rate.assign(now)
        if decoupled:
            for weight in decayed:
                weight.assign(weight * (1 - now * decay))
        gradients = [tf.constant(arrays[f"gradient_{i}"][step]) for i in range(count)]
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        found.append([weight.numpy() for weight in weights])
    return {f"weight_{i}": np.stack(w) for i, w in enumerate(zip(*found, strict=True))}


if __name__ == "__main__":
    given, found = map(pathlib.Path, sys.argv[1:])
    for path in sorted(given.glob("*.npz")):
        function = globals()[path.stem.partition("-")[0]]
        with np.load(path) as arguments:
            np.savez(found / path.name, **function(**arguments))
