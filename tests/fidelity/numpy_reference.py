"""What training computes, written out in NumPy alone, float64.

Nothing here is taken from the package: forward passes, losses, gradients derived by
hand, LARS, the rates, the moving average. Each function names the equation it is a
transcription of, and loops stand wherever they are plainer than algebra. The gradients
are themselves held against finite differences in test_numpy_reference.py.

Parameters are a dictionary from "network/layer/variable" to an array; N images, D
features, P projection. A network is a list of layers (kind, name), of the kinds

    dense   a matrix                    affine  a matrix and a bias
    norm    BatchNorm                   scale   BatchNorm without a centre (no beta)
    bare    BatchNorm alone             relu    the larger of x and 0
    pool    the average over an image's pixels
    gelu    x times the share of a normal distribution below x
    unit    each row divided by its length
    directions   a matrix whose columns are divided by their lengths, and multiplied
            by lengths of their own where there are such
"""

import math

import numpy as np

NORMS = ("norm", "scale", "bare")
EPSILON = 1e-5
"""Of BatchNorm: google-research/simclr, tf2/resnet.py; deepmind-research, byol."""
ROOT_OF_2 = 1 / float(np.float32(math.sqrt(0.5)))
"""As TensorFlow's gelu has it: its reciprocal is a float32, in float64, too."""
DECAY = 0.9
"""Of BatchNorm's running averages: the same."""

ENCODER = [
    ("dense", "pixel"),
    ("norm", "norm"),
    ("relu", ""),
    ("pool", ""),
    ("affine", "features"),
    ("relu", ""),
]
"""A small f: a Dense layer on each pixel, BatchNorm over all of them, the average over
the image, another Dense layer."""


BYOL_HEAD = [
    ("affine", "dense1"),
    ("norm", "norm1"),
    ("relu", ""),
    ("dense", "dense2"),
]
"""deepmind-research, byol/utils/networks.py, MLP: projector and predictor."""


def simclr_head(layers, norm):
    """The projector.

    "all": google-research/simclr, tf2/model.py, ProjectionHead, where a BatchNorm takes
    the place of every bias and the last has no centre; "none": solo-learn,
    solo/methods/simclr.py; "hidden": the last layer has a bias in place of a BatchNorm.
    """
    network = []
    for i in range(1, layers):
        network.append(("affine" if norm == "none" else "dense", f"dense{i}"))
        if norm != "none":
            network.append(("norm", f"norm{i}"))
        network.append(("relu", ""))
    network.append(("dense" if norm == "all" else "affine", f"dense{layers}"))
    if norm == "all":
        network.append(("scale", f"norm{layers}"))
    return network


def batch_norm(x, gamma, beta):
    """Ioffe and Szegedy 2015, algorithm 1, over all axes but the last.

    Returns:
        The output, the normalised x, the mean and the (biased) variance of the batch.
    """
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    variance = ((x - mean) ** 2).mean(axis=axes)
    normalised = (x - mean) / np.sqrt(variance + EPSILON)
    return gamma * normalised + beta, normalised, mean, variance


def batch_norm_gradient(dy, x, gamma, normalised, mean, variance):
    """Ioffe and Szegedy 2015, section 3: the six equations, in their order.

    Returns:
        The gradients of x, gamma and beta.
    """
    axes = tuple(range(x.ndim - 1))
    m = x[..., 0].size
    d_normalised = dy * gamma
    d_variance = (d_normalised * (x - mean)).sum(axes) * (
        -0.5 * (variance + EPSILON) ** -1.5
    )
    d_mean = (-d_normalised / np.sqrt(variance + EPSILON)).sum(axes)
    d_mean = d_mean + d_variance * (-2 * (x - mean)).sum(axes) / m
    dx = d_normalised / np.sqrt(variance + EPSILON)
    dx = dx + d_variance * 2 * (x - mean) / m + d_mean / m
    return dx, (dy * normalised).sum(axes), dy.sum(axes)


