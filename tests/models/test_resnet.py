"""ResNets: published sizes, options, and a literal NumPy reference of their blocks."""

import math

import keras
import numpy as np
import pytest

from selfsup_tf.config import EncoderConfig
from selfsup_tf.models.copies import copy_network
from selfsup_tf.models.resnet import BLOCKS, build_resnet

SK = 0.0625


@pytest.fixture
def count_weights(monkeypatch):
    """Builds a ResNet without its weights; their numbers: (trainable, all)."""

    def count(config, image_size=224):
        sizes = []

        def add_weight(layer, shape, *, trainable=True, **_):
            sizes.append((math.prod(shape), trainable))

        with monkeypatch.context() as patch:
            patch.setattr(keras.layers.Layer, "add_weight", add_weight)
            build_resnet(config, image_size)
        return sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes)

    return count


def test_the_count_is_that_of_a_built_network(count_weights, one_block_a_stage):
    config = EncoderConfig(name="resnet50", width=1 / 16, sk_ratio=SK, se_ratio=0.25)
    network = build_resnet(config, 32)
    trainable = sum(math.prod(v.shape) for v in network.trainable_variables)
    assert count_weights(config, 32) == (trainable, network.count_params())


@pytest.mark.parametrize(
    ("depth", "width", "sk_ratio", "millions"),
    [
        (50, 1, SK, 35),
        (50, 2, 0, 94),
        (101, 2, SK, 257),
        (152, 3, SK, 795),
    ],
)
def test_size_is_that_of_simclr_v2(count_weights, depth, width, sk_ratio, millions):
    # Table 1 counts the trunk without a classifier and with the moving statistics:
    # ResNet-152 2x has 232.25 million without them and 232.56 with.
    config = EncoderConfig(name=f"resnet{depth}", width=width, sk_ratio=sk_ratio)
    assert round(count_weights(config)[1] / 1e6) == millions


@pytest.mark.parametrize(("width", "millions"), [(1, 24), (4, 375)])
def test_size_is_that_of_simclr_v1(count_weights, width, millions):
    # The first paper counts no moving statistics: with them 4x has 375.6 million.
    config = EncoderConfig(name="resnet50", width=width)
    assert round(count_weights(config)[0] / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("resnet18", 512, 11_689_512),
        ("resnet34", 512, 21_797_672),
        ("resnet50", 2048, 25_557_032),
        ("resnet101", 2048, 44_549_160),
        ("resnet152", 2048, 60_192_808),
    ],
)
def test_size_is_that_of_torchvision(count_weights, name, size, count):
    classifier = size * 1000 + 1000
    assert count_weights(EncoderConfig(name=name))[0] + classifier == count


def test_the_config_knows_all_names():
    assert tuple(BLOCKS) == EncoderConfig.RESNETS


@pytest.mark.parametrize(
    ("name", "last", "zero_init"), [("resnet18", 2, False), ("resnet50", 3, True)]
)
def test_blocks_start_as_the_identity_or_not(name, last, zero_init):
    config = EncoderConfig(
        name=name, width=1 / 16, stem="small", se_ratio=0.5, zero_init=zero_init
    )
    network = build_resnet(config, 8)
    norms = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert all((norm.momentum, norm.epsilon) == (0.9, 1e-5) for norm in norms)
    ends = [norm for norm in norms if norm.name.endswith(f"_{last}_norm")]
    assert len(ends) == sum(BLOCKS[name])
    for norm in norms:
        expected = 0 if norm in ends and zero_init else 1
        np.testing.assert_array_equal(norm.gamma, expected)


def test_strides_and_squeezes_are_where_the_reference_has_them(one_block_a_stage):
    config = EncoderConfig(name="resnet50", width=0.25, sk_ratio=SK, se_ratio=0.3)
    network = build_resnet(config, 64)

    def convolution(name):
        layer = network.get_layer(name)
        return layer.filters, layer.kernel_size[0], layer.strides[0], layer.use_bias

    assert convolution("stem_conv1") == (8, 3, 2, False)
    assert convolution("stem_conv2") == (8, 3, 1, False)
    assert convolution("stem_conv") == (16, 3, 1, False)
    assert network.get_layer("stem_pool").output.shape[1:3] == (16, 16)
    assert convolution("stage2_block1_conv1") == (32, 1, 1, False)
    assert convolution("stage2_block1_sk_conv") == (64, 3, 2, False)
    assert convolution("stage2_block1_sk_squeeze") == (32, 1, 1, False)
    assert convolution("stage2_block1_sk_mix") == (64, 1, 1, False)
    assert convolution("stage2_block1_shortcut_conv") == (128, 1, 1, False)
    assert convolution("stage2_block1_se_reduce") == (9, 1, 1, True)
    assert convolution("stage2_block1_se_expand") == (128, 1, 1, True)
    plain = build_resnet(EncoderConfig(name="resnet50", width=0.25), 64)
    assert plain.get_layer("stage2_block1_conv2").strides == (2, 2)
    small = EncoderConfig(name="resnet50", width=0.25, stem="small", sk_ratio=SK)
    assert build_resnet(small, 8).get_layer("stem_conv").strides == (1, 1)


