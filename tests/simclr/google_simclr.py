"""A SimCLR network that names and computes as google-research/simclr's tf2/ does.

Only what a checkpoint holds and what inference computes: tf.Module in place of Keras
layers, plain tf.nn operations, and weights, gammas and statistics that are all random,
so that two of them in each other's place show.

Reference: google-research/simclr, tf2/resnet.py, tf2/model.py, tf2/run.py (Apache-2.0).
"""

import numpy as np
import tensorflow as tf

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Random:
    """Draws the variables of a network; each draw is another."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def normal(self, *shape):
        """A kernel that about keeps the scale of what goes through it."""
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        values = self.generator.standard_normal(shape, np.float32)
        return tf.Variable(values * np.float32(scale))

    def uniform(self, low, high, size, *, trainable=True):
        """Values between two bounds."""
        values = self.generator.uniform(low, high, size).astype("float32")
        return tf.Variable(values, trainable=trainable)


class Norm(tf.Module):
    """Keras's BatchNormalization, in inference."""

    def __init__(self, random, size, *, center=True, last=False):
        super().__init__()
        low, high = (0.2, 0.5) if last else (0.5, 1.5)
        self.gamma = random.uniform(low, high, size)
        self.beta = random.uniform(-0.5, 0.5, size) if center else None
        self.moving_mean = random.uniform(-0.5, 0.5, size, trainable=False)
        self.moving_variance = random.uniform(0.5, 2.0, size, trainable=False)

    def __call__(self, x):
        x = (x - self.moving_mean) / tf.sqrt(self.moving_variance + 1e-5) * self.gamma
        return x if self.beta is None else x + self.beta


class BatchNormRelu(tf.Module):
    """A norm, and ReLU unless told otherwise."""

    def __init__(self, random, size, *, relu=True, center=True, last=False):
        super().__init__()
        self.relu = relu
        self.bn = Norm(random, size, center=center, last=last)

    def __call__(self, x):
        x = self.bn(x)
        return tf.nn.relu(x) if self.relu else x


class Conv2D(tf.Module):
    """Keras's Conv2D."""

    def __init__(self, random, inputs, filters, size, *, strides=1, bias=False):
        super().__init__()
        self.strides = strides
        self.kernel = random.normal(size, size, inputs, filters)
        self.bias = random.uniform(-0.5, 0.5, filters) if bias else None

    def __call__(self, x):
        padding = "SAME" if self.strides == 1 else "VALID"
        x = tf.nn.conv2d(x, self.kernel, self.strides, padding)
        return x if self.bias is None else x + self.bias


class FixedPadding(tf.Module):
    """Zeros around an image, whatever its size."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def __call__(self, x):
        before = (self.size - 1) // 2
        margin = [before, self.size - 1 - before]
        return tf.pad(x, [[0, 0], margin, margin, [0, 0]])


class Conv2dFixedPadding(tf.Module):
    """A convolution without a bias, padded by its kernel alone where it strides."""

    def __init__(self, random, inputs, filters, size, *, strides=1):
        super().__init__()
        self.fixed_padding = FixedPadding(size) if strides > 1 else None
        self.conv2d = Conv2D(random, inputs, filters, size, strides=strides)

    def __call__(self, x):
        return self.conv2d(self.fixed_padding(x) if self.fixed_padding else x)


class Pooling(tf.Module):
    """Keras's MaxPooling2D and AveragePooling2D."""

    def __init__(self, pool, size, strides, padding):
        super().__init__()
        self.arguments = (size, strides, padding)
        self.pool = pool

    def __call__(self, x):
        return self.pool(x, *self.arguments)


class Nothing(tf.Module):
    """DropBlock and IdentityLayer, which have a place in a list and do nothing."""

    def __call__(self, x):
        return x


class SelectiveConv(tf.Module):
    """Two streams of 3x3 convolutions, mixed by the mean of their sum."""

    def __init__(self, random, inputs, filters, strides, ratio):
        super().__init__()
        mixers = max(int(filters * ratio), 32)
        self.conv2d_fixed_padding = Conv2dFixedPadding(
            random, inputs, 2 * filters, 3, strides=strides
        )
        self.batch_norm_relu = BatchNormRelu(random, 2 * filters)
        self.conv2d_0 = Conv2D(random, filters, mixers, 1)
        self.batch_norm_relu_1 = BatchNormRelu(random, mixers)
        self.conv2d_1 = Conv2D(random, mixers, 2 * filters, 1)

    def __call__(self, x):
        x = self.batch_norm_relu(self.conv2d_fixed_padding(x))
        streams = tf.stack(tf.split(x, 2, axis=3))
        means = tf.reduce_mean(tf.reduce_sum(streams, 0), [1, 2], keepdims=True)
        logits = self.conv2d_1(self.batch_norm_relu_1(self.conv2d_0(means)))
        mixing = tf.nn.softmax(tf.stack(tf.split(logits, 2, axis=3)), axis=0)
        return tf.reduce_sum(streams * mixing, axis=0)