def forward(network, layers, parameters, x):
    """A network in training mode: BatchNorm uses the statistics of this batch.

    Returns:
        The output, and for each layer what its gradient needs.
    """
    tape = []
    for kind, name in layers:
        at = f"{network}/{name}"
        if kind == "dense":
            y, kept = x @ parameters[f"{at}/kernel"], (x,)
        elif kind == "affine":
            y = x @ parameters[f"{at}/kernel"] + parameters[f"{at}/bias"]
            kept = (x,)
        elif kind in NORMS:
            beta = parameters[f"{at}/beta"] if kind == "norm" else 0.0
            gamma = 1.0 if kind == "bare" else parameters[f"{at}/gamma"]
            y, *kept = batch_norm(x, gamma, beta)
            kept = (x, *kept)
        elif kind == "relu":
            y, kept = np.maximum(x, 0), (x,)
        elif kind == "gelu":
            y, kept = x * normal_share(x), (x,)
        elif kind == "unit":
            y, kept = normalise(x), (x,)
        elif kind == "directions":
            lengths = parameters.get(f"{at}/lengths", 1.0)
            y = x @ (normalise(parameters[f"{at}/kernel"].T).T * lengths)
            kept = (x,)
        elif kind == "pool":
            y, kept = x.mean(axis=(1, 2)), (x,)
        tape.append((kind, at, kept))
        x = y
    return x, tape


def backward(tape, parameters, dy, gradients):
    """The chain rule through what `forward` did, last layer first.

    Adds to `gradients`, since a network may have been used twice, and returns the
    gradient of the network's input.
    """

    def add(name, value):
        gradients[name] = gradients.get(name, 0) + value

    for kind, at, kept in reversed(tape):
        x = kept[0]
        if kind in ("dense", "affine"):
            flat_x, flat_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
            add(f"{at}/kernel", flat_x.T @ flat_dy)
            if kind == "affine":
                add(f"{at}/bias", flat_dy.sum(axis=0))
            dy = dy @ parameters[f"{at}/kernel"].T
        elif kind in NORMS:
            gamma = 1.0 if kind == "bare" else parameters[f"{at}/gamma"]
            dy, d_gamma, d_beta = batch_norm_gradient(dy, x, gamma, *kept[1:])
            if kind != "bare":
                add(f"{at}/gamma", d_gamma)
            if kind == "norm":
                add(f"{at}/beta", d_beta)
        elif kind == "relu":
            dy = dy * (x > 0)
        elif kind == "gelu":
            density = np.exp(-((x / ROOT_OF_2) ** 2)) / math.sqrt(math.pi) / ROOT_OF_2
            dy = dy * (normal_share(x) + x * density)
        elif kind == "unit":
            dy = normalise_gradient(dy, x)
        elif kind == "directions":
            kernel = parameters[f"{at}/kernel"]
            unit = normalise(kernel.T).T
            lengths = parameters.get(f"{at}/lengths", np.ones((1, kernel.shape[1])))
            if f"{at}/lengths" in parameters:
                add(f"{at}/lengths", (dy * (x @ unit)).sum(axis=0, keepdims=True))
            by_unit = (x.T @ dy) * lengths
            add(f"{at}/kernel", normalise_gradient(by_unit.T, kernel.T).T)
            dy = dy @ (unit * lengths).T
        elif kind == "pool":
            share = dy[:, None, None, :] / (x.shape[1] * x.shape[2])
            dy = np.broadcast_to(share, x.shape)
    return dy


def move_statistics(tape, parameters):
    """Every BatchNorm's running mean and variance: .9 of it and .1 of the batch's."""
    for kind, at, kept in tape:
        if kind in NORMS:
            for name, batch in zip(("mean", "variance"), kept[2:], strict=True):
                key = f"{at}/moving_{name}"
                parameters[key] = DECAY * parameters[key] + (1 - DECAY) * batch


def normal_share(x):
    """The share of a standard normal distribution below x: Hendrycks and Gimpel 2016,
    "Gaussian error linear units", section 2.
    """
    return 0.5 * (1 + np.vectorize(math.erf)(x / ROOT_OF_2))


def normalise(z):
    """Every row divided by its length."""
    return np.array([row / np.sqrt(np.sum(row * row)) for row in z])


def normalise_gradient(du, z):
    """Of z, given that of u = z / |z|: (du - u (u . du)) / |z|, row by row."""
    rows = []
    for d, row in zip(du, z, strict=True):
        length = np.sqrt(np.sum(row * row))
        u = row / length
        rows.append((d - u * np.sum(u * d)) / length)
    return np.array(rows)


