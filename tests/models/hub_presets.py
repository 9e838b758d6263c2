"""Small presets of keras-hub with random weights, as folders."""

import keras
import pytest

SIDE = 32
TRANSFORMER = {
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
}
TEXT = {
    "vocabulary_size": 50,
    "embedding_dim": 16,
    "hidden_dim": 16,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_dim": 32,
}
IMAGENET = {
    "scale": [1 / (255 * s) for s in (0.229, 0.224, 0.225)],
    "offset": [-m / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
}
MIDDLE = {"scale": 1 / 127.5, "offset": -1.0}


def presets():
    """What makes a small backbone of each family, and the options of its converter."""
    hub = pytest.importorskip("keras_hub").models
    image = {"image_shape": (SIDE, SIDE, 3)}

    def two_towers(family, **more):
        vision = getattr(hub, f"{family}VisionEncoder")(**TRANSFORMER, **image)
        text = getattr(hub, f"{family}TextEncoder")(**TEXT)
        return getattr(hub, f"{family}Backbone")(vision, text, **more)

    vit = {
        name: TRANSFORMER[name] for name in ("num_layers", "num_heads", "hidden_dim")
    }
    return {
        "DINOV2": (
            lambda: hub.DINOV2Backbone(
                **TRANSFORMER, **image, position_embedding_shape=(SIDE, SIDE, 3)
            ),
            IMAGENET,
        ),
        "DINOV3": (
            lambda: hub.DINOV3Backbone(**TRANSFORMER, **image, num_register_tokens=2),
            IMAGENET,
        ),
        "SigLIP": (lambda: two_towers("SigLIP"), MIDDLE),
        "CLIP": (lambda: two_towers("CLIP", projection_dim=12), IMAGENET),
        "ViT": (
            lambda: hub.ViTBackbone(**vit, **image, patch_size=(8, 8), mlp_dim=32),
            MIDDLE,
        ),
        "MobileNet": (
            lambda: hub.MobileNetBackbone(
                stackwise_expansion=[[40, 56]],
                stackwise_num_blocks=[2],
                stackwise_num_filters=[[16, 16]],
                stackwise_kernel_size=[[3, 3]],
                stackwise_num_strides=[[2, 1]],
                stackwise_se_ratio=[[None, 0.25]],
                stackwise_activation=[["relu", "hard_swish"]],
                stackwise_padding=[[1, 1]],
                output_num_filters=32,
                input_num_filters=16,
                input_activation="hard_swish",
                depthwise_filters=8,
                depthwise_stride=2,
                depthwise_residual=False,
                squeeze_and_excite=0.5,
                last_layer_filter=64,
                **image,
            ),
            {"scale": 1 / 255},
        ),
    }


def write_preset(family, folder):
    """A folder of a preset with random weights; its backbone and its converter."""
    import keras_hub

    make, options = presets()[family]
    keras.utils.set_random_seed(3)
    backbone = make()
    # Fresh networks begin with zeros where a trained one has none.
    for weight in backbone.trainable_weights:
        noise = keras.random.normal(weight.shape, stddev=0.05, seed=len(weight.shape))
        weight.assign(weight + noise)
    kind = getattr(keras_hub.layers, f"{family}ImageConverter")
    converter = kind(image_size=(SIDE, SIDE), **options)
    backbone.save_to_preset(folder)
    converter.save_to_preset(folder)
    return backbone, converter