class SqueezeExcite(tf.Module):
    """A gate for each channel."""

    def __init__(self, random, inputs, filters, ratio):
        super().__init__()
        inner = max(1, int(filters * ratio))
        self.se_reduce = Conv2D(random, inputs, inner, 1, bias=True)
        self.se_expand = Conv2D(random, inner, inputs, 1, bias=True)

    def __call__(self, x):
        gate = tf.reduce_mean(x, [1, 2], keepdims=True)
        return tf.sigmoid(self.se_expand(tf.nn.relu(self.se_reduce(gate)))) * x


def shortcut_layers(random, inputs, filters, strides, sk_ratio):
    """A projection; with selective kernels that of ResNet-D."""
    layers = []
    if sk_ratio > 0:
        if strides > 1:
            layers.append(FixedPadding(2))
        padding = "SAME" if strides == 1 else "VALID"
        layers.append(Pooling(tf.nn.avg_pool2d, 2, strides, padding))
        strides = 1
    layers.append(Conv2dFixedPadding(random, inputs, filters, 1, strides=strides))
    layers.append(BatchNormRelu(random, filters, relu=False))
    return layers


class ResidualBlock(tf.Module):
    """The names of two 3x3 convolutions, by which such a network is refused."""

    def __init__(self, random, inputs, filters, strides, project, sk_ratio, se_ratio):
        super().__init__()
        self.conv2d_bn_layers = [
            Conv2dFixedPadding(random, inputs, filters, 3, strides=strides),
            BatchNormRelu(random, filters),
        ]
        self.outputs = filters


class BottleneckBlock(tf.Module):
    """1x1, 3x3 and 1x1 convolutions."""

    def __init__(self, random, inputs, filters, strides, project, sk_ratio, se_ratio):
        super().__init__()
        self.outputs = 4 * filters
        self.projection_layers = []
        if project:
            self.projection_layers = shortcut_layers(
                random, inputs, self.outputs, strides, sk_ratio
            )
        self.shortcut_dropblock = Nothing()
        layers = [
            Conv2dFixedPadding(random, inputs, filters, 1),
            BatchNormRelu(random, filters),
            Nothing(),
        ]
        if sk_ratio > 0:
            layers.append(SelectiveConv(random, filters, filters, strides, sk_ratio))
        else:
            layers += [
                Conv2dFixedPadding(random, filters, filters, 3, strides=strides),
                BatchNormRelu(random, filters),
            ]
        layers += [
            Nothing(),
            Conv2dFixedPadding(random, filters, self.outputs, 1),
            BatchNormRelu(random, self.outputs, relu=False, last=True),
            Nothing(),
        ]
        if se_ratio > 0:
            layers.append(SqueezeExcite(random, self.outputs, filters, se_ratio))
        self.conv_relu_dropblock_layers = layers

    def __call__(self, x):
        shortcut = x
        for layer in self.projection_layers:
            shortcut = layer(shortcut)
        for layer in self.conv_relu_dropblock_layers:
            x = layer(x)
        return tf.nn.relu(x + self.shortcut_dropblock(shortcut))


class BlockGroup(tf.Module):
    """The blocks of one resolution."""

    def __init__(self, random, block, inputs, filters, blocks, strides, **ratios):
        super().__init__()
        self.layers = []
        for index in range(blocks):
            first = index == 0
            self.layers.append(
                block(random, inputs, filters, strides if first else 1, first, **ratios)
            )
            inputs = self.layers[-1].outputs

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Resnet(tf.Module):
    """The network up to its average pooling."""

    def __init__(self, random, depth, width, cifar_stem, sk_ratio, se_ratio):
        super().__init__()
        first = round(64 * width)
        if cifar_stem:
            stem = [Conv2dFixedPadding(random, 3, first, 3)]
        elif sk_ratio > 0:
            half = first // 2
            stem = [
                Conv2dFixedPadding(random, 3, half, 3, strides=2),
                BatchNormRelu(random, half),
                Conv2dFixedPadding(random, half, half, 3),
                BatchNormRelu(random, half),
                Conv2dFixedPadding(random, half, first, 3),
            ]
        else:
            stem = [Conv2dFixedPadding(random, 3, first, 7, strides=2)]
        stem += [Nothing(), BatchNormRelu(random, first)]
        if not cifar_stem:
            stem.append(Pooling(tf.nn.max_pool2d, 3, 2, "SAME"))
        stem.append(Nothing())
        self.initial_conv_relu_max_pool = stem
        self.block_groups = []
        inputs = first
        block = ResidualBlock if depth < 50 else BottleneckBlock
        for index, blocks in enumerate(BLOCKS[depth]):
            group = BlockGroup(
                random,
                block,
                inputs,
                first * 2**index,
                blocks,
                strides=1 if index == 0 else 2,
                sk_ratio=sk_ratio,
                se_ratio=se_ratio,
            )
            self.block_groups.append(group)
            inputs = group.layers[-1].outputs
        self.outputs = inputs

    def __call__(self, x):
        for layer in [*self.initial_conv_relu_max_pool, *self.block_groups]:
            x = layer(x)
        return tf.reduce_mean(x, [1, 2])