def nt_xent(z_1, z_2, temperature, directions="mean"):
    """Chen et al. 2020, equation 1, anchor by anchor.

    Returns:
        (N,), the loss of each image: the mean of its two anchors', whose mean over the
        batch is the L of algorithm 1, or their sum, as in google-research/simclr,
        tf2/objective.py (loss_a + loss_b).
    """
    images = len(z_1)
    u = normalise(np.concatenate([z_1, z_2]))
    anchors = []
    for i in range(2 * images):
        positive = (i + images) % (2 * images)
        logits = [u[i] @ u[k] / temperature for k in range(2 * images)]
        # exp(710) is too large for float64; the quotient does not change.
        top = max(logits[k] for k in range(2 * images) if k != i)
        denominator = sum(
            math.exp(logits[k] - top) for k in range(2 * images) if k != i
        )
        anchors.append(-(logits[positive] - top - math.log(denominator)))
    both = [anchors[n] + anchors[n + images] for n in range(images)]
    return np.array(both) / (2 if directions == "mean" else 1)


def contrast_top_1(z_1, z_2):
    """Whether the nearest of all second views to each first is of its image, (N,)."""
    u_1, u_2 = normalise(z_1), normalise(z_2)
    found = []
    for i in range(len(u_1)):
        cosines = [u_1[i] @ u_2[k] for k in range(len(u_2))]
        found.append(float(max(range(len(u_2)), key=cosines.__getitem__) == i))
    return np.array(found)


def nt_xent_gradient(z_1, z_2, temperature, directions="mean"):
    """Of the mean over the images of `nt_xent`: (N, P) for each of both views.

    The loss of anchor i is -s_ij + log sum_k exp(s_ik), s_ik = u_i . u_k / temperature,
    k unlike i. Its derivative by s_ik is softmax_ik, less 1 at the positive k = j.
    """
    images = len(z_1)
    z = np.concatenate([z_1, z_2])
    u = normalise(z)
    du = np.zeros_like(u)
    weight = 1 / images / (2 if directions == "mean" else 1)
    for i in range(2 * images):
        others = [k for k in range(2 * images) if k != i]
        top = max(u[i] @ u[k] / temperature for k in others)
        exponentials = {k: math.exp(u[i] @ u[k] / temperature - top) for k in others}
        total = sum(exponentials.values())
        for k in others:
            ds = exponentials[k] / total - (k == (i + images) % (2 * images))
            du[i] += weight * ds * u[k] / temperature
            du[k] += weight * ds * u[i] / temperature
    dz = normalise_gradient(du, z)
    return dz[:images], dz[images:]


def regression(prediction, target_projection):
    """Grill et al. 2020, equation 2: |q / |q| - z' / |z'||^2 of each image, (N,)."""
    return np.array(
        [
            np.sum((q - z) ** 2)
            for q, z in zip(
                normalise(prediction), normalise(target_projection), strict=True
            )
        ]
    )


def regression_gradient(prediction, target_projection):
    """Of the mean over the images of `regression`, for the prediction alone, (N, P)."""
    u, v = normalise(prediction), normalise(target_projection)
    return normalise_gradient(2 * (u - v) / len(u), prediction)


