"""What is neither decayed nor adapted is picked by rank: is that right, everywhere?

A network of each family that a config can name is built, with zeros for weights, and
each of its trainable variables is looked up in the layer that owns it: is it the
layer's bias, or the gamma or beta of a norm? Those and no others are to be excluded.
"""

import collections

import keras
import pytest

from selfsup_tf.config import EncoderConfig
from selfsup_tf.models.encoders import application_modules
from selfsup_tf.models.resnet import build_resnet
from selfsup_tf.models.vit import build_vit
from selfsup_tf.training.lars import is_excluded

NORMS = (keras.layers.BatchNormalization, keras.layers.LayerNormalization)

EXCLUDED_BESIDES = {"LayerScale": "gamma"}
"""Of rank 1 though neither bias nor norm: ConvNeXt's scale of each channel of a branch.
Its authors exclude it too, by the same rule (facebookresearch/ConvNeXt,
optim_factory.py)."""

VARIANTS = [
    {"name": "resnet18", "width": 1 / 16},
    {"name": "resnet50", "width": 1 / 16, "sk_ratio": 0.0625, "se_ratio": 0.25},
    {"name": "resnet18", "width": 1 / 16, "se_ratio": 0.25, "stem": "small"},
]


def is_attribute(variable, layer, *names):
    """Whether one of these attributes of the layer is this variable."""
    return any(getattr(layer, name, None) is variable for name in names)


def check_exclusions(network, owners):
    """Asserts the rule; counts what departs from it, by the class of the layer."""
    seen, exceptions = collections.Counter(), collections.Counter()
    for variable in network.trainable_variables:
        layer = owners[id(variable)]
        kind = type(layer).__name__
        bias = is_attribute(variable, layer, "bias")
        norm = isinstance(layer, NORMS) and is_attribute(
            variable, layer, "gamma", "beta"
        )
        seen["bias" if bias else "norm" if norm else "other"] += 1
        if is_excluded(variable) == (bias or norm):
            continue
        assert is_excluded(variable), variable.path
        allowed = EXCLUDED_BESIDES.get(kind, "")
        assert is_attribute(variable, layer, allowed), variable.path
        exceptions[kind] += 1
    assert sum(seen.values()) == len(network.trainable_variables)
    return seen, exceptions


@pytest.mark.parametrize(
    "values", VARIANTS, ids=lambda v: "-".join(map(str, v.values()))
)
def test_our_resnets(values, owners):
    network = build_resnet(EncoderConfig(**values), 32)
    seen, exceptions = check_exclusions(network, owners)
    assert seen["other"] > 10 and seen["norm"] > 10 and not exceptions
    assert bool(seen["bias"]) == ("se_ratio" in values)


FAMILIES = {
    **dict.fromkeys(("ConvNeXtTiny", "DenseNet121", "EfficientNetB0"), 32),
    **dict.fromkeys(("EfficientNetV2B0", "MobileNet", "MobileNetV2"), 32),
    **dict.fromkeys(("MobileNetV3Small", "NASNetMobile", "ResNet50", "VGG16"), 32),
    **dict.fromkeys(("ResNet50V2", "VGG19"), 32),
    **{"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71},
}
"""A network of each module of Keras, and the least image that it takes, in pixels."""


def test_every_family_of_keras_is_here():
    modules = application_modules()
    assert {modules[name] for name in FAMILIES} == set(modules.values())


@pytest.mark.parametrize(("name", "size"), FAMILIES.items())
def test_networks_of_keras(name, size, owners):
    network = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    )
    seen, exceptions = check_exclusions(network, owners)
    assert seen["other"] > 10
    # A scale in each of its blocks.
    assert exceptions == ({"LayerScale": 18} if name == "ConvNeXtTiny" else {})


def test_a_vision_transformer(owners):
    pytest.importorskip("keras_hub", reason="pip install '.[hub]'")
    network = build_vit(EncoderConfig(name="vit_tiny"), 16)
    _, exceptions = check_exclusions(network, owners)
    assert not exceptions
    # The class token and the embeddings of the positions are decayed and adapted.
    embeddings = [
        v for v in network.variables if v.name in ("class_token", "embeddings")
    ]
    assert len(embeddings) == 2 and not any(map(is_excluded, embeddings))