class Dense(tf.Module):
    """Keras's Dense."""

    def __init__(self, random, inputs, units, *, bias):
        super().__init__()
        self.kernel = random.normal(inputs, units)
        self.bias = random.uniform(-0.5, 0.5, units) if bias else None

    def __call__(self, x):
        x = x @ self.kernel
        return x if self.bias is None else x + self.bias


class LinearLayer(tf.Module):
    """A Dense layer that has a norm or a bias."""

    def __init__(self, random, inputs, units, *, use_bias=True, use_bn=False):
        super().__init__()
        self.dense = Dense(random, inputs, units, bias=use_bias and not use_bn)
        if use_bn:
            self.bn_relu = BatchNormRelu(random, units, relu=False, center=use_bias)

    def __call__(self, x):
        return self.bn_relu(self.dense(x))


class ProjectionHead(tf.Module):
    """The projector; without layers it hands on what it gets."""

    def __init__(self, random, inputs, layers, outputs):
        super().__init__()
        self.linear_layers = []
        for index in range(layers):
            last = index == layers - 1
            units = outputs if last else inputs
            self.linear_layers.append(
                LinearLayer(random, inputs, units, use_bias=not last, use_bn=True)
            )

    def __call__(self, x):
        for index, layer in enumerate(self.linear_layers):
            x = layer(x)
            if index < len(self.linear_layers) - 1:
                x = tf.nn.relu(x)
        return x


class SupervisedHead(tf.Module):
    """The linear classifier that is learned beside."""

    def __init__(self, random, inputs, classes):
        super().__init__()
        self.linear_layer = LinearLayer(random, inputs, classes)


class GoogleSimCLR(tf.Module):
    """What tf2/run.py saves under the name "model"."""

    def __init__(
        self,
        *,
        depth=50,
        width=1.0,
        cifar_stem=False,
        sk_ratio=0.0,
        se_ratio=0.0,
        projector_layers=3,
        projection_size=128,
        classes=10,
        seed=0,
    ):
        super().__init__()
        random = Random(seed)
        self.resnet_model = Resnet(random, depth, width, cifar_stem, sk_ratio, se_ratio)
        size = self.resnet_model.outputs
        self._projection_head = ProjectionHead(
            random, size, projector_layers, projection_size
        )
        if classes:
            self.supervised_head = SupervisedHead(random, size, classes)

    def __call__(self, images):
        """Images (N, H, W, 3) in [0, 1]: representations (N, D), projections (N, P)."""
        h = self.resnet_model(images)
        return h, self._projection_head(h)


def save_checkpoint(model, directory, *, optimizer=None):
    """Writes a checkpoint as tf2/run.py does while it trains; returns its prefix."""
    checkpoint = tf.train.Checkpoint(
        model=model,
        global_step=tf.Variable(7, dtype=tf.int64),
        **({} if optimizer is None else {"optimizer": optimizer}),
    )
    manager = tf.train.CheckpointManager(checkpoint, str(directory), max_to_keep=5)
    return manager.save(checkpoint_number=7)


class SavedSimCLR(tf.Module):
    """What tf2/run.py hands to tf.saved_model.save."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.trainable_variables_list = list(model.trainable_variables)
        # The layers of Keras 2 list their variables once more under this name.
        listed = tf.Module()
        listed.all_variables = list(model.variables)
        model.keras_api = listed

    @tf.function(autograph=False)
    def __call__(self, inputs, trainable):
        """The representation, under the name it has there."""
        return {"final_avg_pool": self.model(inputs)[0]}


def save_saved_model(model, directory):
    """Writes a SavedModel as tf2/run.py does after an evaluation."""
    module = SavedSimCLR(model)
    spec = tf.TensorSpec([None, None, None, 3], tf.float32)
    module.__call__.get_concrete_function(spec, trainable=False)
    tf.saved_model.save(module, str(directory))
