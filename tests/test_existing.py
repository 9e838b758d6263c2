"""What does not exist is refused at once, before TensorFlow is loaded."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import pytest
import tensorflow_datasets as tfds

from selfsup_tf import cli, existing, installed
from selfsup_tf.config import EncoderConfig
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.flags import EncoderFlags
from selfsup_tf.models.encoders import application_modules

ROOT = pathlib.Path(__file__).parents[1]

SLIPS = {
    "a folder": (
        "train.py simclr folder_edge --data=./fotos",
        "a folder of images or an .npz file; received './fotos'",
    ),
    "data of TFDS": ("train.py simclr cifar10_cpu --data=cifar1", "Perhaps you meant"),
    "a network": (
        "train.py simclr cifar10_cpu --encoder.name=ResNet9",
        "the name of an encoder; received 'ResNet9'. Perhaps you meant: ResNet50",
    ),
    "a teacher": (
        "train.py distill shapes --teacher=runs/nope --pretrained=None",
        "an encoder that exists; received 'runs/nope'",
    ),
    "a run to go on from": (
        "train.py finetune shapes --pretrained=runs/shaps",
        "a run at runs/shaps; received no such directory. Perhaps you meant: runs/shap",
    ),
    "a start": (
        "train.py simclr shapes --start=imagenet:ResNet9",
        "imagenet:NAME, a network of keras.applications; received 'ResNet9'",
    ),
    "a run": ("eval.py health --run_dir=runs/shaps", "you meant: runs/shapes"),
    "another run": ("eval.py report --compare runs/shapes runs/x", "a run at runs/x"),
    "a run to export": ("export.py --run_dir=gone", "a run at gone"),
    "who stands beside": (
        "eval.py knn --run_dir=runs/shapes --beside=b.keras",
        "received 'b.keras'",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_refused_before_tensorflow_is_loaded(slip, tmp_path, monkeypatch):
    words, said = SLIPS[slip]
    program, *rest = words.split()
    (tmp_path / "runs" / "shapes").mkdir(parents=True)
    (tmp_path / "runs" / "shapes" / "config.json").touch()
    # An import of TensorFlow, or of what loads it, would fail here.
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow loaded')")
    found = subprocess.run(
        [sys.executable, str(ROOT / program), *rest],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2, found.stderr
    assert said in found.stderr and found.stderr.startswith("error: expected ")


def test_the_names_of_packages_are_those_that_they_know():
    assert installed.application_names() >= set(application_modules())
    for name in installed.application_names():
        assert hasattr(keras.applications, name)
    plain = {name.replace("_", "") for name in installed.tfds_names()}
    known = tfds.list_builders(with_community_datasets=False)
    assert {name.replace("_", "") for name in known} <= plain


@pytest.mark.parametrize("name", ["MobileNetV3Small", "resnet18", "vit_tiny"])
def test_networks_that_exist_pass(name):
    assert EncoderConfig(name=name).name == name


@pytest.mark.parametrize(
    "data", ["shapes", "fashion_mnist", "imagenet2012", "mnist/3.0.1", "own:kind", "."]
)
def test_data_that_may_exist_pass(data):
    existing.check_data(data, None)


def test_prepared_data_of_ones_own_pass(tmp_path):
    (tmp_path / "my_own_pictures").mkdir()
    existing.check_data("my_own_pictures", str(tmp_path))
    with pytest.raises(InputError, match="received 'my_own_pictures'"):
        existing.check_data("my_own_pictures", None)


def test_an_own_kind_of_source_knows_its_own_names(tmp_path, monkeypatch):
    (tmp_path / "selfsup_tf" / "data" / "sources").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    existing.check_data("anything", None)


def test_vectors_in_two_files_are_both_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.npz").touch()
    with pytest.raises(InputError, match=r"received 'test\.npz'"):
        existing.check_encoder("train.npz+test.npz")
    (tmp_path / "test.npz").touch()
    existing.check_encoder("train.npz+test.npz")


def test_without_a_network_tfds_is_not_waited_for(tmp_path, monkeypatch):
    """Its retries take minutes; a name that can't be looked up says it at once."""
    monkeypatch.setattr("urllib.request.getproxies", dict)

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match="a network to download them from"):
        open_source("mnist", data_dir=tmp_path)


def test_the_command_line_looks_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.evaluate(["knn", "--run_dir=runs/a"])
    assert end.value.code == 2
    assert "a run at runs/a; received no such directory" in capsys.readouterr().err


def test_what_later_code_takes_is_not_refused_before(tmp_path, monkeypatch):
    (tmp_path / "my_ds").mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    existing.check_data("my_ds", None)
    existing.check_data("FashionMNIST", None)  # TFDS takes the names of classes, too
    existing.check_data("my_ds", "gs://bucket/tfds")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c++" / "run").mkdir(parents=True)
    existing.check_encoder("c++/run")
    existing.check_encoder("c++/run@96")
    assert EncoderConfig(name="efficientnetb0").name == "efficientnetb0"


def test_a_run_knows_where_its_data_lie(tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    (tmp_path / "tfds" / "my_ds").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    config = {"method": "simclr", "data": "my_ds", "data_dir": str(tmp_path / "tfds")}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    flags = EncoderFlags(str(tmp_path / "run"), data="my_ds")
    existing.check_named(flags)
    with pytest.raises(InputError, match="received 'your_ds'"):
        existing.check_named(dataclasses.replace(flags, data="your_ds"))
