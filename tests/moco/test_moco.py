"""MoCo against its equations in NumPy: loss, gradient, queue, ten whole steps."""

import functools

import keras
import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from ten_steps import STEPS, check_ten_steps, set_up

import moco_tf
import selfsup_tf as selfsup
from selfsup_tf.config import Plan
from selfsup_tf.errors import InputError

PLAN = Plan(10, 10, 0, 0.5, 10, 10)

TEMPERATURE = 0.3
HIDDEN = [("dense", "dense1"), ("norm", "norm1"), ("relu", ""), ("dense", "dense2")]
BARE = [*HIDDEN, ("bare", "norm2")]
PLAIN = [("affine", "dense1"), ("relu", ""), ("affine", "dense2")]


def loss_of(q, k, queue=None):
    """Algorithm 1 of v1 and of v3, query by query: -log of the share of its key."""
    u, v = reference.normalise(q), reference.normalise(k)
    losses = []
    for n in range(len(u)):
        positive = u[n] @ v[n] / TEMPERATURE
        others = v if queue is None else [v[n], *queue]
        terms = [np.exp(u[n] @ other / TEMPERATURE) for other in others]
        losses.append(np.log(sum(terms)) - positive)
    return np.array(losses)


def gradient_of(q, k, queue=None):
    """Of the mean of `loss_of` by q: sum of the softmax's keys less the positive."""
    u, v = reference.normalise(q), reference.normalise(k)
    rows = []
    for n in range(len(u)):
        others = v if queue is None else np.array([v[n], *queue])
        share = np.exp(others @ u[n] / TEMPERATURE)
        share /= share.sum()
        rows.append((share @ others - v[n]) / TEMPERATURE / len(u))
    return reference.normalise_gradient(np.array(rows), q)


@pytest.mark.parametrize("queued", [False, True])
def test_loss_and_gradient_equal_the_papers(queued):
    generator = np.random.default_rng(0)
    q, k = generator.normal(size=(2, 7, 5))
    queue = reference.normalise(generator.normal(size=(11, 5))) if queued else None
    values = [tf.constant(q), tf.constant(k)]
    options = {"queue": None if queue is None else tf.constant(queue)}
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = moco_tf.info_nce_loss(*values, TEMPERATURE, **options)
        mean = tf.reduce_mean(loss)
    by_q, by_k = tape.gradient(mean, values)
    np.testing.assert_allclose(loss, loss_of(q, k, queue), rtol=1e-12)
    np.testing.assert_allclose(by_q, gradient_of(q, k, queue), rtol=1e-9, atol=1e-13)
    assert by_k is None
    numeric = reference.numeric_gradient(lambda x: loss_of(x, k, queue).mean(), q)
    np.testing.assert_allclose(by_q, numeric, atol=1e-8)
    halves = (tf.cast(value, tf.float16) for value in values)
    assert moco_tf.info_nce_loss(*halves, 0.05, **options).dtype == tf.float32
    with pytest.raises(InputError, match="row by row"):
        moco_tf.info_nce_loss(values[0], values[1][:-1], TEMPERATURE)


class Reenacted:
    """Steps of MoCo in NumPy, with the queues that they leave."""

    def __init__(self, ways, projector, predictor, queues):
        self.ways, self.projector, self.predictor = ways, projector, predictor
        self.queues = dict(queues)

    def gradients(self, parameters, *views):
        """Loss, gradients and tapes; the keys are kept for the queue."""
        online, target = {}, {}
        seen_online = sorted({i for i, _ in self.ways})
        seen_target = sorted({j for _, j in self.ways})
        # Keras walks the branches of a functional model from the last to the first.
        tapes = []
        for i in reversed(seen_online):
            h, encoder = reference.forward(
                "encoder", reference.ENCODER, parameters, views[i - 1]
            )
            z, head = reference.forward("projector", self.projector, parameters, h)
            online[i] = z, [head, encoder]
            if self.predictor:
                q, last = reference.forward("predictor", self.predictor, parameters, z)
                online[i] = q, [last, head, encoder]
            tapes += online[i][1]
        for j in reversed(seen_target):
            h, encoder = reference.forward(
                "target_encoder", reference.ENCODER, parameters, views[j - 1]
            )
            k, head = reference.forward(
                "target_projector", self.projector, parameters, h
            )
            target[j] = k
            tapes += [encoder, head]
        scale = 1 / len(self.ways) if self.queues else 2 * TEMPERATURE
        loss, found = 0.0, {}
        for i, j in self.ways:
            q, branch = online[i]
            queue = self.queues.get(j)
            loss += scale * loss_of(q, target[j], queue).mean()
            dy = scale * gradient_of(q, target[j], queue)
            for tape in branch:
                dy = reference.backward(tape, parameters, dy, found)
        for j, queue in self.queues.items():
            keys = reference.normalise(target[j])
            self.queues[j] = np.concatenate([keys, queue])[: len(queue)]
        return loss, found, tapes


