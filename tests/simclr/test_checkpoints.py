"""Checkpoints of google-research/simclr: the same numbers, or a refusal that says why.

The checkpoints are of a network written after the published one, name by name; Google's
own files are not here.
"""

import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import InputError
from simclr_tf.checkpoints import import_simclr

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from google_simclr import (
    GoogleSimCLR,
    save_checkpoint,
    save_saved_model,
)

SMALL = {"width": 1 / 16, "projection_size": 8}
COUNTERS = ["global_step", "save_counter"]
CLASSIFIER = [
    "supervised_head/linear_layer/dense/bias",
    "supervised_head/linear_layer/dense/kernel",
]


def assert_same(imported, source, size):
    """Representations and projections agree to 1e-5 of their scale."""
    images = tf.random.stateless_uniform([2, size, size, 3], [0, 1])
    representations, projections = source(images)
    pairs = [(imported.encoder(images), representations)]
    if imported.projector is not None:
        pairs.append((imported.projector(pairs[0][0]), projections))
    for ours, theirs in pairs:
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=1e-5)
        assert np.std(theirs / scale) > 0.05


@pytest.fixture
def checkpoint(tmp_path):
    """Saves a source network; its files go at the end, for some are large."""

    def save(source, **options):
        return save_checkpoint(source, tmp_path / "run", **options)

    yield save
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint that nobody changes."""
    return save_checkpoint(GoogleSimCLR(**SMALL), tmp_path_factory.mktemp("run"))


def test_a_published_shape_gives_the_same_numbers(checkpoint):
    source = GoogleSimCLR(width=2, projector_layers=2)
    imported = import_simclr(checkpoint(source), image_size=64)
    assert imported.encoder_config == EncoderConfig(width=2.0)
    assert list(imported.unused) == COUNTERS + CLASSIFIER
    assert imported.projector.output_shape == (None, 128)
    assert_same(imported, source, 64)


@pytest.mark.parametrize(
    ("options", "size", "stem"),
    [
        ({"se_ratio": 0.25, "sk_ratio": 0.0625}, 48, "imagenet"),
        ({"cifar_stem": True, "projector_layers": 1}, None, "small"),
        ({"cifar_stem": True, "sk_ratio": 0.0625, "classes": 0}, None, "small"),
        # An odd height shows which side is padded.
        ({"depth": 101, "sk_ratio": 0.0625}, 45, "imagenet"),
    ],
)
def test_other_shapes_give_the_same_numbers(checkpoint, options, size, stem):
    source = GoogleSimCLR(**{**SMALL, **options})
    imported = import_simclr(checkpoint(source), image_size=size)
    config = imported.encoder_config
    assert (config.name, config.stem) == (f"resnet{options.get('depth', 50)}", stem)
    assert (config.sk_ratio > 0) == ("sk_ratio" in options)
    assert (config.se_ratio > 0) == ("se_ratio" in options)
    classifier = CLASSIFIER if options.get("classes", 1) else []
    assert list(imported.unused) == COUNTERS + classifier
    assert_same(imported, source, size or 32)


def test_a_saved_model_is_read_by_its_names_though_its_keys_are_numbers(tmp_path):
    source = GoogleSimCLR(**SMALL, projector_layers=0)
    # The published folders have the SavedModel in one of this name.
    save_saved_model(source, tmp_path / "saved_model")
    prefix = tmp_path / "saved_model/variables/variables"
    keys = [key for key, _ in tf.train.list_variables(prefix)]
    assert not [key for key in keys if "conv2d" in key or "dense" in key]
    imported = import_simclr(tmp_path, image_size=32)
    assert imported.projector is None
    assert list(imported.unused) == CLASSIFIER
    assert_same(imported, source, 32)


def test_a_run_is_read_with_its_optimizer_left_out(checkpoint, tmp_path):
    source = GoogleSimCLR(**SMALL, projector_layers=2)
    optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    first = source.trainable_variables[0]
    optimizer.apply_gradients([(tf.zeros_like(first), first)])
    source.resnet_model.note = tf.Variable("older versions of Keras describe layers")
    checkpoint(source, optimizer=optimizer)
    imported = import_simclr(str(tmp_path / "run"), image_size=32)
    slot, *others = imported.unused[1:]
    assert imported.unused[0] == "global_step"
    assert slot.startswith("model/") and slot.endswith("SLOT/optimizer/momentum")
    assert others == COUNTERS[1:] + CLASSIFIER
    assert_same(imported, source, 32)
    imported.encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    images = tf.random.stateless_uniform([2, 32, 32, 3], [0, 1])
    np.testing.assert_array_equal(again(images), imported.encoder(images))


def test_a_model_that_is_the_root_and_a_config_that_is_given(tmp_path):
    source = GoogleSimCLR(**SMALL)
    prefix = tf.train.Checkpoint(source).write(str(tmp_path / "weights"))
    config = EncoderConfig(width=1 / 16, zero_init=False)
    imported = import_simclr(f"{prefix}.index", encoder_config=config, image_size=32)
    assert imported.encoder_config == config
    assert list(imported.unused) == CLASSIFIER
    assert_same(imported, source, 32)


def test_an_optimizer_that_lists_the_network_excuses_nothing(checkpoint):
    source = GoogleSimCLR(**SMALL)
    optimizer = tf.Module()
    optimizer.listed = list(source.trainable_variables)
    prefix = checkpoint(source, optimizer=optimizer)
    keys = [key for key, _ in tf.train.list_variables(prefix)]
    assert "optimizer/listed/0/.ATTRIBUTES/VARIABLE_VALUE" in keys
    assert_same(import_simclr(prefix, image_size=32), source, 32)
    source.resnet_model.extra = tf.Variable([1.0])
    optimizer.listed = list(source.trainable_variables)
    with pytest.raises(InputError, match="1 only in the checkpoint"):
        import_simclr(checkpoint(source, optimizer=optimizer), image_size=32)


BLOCK = "resnet_model/block_groups/{}/layers/{}/conv_relu_dropblock_layers/{}"


@pytest.mark.parametrize(
    ("config", "lines"),
    [
        (
            {"width": 1 / 8},
            [
                # 53 convolutions, the four variables of each of their norms, and the
                # kernel that takes in the representation.
                f"with {53 * 5 + 1} of another shape or type. It seems",
                f"    {BLOCK.format(0, 0, '0/conv2d/kernel')} "
                "(1, 1, 4, 4) there, (1, 1, 8, 8) here",
            ],
        ),
        (
            {"name": "resnet101", "width": 1 / 16},
            [
                f"with {17 * 3 * 5} only in the network. It seems",
                f"    {BLOCK.format(2, 10, '0/conv2d/kernel')} (1, 1, 64, 16)",
            ],
        ),
        (
            {"width": 1 / 16, "sk_ratio": 0.0625},
            [
                "  only in the checkpoint:\n"
                f"    {BLOCK.format(0, 0, '3/conv2d/kernel')} (3, 3, 4, 4)\n",
                "  only in the network:\n"
                f"    {BLOCK.format(0, 0, '3/batch_norm_relu/bn/beta')} (8,)\n",
                "  of another shape or type:\n"
                "    resnet_model/initial_conv_relu_max_pool/0/conv2d/kernel "
                "(7, 7, 3, 4) there, (3, 3, 3, 2) here",
            ],
        ),
    ],
    ids=["width", "depth", "sk"],
)
def test_a_network_of_another_kind_is_refused_with_both_sides(saved, config, lines):
    with pytest.raises(InputError) as refusal:
        import_simclr(saved, encoder_config=EncoderConfig(**config), image_size=32)
    message = str(refusal.value)
    for line in lines:
        assert line in message
    assert "seems to be resnet50 with width=0.0625, stem=imagenet" in message
    # Ten of a kind are enough.
    assert "\n    ...\n" in message + "\n"
    assert message.count("\n    ") <= 3 * 11


def test_missing_extra_and_unlike_variables_are_listed(checkpoint):
    source = GoogleSimCLR(**SMALL)
    resnet = source.resnet_model
    del resnet.block_groups[1].layers[0].projection_layers[1].bn.beta
    resnet.block_groups[1].layers[2].extra = tf.Variable([1.0, 2.0])
    source.teacher = tf.Variable(3.0)
    stem = resnet.initial_conv_relu_max_pool[2].bn
    stem.gamma = tf.Variable(tf.cast(stem.gamma, tf.float16))
    with pytest.raises(InputError) as refusal:
        import_simclr(checkpoint(source), image_size=32)
    message = str(refusal.value)
    counts = "2 only in the checkpoint, 1 only in the network, 1 of another shape"
    assert f"{counts} or type. Where only" in message
    assert message.splitlines()[1:] == [
        "  only in the checkpoint:",
        "    resnet_model/block_groups/1/layers/2/extra (2,)",
        "    teacher ()",
        "  only in the network:",
        "    resnet_model/block_groups/1/layers/0/projection_layers/1/bn/beta (32,)",
        "  of another shape or type:",
        "    resnet_model/initial_conv_relu_max_pool/2/bn/gamma (4,) of float16 there, "
        "(4,) here",
    ]


def test_weights_that_are_not_finite_are_refused(checkpoint):
    source = GoogleSimCLR(**SMALL)
    block = source.resnet_model.block_groups[3].layers[2]
    block.conv_relu_dropblock_layers[3].conv2d.kernel[0, 0, 0, 0].assign(np.nan)
    source._projection_head.linear_layers[1].bn_relu.bn.gamma[0].assign(np.inf)
    message = (
        "NaN or infinity in 2: resnet_model/block_groups/3/layers/2/"
        "conv_relu_dropblock_layers/3/conv2d/kernel, "
        "_projection_head/linear_layers/1/bn_relu/bn/gamma"
    )
    with pytest.raises(InputError, match=message):
        import_simclr(checkpoint(source), image_size=32)


def test_other_numbers_of_blocks_are_refused(checkpoint):
    source = GoogleSimCLR(**SMALL)
    source.resnet_model.block_groups[0].layers.append(tf.Module())
    message = r"blocks of resnet50, 101, 152 or 200; .* with \(4, 4, 6, 3\)"
    with pytest.raises(InputError, match=message):
        import_simclr(checkpoint(source), image_size=32)


def test_a_head_that_is_no_projector_can_be_left_out(checkpoint):
    source = GoogleSimCLR(**SMALL)
    # Its middle layers alone, as a fine-tuned network may have them.
    source._projection_head.linear_layers = source._projection_head.linear_layers[:1]
    prefix = checkpoint(source)
    beta = "_projection_head/linear_layers/0/bn_relu/bn/beta"
    message = rf"projector=False\n  only in the checkpoint:\n    {beta} \(128,\)$"
    with pytest.raises(InputError, match=message):
        import_simclr(prefix, image_size=32)
    imported = import_simclr(prefix, image_size=32, projector=False)
    assert imported.projector is None
    assert beta in imported.unused and len(imported.unused) == 4 + 5
    assert_same(imported, source, 32)


def test_resnet18_is_refused_with_the_reason(checkpoint):
    prefix = checkpoint(GoogleSimCLR(depth=18, cifar_stem=True, **SMALL))
    with pytest.raises(InputError, match=r"ResNet-18.*\(2, 2, 2, 2\).*projection in"):
        import_simclr(prefix)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EncoderConfig(name="resnet18"), "no counterpart"),
        (EncoderConfig(name="ResNet50V2"), "no counterpart"),
        (EncoderConfig(stem="small_stride2"), "not its stride"),
        (EncoderConfig(mean=(0.5, 0.5, 0.5)), r"take images in \[0, 1\]"),
        (EncoderConfig(weights="somewhere.h5"), r"weights=somewhere\.h5"),
    ],
)
def test_configs_without_a_counterpart_are_refused(saved, config, message):
    with pytest.raises(InputError, match=message):
        import_simclr(saved, encoder_config=config)


def test_files_that_are_no_checkpoints_are_refused(saved, tmp_path):
    with pytest.raises(InputError, match=r"absent, where there is none\. Check"):
        import_simclr(tmp_path / "absent")
    with pytest.raises(InputError, match="where there is none"):
        import_simclr(tmp_path)
    with pytest.raises(InputError, match=r"on this machine.*gsutil"):
        import_simclr("gs://simclr-checkpoints-tf2/simclrv2/pretrained/r50_1x_sk0")
    (tmp_path / "noise.index").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(InputError, match="a readable checkpoint"):
        import_simclr(tmp_path / "noise")
    shutil.copy(f"{saved}.index", tmp_path / "half.index")
    with pytest.raises(InputError, match=r"a readable checkpoint.*\.data"):
        import_simclr(tmp_path / "half")


def test_checkpoints_without_names_are_refused(tmp_path):
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt-1"),
        tensor_names=["base_model/conv2d/kernel"],
        shape_and_slices=[""],
        tensors=[tf.zeros([7, 7, 3, 64])],
    )
    with pytest.raises(InputError, match=r"named base_model/conv2d/kernel.*Flow 1"):
        import_simclr(tmp_path / "model.ckpt-1")
    numbered = tf.Module()
    numbered.listed = [tf.Variable(tf.zeros([7, 7, 3, 64]))]
    tf.saved_model.save(numbered, str(tmp_path / "hub"))
    with pytest.raises(InputError, match=r"named listed/0/.*without guessing"):
        import_simclr(tmp_path / "hub")


def test_a_checkpoint_becomes_a_run_from_the_command_line(
    saved, run_program, few_images, tmp_path
):
    run_dir = tmp_path / "run"
    words = ["-m", "simclr_tf", saved, f"--run_dir={run_dir}", "--image_size=32"]
    said = run_program(*words).stdout
    assert "resnet50, width 0.0625" in said and "supervised_head" in said
    assert {path.name for path in run_dir.iterdir()} == {
        "encoder.keras",
        "projector.keras",
    }
    assert "run_dir to be new or empty" in run_program(*words, check=False).stderr
    words[3] += "/google.keras"
    assert "run_dir to be new or empty" in run_program(*words, check=False).stderr
    data = tmp_path / "images.npz"
    np.savez(
        data,
        x_train=few_images[0],
        y_train=few_images[1],
        x_test=few_images[0],
        y_test=few_images[1],
    )
    assert (
        "top-1"
        in run_program(
            "eval.py", "knn", f"--run_dir={run_dir}", f"--data={data}"
        ).stdout
    )
    nameless = run_program("eval.py", "knn", f"--run_dir={run_dir}", check=False)
    assert nameless.returncode == 2 and "--data" in nameless.stderr
    run_program(
        "train.py",
        "finetune",
        "cifar10_cpu",
        f"--pretrained={run_dir}",
        f"--data={data}",
        f"--run_dir={tmp_path / 'few'}",
        "--fraction=1",
        "--batch_size=32",
        "--epochs=1",
    )
    judged = run_program("eval.py", "accuracy", f"--run_dir={tmp_path / 'few'}").stdout
    assert "accuracy on 64" in judged
