"""The command line: help at once, mistakes in one message, nothing written."""

import importlib.machinery
import pathlib
import re
import sys
import time
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf import api, cli
from selfsup_tf.cli import program
from selfsup_tf.methods import list_methods

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def refused(capsys):
    """Runs a verb that must end with exit code 2 and gives what it said."""

    def run(verb, *words):
        with pytest.raises(SystemExit) as exit_info:
            verb([str(w) for w in words])
        assert exit_info.value.code == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return re.sub(r"[\s│]+", " ", said.out + said.err)

    return run


def test_help_is_quick_and_loads_no_tensorflow(run_program):
    for words in (
        ["train.py"],
        ["train.py", "simclr"],
        ["train.py", "simclr", "cifar10", "--help"],
        ["train.py", "prepare", "--help"],
        ["eval.py"],
        ["eval.py", "robustness", "--help"],
        ["export.py", "--help"],
    ):
        start = time.monotonic()
        said = run_program("-X", "importtime", *words)
        # Generous on a busy machine: TensorFlow alone takes seconds, and is absent.
        assert time.monotonic() - start < 20
        assert "| tensorflow" not in said.stderr
        assert "usage" in said.stdout


def test_lists(capsys):
    cli.train([])
    listed = re.findall(r"^  (\w+) ", capsys.readouterr().out, flags=re.MULTILINE)
    assert listed == [*list_methods(), "prepare"]
    cli.train(["byol"])
    assert "cifar10_cpu" in capsys.readouterr().out


DISTILL = ("distill", "folder_edge", "--data=a", "--teacher=b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simcrl"], "Perhaps you meant: simclr"),
        (["simclr", "cifar01"], "Perhaps you meant: cifar10"),
        (["simclr", "cifar10", "--temprature=0.2"], "--temperature"),
        (["simclr", "cifar10", "--optimizer.momentun=1"], "--optimizer.momentum"),
        (["simclr", "cifar10", "--temperature=-1"], "temperature above 0"),
        (["simclr", "cifar10", "--precision=half"], "mixed_bfloat16"),
        (["simclr", "cifar10", "--view_1.flip=2"], "probability in [0, 1]"),
        (["simclr", "cifar10", "--steps=10"], "one of epochs and steps"),
        (["byol", "cifar10", "--predictor", "64", "32"], "end in the same size"),
        (["simclr", "folder"], "--data"),
        (["prepare", "--output=a"], "expected --data"),
        (["prepare", "--data=shapes", "--siez=9"], "--size"),
        (["prepare", "--data=nowhere/at/all", "--output=a"], "folder not found"),
        (["simclr", "cifar10", "--seed=-1"], "seed within"),
        (["simclr", "cifar10", "--epochs=inf"], "finite"),
        (["finetune", "cifar10_cpu"], "--pretrained=runs/a"),
        (["finetune", "cifar10_cpu", "--pretrained=a", "--fraction=2"], "(0, 1]"),
        (["finetune", "shapes", "--pretrained=a", "--encoder.width=2"], "either"),
        (["distill", "cifar10_cpu", "--pretrained=a"], "--teacher=runs/finetuned"),
        (["simclr", "cifar10", "--encoder.sk_ratio=0.1"], "resnet50"),
        (["simclr", "cifar10", "--encoder.name=resnet51"], "you meant: resnet50"),
        (["simclr", "cifar10", "--encoder.name=vit_tinny"], "you meant: vit_tiny"),
        (["simclr", "cifar10", "--learning_rate=1"], "--optimizer.learning_rate"),
        (["finetune", "shapes", "--pretrianed=runs/a"], "--pretrained"),
        (["finetune", "shapes", "--pretrained=a", "--encoder.name=resnet50"], "either"),
        (["simclr", "cifar10", "--view_2.blur_size=.2"], "with blur above 0"),
        (["byol", "cifar10", "--view_1.jitter=0", "--view_1.hue=.2"], "with jitter"),
        (["simclr", "cifar10", "--start=a", "--encoder.width=2"], "without --start"),
        (
            ["moco", "cifar10", "--predictor", "--predictor_norm=bare"],
            "with a predictor",
        ),
        (["simclr", "folder_edge", "--data=a", "--encoder.mean", *"111"], "not scale"),
        ([*DISTILL, "--temperature=.2"], "--temperature with --loss=classes"),
        ([*DISTILL, "--queue=128"], "--queue with --loss=relational"),
    ],
)
def test_mistakes_in_flags(refused, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(cli.train, *words)


def test_mistakes_in_data(refused, tmp_path):
    run_dir = tmp_path / "run"
    flags = ["simclr", "shapes", f"--run_dir={run_dir}"]
    assert "not found" in refused(cli.train, *flags, "--data=/no/such/folder")
    (tmp_path / "empty").mkdir()
    assert ".jpg" in refused(cli.train, *flags, f"--data={tmp_path / 'empty'}")
    assert "shapes" in refused(cli.train, *flags, "--data=shaeps")
    assert "batch_size=90000" in refused(cli.train, *flags, "--batch_size=90000")
    assert "image_size of 16" in refused(cli.train, *flags, "--image_size=8")
    assert not run_dir.exists()
    a_file = f"--run_dir={ROOT / 'README.md'}"
    assert "choose another" in refused(cli.train, "simclr", "shapes", a_file)


def test_a_range_test_that_is_interrupted_promises_nothing(
    monkeypatch, capsys, tmp_path
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "find_learning_rate", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.train(["simclr", "shapes", "--lr_find=True", f"--run_dir={tmp_path / 'a'}"])
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert "no rate was found" in said and "resumes" not in said


def test_a_reader_that_stops_is_no_mistake(start_python):
    """As in `train.py simclr cifar10 --help | head`."""
    process = start_python("train.py", "simclr", "cifar10", "--help")
    process.stdout.close()
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
    ],
)
def test_too_little_memory_is_one_line(error, capsys):
    advice = "Lower --batch_size."
    with pytest.raises(SystemExit) as ended, cli.friendly(less_memory=advice):
        raise error
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: expected more memory") and line.endswith(advice)