CASES = {
    "v3": ("sum", 0, "bare", (7, 5), "hidden", 1.0),
    "v3 of a ViT": ("sum", 0, "bare", (7, 5), "bare", 1.0),
    "v2": ("one", 13, "none", (), "hidden", 0.9),
    "v2 both ways": ("mean", 13, "none", (), "hidden", 0.95),
}


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_equal_numpy(case, tiny_config):
    directions, queue, norm, predictor, predictor_norm, final = CASES[case]
    run = set_up(
        tiny_config,
        "moco",
        form="popular",
        temperature=TEMPERATURE,
        projector=(7, 5),
        projector_norm=norm,
        predictor=predictor,
        predictor_norm=predictor_norm,
        queue=queue,
        directions=directions,
        base_tau=0.9,
        final_tau=final,
    )
    state = {int(name[-1]): v.numpy() for name, v in run.method.state.items()}
    ways = [(1, 2)] if directions == "one" else [(1, 2), (2, 1)]
    heads = {"bare": BARE, "none": PLAIN, "hidden": HIDDEN}
    acted = Reenacted(
        ways, heads[norm], heads[predictor_norm] if predictor else None, state
    )

    slow = {"base": 0.9, "total": STEPS, "final": final}

    def logged(step):
        found = {int(n[-1]): v.numpy() for n, v in run.method.state.items()}
        assert set(found) == set(acted.queues)
        for view, keys in acted.queues.items():
            np.testing.assert_allclose(found[view], keys, rtol=0, atol=1e-9)
        return {"train/tau": reference.tau(step, **slow)}

    check_ten_steps(
        run,
        acted.gradients,
        after=functools.partial(reference.move_target, **slow),
        logged=logged,
    )


def test_new_keys_take_the_place_of_the_oldest(tiny_config, tiny_method):
    method = tiny_method(
        tiny_config("moco", queue=5, predictor=(), projector=(8, 4), directions="one")
    )
    method.build()
    (queue,) = method.state.values()
    before = queue.numpy()
    np.testing.assert_allclose(np.linalg.norm(before, axis=1), 1, rtol=1e-5)
    keys = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    method.after_update(tf.constant(0, tf.int64), PLAN, {"key_2": tf.constant(keys)})
    lengths = np.linalg.norm(keys, axis=1, keepdims=True)
    np.testing.assert_allclose(queue.numpy()[:3], keys / lengths, rtol=1e-5)
    np.testing.assert_array_equal(queue.numpy()[3:], before[:2])


@pytest.mark.parametrize("queue", [0, 8])
def test_with_a_queue_no_image_looks_at_another(queue, tiny_config, tiny_method):
    """Which is asked before the method is built."""
    method = tiny_method(tiny_config("moco", queue=queue))
    assert method.couples_images is not bool(queue)


def test_one_direction_passes_each_view_once(tiny_config, tiny_method):
    method = tiny_method(tiny_config("moco", queue=8, predictor=(), directions="one"))
    method.build()
    outputs = {"representation_1", "query_1", "representation_2", "key_2"}
    assert set(method.model.output) == outputs
    assert isinstance(method.model, keras.Model)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"queue": -1}, "queue of 0 or more"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"base_tau": 1.5}, "base_tau to be a probability"),
        ({"final_tau": 0.9}, "a final_tau of base_tau or more"),
        ({"predictor": (8, 3)}, "end in the same size"),
    ],
)
def test_what_means_nothing_is_refused(fields, message, tiny_config):
    with pytest.raises(InputError, match=message):
        tiny_config("moco", **fields)


def test_a_temperature_that_gives_nan_is_refused():
    with pytest.raises(InputError, match="a temperature above 0"):
        moco_tf.info_nce_loss(tf.ones((2, 3)), tf.ones((2, 3)), 0.0)


@pytest.mark.parametrize("remat", [False, True])
def test_a_fixed_embedding_is_not_learned(remat, few_images, tiny_config, tmp_path):
    """Neither by the network that learns nor by its target; all else moves."""
    pytest.importorskip("keras_hub", reason="pip install '.[hub]'")
    from selfsup_tf.models.vit import VisionTransformer

    config = tiny_config("moco", remat=remat, base_tau=0.5, steps=3)
    inputs = keras.Input((16, 16, 3))
    h = VisionTransformer(8, 2, 2, 8, fixed_embedding=True, name="vit")(inputs)
    network = keras.Model(inputs, h)
    method = moco_tf.MoCo(config, encoder=network)
    selfsup.train(method, few_images[0], run_dir=tmp_path)
    for learned in (method.encoder, method.model.get_layer("target_encoder")):
        pairs = list(zip(network.variables, learned.variables, strict=True))
        stayed = {a.path for a, b in pairs if np.array_equal(a, b)}
        assert {
            path.partition("vit_patching_and_embedding/")[2]
            for path in stayed
            if not path.endswith("key/bias")  # shifts all logits of a softmax alike
        } == {
            "patch_embedding/kernel",
            "patch_embedding/bias",
            "position_embedding/embeddings",
        }