def numeric_gradient(function, x):
    """Central differences of a scalar function, entry by entry."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-5
        gradient[index] = (function(x + step) - function(x - step)) / 2e-5
    return gradient


def learning_rate(step, *, peak, warmup, total):
    """google-research/simclr, tf2/model.py, WarmUpAndCosineDecay; deepmind-research,
    byol/utils/schedules.py, learning_schedule: the rate after `step` updates.
    """
    if step < warmup:
        return peak * step / warmup
    share = min((step - warmup) / (total - warmup), 1)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def tau(step, *, base, total, final=1.0):
    """Grill et al. 2020, section 3.3: the target's decay after `step` updates; others
    end elsewhere than at 1.
    """
    return final - (final - base) * (math.cos(math.pi * step / total) + 1) / 2


def lars(w, v, g, rate, *, form, decay, eta, momentum=0.9, clip=False, spared=False):
    """One update of one variable.

    "classic": google-research/simclr, tf2/lars_optimizer.py with classic_momentum;
    "popular": deepmind-research, byol/utils/optimizers.py, scale_by_lars; clip:
    solo-learn, solo/utils/lars.py, clip_lars_lr (whose quotient is |w| / (|g| + wd |w|)
    where the two above have |w| / |g + wd w|).

    Returns:
        The weights and the velocity.
    """
    trust = 1.0
    if not spared and w.ndim > 1:
        g = g + decay * w
        w_norm, g_norm = math.sqrt(np.sum(w * w)), math.sqrt(np.sum(g * g))
        if w_norm > 0 and g_norm > 0:
            trust = eta * w_norm / g_norm
            if clip:
                trust = min(trust / rate, 1.0) if rate > 0 else 1.0
    if form == "classic":
        v = momentum * v + rate * trust * g
        return w - v, v
    v = momentum * v + trust * g
    return w - rate * v, v


def simclr_gradients(parameters, view_1, view_2, *, head, temperature, directions):
    """The loss of a batch, its gradients, and the tapes of the forward pass.

    Both views pass as one batch of 2N: google-research/simclr, tf2/model.py,
    Model.__call__ (tf.concat(features_list, 0)).
    """
    views = np.concatenate([view_1, view_2])
    h, encoder_tape = forward("encoder", ENCODER, parameters, views)
    z, head_tape = forward("projector", head, parameters, h)
    z_1, z_2 = z[: len(view_1)], z[len(view_1) :]
    loss = nt_xent(z_1, z_2, temperature, directions).mean()
    gradients = {}
    dz = np.concatenate(nt_xent_gradient(z_1, z_2, temperature, directions))
    dh = backward(head_tape, parameters, dz, gradients)
    backward(encoder_tape, parameters, dh, gradients)
    return loss, gradients, [encoder_tape, head_tape]


def byol_gradients(parameters, view_1, view_2, *, directions, first=1):
    """The loss of a batch, its gradients, and the tapes of the forward pass.

    Each view passes as a batch of its own, through the online and through the target
    network: deepmind-research, byol/byol_experiment.py, loss_fn, where view 1 is the
    first. Which one is matters to nothing but the running averages of BatchNorm.
    """
    tapes, predictions, targets, online = [], [], [], []
    for view in (view_1, view_2):
        h, encoder_tape = forward("encoder", ENCODER, parameters, view)
        z, projector_tape = forward("projector", BYOL_HEAD, parameters, h)
        q, predictor_tape = forward("predictor", BYOL_HEAD, parameters, z)
        predictions.append(q)
        online.append((predictor_tape, projector_tape, encoder_tape))
        h, target_tape = forward("target_encoder", ENCODER, parameters, view)
        z, target_head_tape = forward("target_projector", BYOL_HEAD, parameters, h)
        targets.append(z)
        tapes.append([encoder_tape, projector_tape, predictor_tape])
        tapes[-1] += [target_tape, target_head_tape]
    share = 0.5 if directions == "mean" else 1.0
    loss, gradients = 0.0, {}
    for i in (0, 1):
        # The prediction from one view meets the target's projection of the other.
        loss += share * regression(predictions[i], targets[1 - i]).mean()
        dy = share * regression_gradient(predictions[i], targets[1 - i])
        for tape in online[i]:
            dy = backward(tape, parameters, dy, gradients)
    return loss, gradients, tapes[first - 1] + tapes[2 - first]


def train(parameters, batches, gradients_of, *, rate, optimizer, after=None):
    """A run, step by step.

    Args:
        parameters: The start; it is not changed.
        batches: A tuple of views, (N, H, W, 3), for each step.
        gradients_of: From parameters and the views to loss, gradients and tapes.
        rate: From a step and the name of a variable to the rate of its update.
        optimizer: Keywords of `lars`.
        after: Changes, in place, what follows the update, given the parameters and the
            step, such as `move_target`.

    Yields:
        The loss, the parameters and the velocities after each step.
    """
    parameters, velocities = dict(parameters), {}
    for step, views in enumerate(batches):
        loss, gradients, tapes = gradients_of(parameters, *views)
        for tape in tapes:
            move_statistics(tape, parameters)
        for name, g in gradients.items():
            v = velocities.get(name, np.zeros_like(g))
            parameters[name], velocities[name] = lars(
                parameters[name], v, g, rate(step, name), **optimizer
            )
        if after is not None:
            after(parameters, step)
        yield loss, dict(parameters), dict(velocities)


def move_target(parameters, step, *, base, total, final=1.0):
    """The target moves towards the new online parameters: byol/byol_experiment.py,
    _update_fn.
    """
    t = tau(step, base=base, total=total, final=final)
    for name in parameters:
        network, _, variable = name.split("/")
        if network.startswith("target_") and "moving_" not in variable:
            ours = parameters[name.removeprefix("target_")]
            parameters[name] = t * parameters[name] + (1 - t) * ours