def test_what_is_no_matter_of_memory_is_not_taken_for_one():
    full = tf.errors.ResourceExhaustedError(None, None, "a: No space left on device")
    for error in (full, KeyError("a"), RuntimeError("b")):
        with pytest.raises(type(error)), cli.friendly():
            raise error


def test_methods_of_an_editable_install_are_listed(tmp_path, monkeypatch):
    """Its packages are found by a hook, and lie in no folder of the path."""
    package = tmp_path / "project" / "elsewhere_tf"
    package.mkdir(parents=True)
    for module in ("__init__", "config", "recipes", "method"):
        (package / f"{module}.py").touch()
    site = tmp_path / "site" / "elsewhere-1.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Name: elsewhere\nVersion: 1\n")
    (site / "top_level.txt").write_text("elsewhere_tf\n")

    class Hook(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            folders = [str(tmp_path / "project")]
            return super().find_spec(name, folders) if name == package.name else None

    monkeypatch.syspath_prepend(site.parent)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Hook])
    assert "elsewhere" in list_methods()


def test_evaluation_without_a_run(refused, tmp_path):
    said = refused(cli.evaluate, "knn", f"--run_dir={tmp_path}")
    assert "an encoder at" in said and "train.py" in said
    assert "meant: knn" in refused(cli.evaluate, "knnn", f"--run_dir={tmp_path}")
    said = refused(cli.evaluate, "knn", f"--run_dir={tmp_path}", "--epochs=3")
    assert "a flag of eval.py knn" in said
    for name in ("views", "accuracy"):  # which look at no encoder
        said = refused(cli.evaluate, name, f"--run_dir={tmp_path}", "--encoder=best")
        assert f"a flag of eval.py {name}" in said
    assert "a run at" in refused(cli.export, f"--run_dir={tmp_path / 'none'}")
    (tmp_path / "encoder.keras").write_bytes(b"not a model")
    assert "readable" in refused(cli.evaluate, "knn", f"--run_dir={tmp_path}")


OWN_LAYERS = """
import keras

@keras.saving.register_keras_serializable(package="blur_of_mine")
class Halve(keras.layers.Layer):
    def call(self, images):
        return images / 2
"""