class Reference:
    """The parts of a block, literally, in NumPy and float64.

    Args:
        network: Where the weights come from.
        training: Whether BatchNorm takes the statistics of the batch.
    """

    def __init__(self, network, training):
        self.network = network
        self.training = training

    def weights(self, name):
        return [np.asarray(w) for w in self.network.get_layer(name).get_weights()]

    def conv(self, x, name, stride=1):
        kernel, *bias = self.weights(name)
        size = len(kernel)
        margin = (size - 1) // 2
        x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        rows = (x.shape[1] - size) // stride + 1
        columns = (x.shape[2] - size) // stride + 1
        out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
        for n in range(len(x)):
            for i in range(rows):
                for j in range(columns):
                    top, left = i * stride, j * stride
                    patch = x[n, top : top + size, left : left + size]
                    out[n, i, j] = np.tensordot(patch, kernel, 3)
        return out + bias[0] if bias else out

    def norm(self, x, name):
        gamma, beta, mean, variance = self.weights(name)
        if self.training:
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    def norm_relu(self, x, name):
        return np.maximum(self.norm(x, name), 0)

    def selective_kernels(self, x, name, stride):
        x = self.norm_relu(self.conv(x, f"{name}_conv", stride), f"{name}_norm")
        half = x.shape[-1] // 2
        streams = np.stack([x[..., :half], x[..., half:]])
        means = streams.sum(axis=0).mean(axis=(1, 2), keepdims=True)
        means = self.conv(means, f"{name}_squeeze")
        means = self.norm_relu(means, f"{name}_squeeze_norm")
        logits = self.conv(means, f"{name}_mix")
        exponentials = np.exp(np.stack([logits[..., :half], logits[..., half:]]))
        return (streams * exponentials / exponentials.sum(axis=0)).sum(axis=0)

    def gate(self, x, name):
        means = x.mean(axis=(1, 2), keepdims=True)
        means = np.maximum(self.conv(means, f"{name}_reduce"), 0)
        return x / (1 + np.exp(-self.conv(means, f"{name}_expand")))

    def shortcut(self, x, name, stride):
        """ResNet-D: means of 2x2; outside are zeros (stride 2) or nothing (1)."""
        if stride == 2:
            x = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        ends = [n - stride + 1 for n in x.shape[1:3]]
        rows = [
            [x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in range(0, ends[1], stride)]
            for i in range(0, ends[0], stride)
        ]
        x = np.moveaxis(np.array(rows), 2, 0)
        return self.norm(self.conv(x, f"{name}_conv"), f"{name}_norm")

    def block(self, x, name, stride):
        shortcut = self.shortcut(x, f"{name}_shortcut", stride)
        x = self.norm_relu(self.conv(x, f"{name}_conv1"), f"{name}_1_norm")
        x = self.selective_kernels(x, f"{name}_sk", stride)
        x = self.norm(self.conv(x, f"{name}_conv3"), f"{name}_3_norm")
        return np.maximum(self.gate(x, f"{name}_se") + shortcut, 0)


@pytest.fixture(scope="module")
def network():
    """A ResNet with everything, float64, its weights and statistics random."""
    config = EncoderConfig(
        name="resnet50", width=1 / 16, stem="small", sk_ratio=SK, se_ratio=0.5
    )
    network = copy_network(build_resnet(config, 9), precision="float64")
    generator = np.random.default_rng(0)
    for variable in network.variables:
        low = 0.5 if variable.name in ("gamma", "moving_variance") else -0.5
        variable.assign(generator.uniform(low, low + 1, variable.shape))
    return network


# A number goes through at most 10 sums of at most 3 * 3 * 16 terms, each of which may
# lose 144 * 2^-53 of them: 10 * 144 * 1.1e-16 = 1.6e-13. A norm may make that larger,
# hardly sixfold.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("start", "end", "compute"),
    [
        (
            "stage2_block1_1_relu",
            "stage2_block1_sk_streams",
            lambda reference, x: reference.selective_kernels(x, "stage2_block1_sk", 2),
        ),
        (
            "stage1_block2_3_norm",
            "stage1_block2_se_scale",
            lambda reference, x: reference.gate(x, "stage1_block2_se"),
        ),
        (
            # Its size is odd, so that the margin of the shortcut counts.
            "stage1_block3_relu",
            "stage2_block1_relu",
            lambda reference, x: reference.block(x, "stage2_block1", 2),
        ),
        (
            "stem_relu",
            "stage1_block1_relu",
            lambda reference, x: reference.block(x, "stage1_block1", 1),
        ),
    ],
)
def test_parts_are_those_of_numpy(network, start, end, compute, training):
    first, last = network.get_layer(start).output, network.get_layer(end).output
    x = np.random.default_rng(1).normal(size=(6, *first.shape[1:]))
    kept = network.get_weights()
    received = keras.Model(first, last)(x, training=training)
    network.set_weights(kept)  # training moves the statistics
    assert received.dtype == "float64"
    np.testing.assert_allclose(
        received, compute(Reference(network, training), x), **EXACT
    )


def test_first_weights_are_scaled_by_the_fan_in():
    """A normal cut at two deviations, whose own deviation is 1 / sqrt(fan in)."""
    network = build_resnet(EncoderConfig(name="resnet18", width=0.5), 32)
    for name in ("stage3_block1_conv2", "stage4_block2_conv1"):
        kernel = network.get_layer(name).kernel.numpy()
        fan_in = np.prod(kernel.shape[:-1])
        scaled = kernel.ravel() * np.sqrt(fan_in)
        # .8796 is the deviation of a standard normal cut at 2. The error of a deviation
        # of n draws is below 1 / sqrt(2 n); five of them.
        assert np.std(scaled) == pytest.approx(1, abs=5 / np.sqrt(2 * scaled.size))
        assert np.abs(scaled).max() <= 2 / 0.87962 and np.abs(scaled).max() > 2.2