@pytest.fixture
def own_layers(tmp_path, monkeypatch):
    """A module of layers in the working directory, unknown to Python as yet."""
    (tmp_path / "blur_of_mine.py").write_text(OWN_LAYERS)
    monkeypatch.chdir(tmp_path)
    path = [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    monkeypatch.setattr(sys, "path", path)

    def forget():
        import keras

        sys.modules.pop("blur_of_mine", None)
        keras.saving.get_custom_objects().pop("blur_of_mine>Halve", None)

    yield forget
    forget()


def test_a_module_of_layers_is_imported(own_layers, refused, tmp_path, few_images):
    """What an encoder holds is found by the commands, in the working directory."""
    import keras

    program.import_tensorflow(program.split_imports(["--import=blur_of_mine"])[1])
    halve = sys.modules["blur_of_mine"].Halve()
    pool = keras.layers.GlobalAveragePooling2D()
    encoder = keras.Sequential([keras.Input((16, 16, 3)), halve, pool])
    encoder.save(tmp_path / "encoder.keras")
    np.savez(tmp_path / "few.npz", x=few_images[0], y=few_images[1])
    own_layers()
    words = ["knn", f"--run_dir={tmp_path}", "--data=few.npz", "--untrained=False"]
    assert "'Halve'" in (said := refused(cli.evaluate, *words))
    assert "--import=blur_of_mine" in said
    cli.evaluate([*words, "--import=blur_of_mine"])
    assert (tmp_path / "eval" / "knn.json").is_file()


@pytest.mark.parametrize(
    "flag", [["--import=blur_of_mine"], ["--import", "blur_of_mine"]]
)
def test_every_command_imports(own_layers, monkeypatch, refused, flag):
    imported = []

    def stop(modules):
        imported.append(modules)
        raise KeyboardInterrupt

    monkeypatch.setattr("selfsup_tf.cli.program.import_tensorflow", stop)
    pathlib.Path("a").mkdir()
    commands = (
        (cli.train, "simclr", "shapes"),
        (cli.evaluate, "knn", "--run_dir=a"),
        (cli.export, "--run_dir=a"),
    )
    for verb, *words in commands:
        with pytest.raises(SystemExit):
            verb([*words, *flag])
        assert "'blur_of_yours'" in refused(verb, *words, "--import=blur_of_yours")
        assert "--import=my_layers" in refused(verb, *words, "--import")
    assert imported == [["blur_of_mine"]] * 3
    started = []
    monkeypatch.setattr(
        "selfsup_tf.cli.training.run_local_workers",
        lambda command, count: started.append(command) or 0,
    )
    with pytest.raises(SystemExit):
        cli.train(["simclr", "shapes", "--local_workers=2", *flag])
    assert " ".join(flag) in " ".join(started[0])


def test_help_names_the_import(capsys):
    for verb, *words in (
        (cli.train, "simclr", "shapes"),
        (cli.evaluate, "knn"),
        (cli.export,),
    ):
        with pytest.raises(SystemExit):
            verb([*words, "--help"])
        assert "--import=MODULE" in capsys.readouterr().out


def commands_of(text):
    """The python commands in a document's code blocks, continuation lines joined.

    Those marked shell need the examples of CONTRIBUTING.md; test_doors runs them.
    """
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [
        line.partition("  #")[0].strip()
        for line in lines
        if re.match(
            r"(python )?(train|eval|export)\.py|selfsup-(train|eval|export)", line
        )
        or line.startswith("python ")
    ]


DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("*_tf/README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
]
COMMANDS = sorted({c for d in DOCUMENTS for c in commands_of(d.read_text())})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_documents_parse(command, monkeypatch):
    """Each flag exists and each value is of its kind; nothing is run."""
    words = command.replace("python ", "", 1).split()
    program = words[0]
    if program not in ("train.py", "eval.py", "export.py"):
        assert (ROOT / program).is_file() or words[0] == "-m"
        return
    verbs = {"train.py": cli.train, "eval.py": cli.evaluate, "export.py": cli.export}

    class Parsed(Exception):
        pass

    def stop(*arguments):
        raise Parsed

    monkeypatch.setattr("selfsup_tf.cli.program.import_tensorflow", stop)
    monkeypatch.setattr("selfsup_tf.cli.training.run_local_workers", stop)
    for verb in (
        "training",
        "preparing",
        "evaluating",
        "exporting",
    ):  # what is not there
        monkeypatch.setattr(f"selfsup_tf.cli.{verb}.check_named", lambda *_, **__: 0)
    monkeypatch.setattr("selfsup_tf.cli.evaluating.run_protocol", stop)
    try:
        verbs[program](words[1:])
    except Parsed:
        pass
    except SystemExit as end:
        assert not end.code, command


def test_pictures_and_files_that_documents_name_exist():
    for document in DOCUMENTS:
        prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            assert target.startswith("http") or (document.parent / target).exists()


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 8


def test_wheel_installs_the_scripts(tmp_path, run_program):
    """A built wheel holds every package and the three console scripts."""
    run_program("-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "selfsup_tf/cli/training.py",
        "selfsup_tf/evaluation/report/templates/page.css",
        "selfsup_tf/evaluation/report/templates/report.html.jinja",
        "selfsup_tf/evaluation/protocols/map.html.jinja",
        "selfsup_tf/exporting/card.md.jinja",
        "selfsup_tf/exporting/program.py.jinja",
        "selfsup_tf/exporting/models.config",
        "selfsup_tf/exporting/batching.config",
        "simclr_tf/recipes.py",
        "byol_tf/method.py",
    ):
        assert name in names
    listing = " ".join(names)
    assert "entry_points.txt" in listing and "tests/" not in listing
