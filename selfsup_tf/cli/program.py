"""What the programs of the command line share: flags and errors."""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import logging
import os
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tyro

from selfsup_tf.doors import find_own
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.models.keras_settings import check_keras
from selfsup_tf.start import quiet_start

Positional = tyro.conf.Positional
IMPORTS = (
    "--import=MODULE imports a module of your own, whose layers an encoder or a view "
    "holds; again for another."
)
"""What the help of every program says of `split_imports`."""
_MARKERS = (tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands)


def parse_flags(
    kind: type, program: str, words: Sequence[str] | None, **options: Any
) -> Any:
    """The words of a command line as a dataclass of this kind; a slip is named."""
    known = _flag_names(kind)
    for word in sys.argv[1:] if words is None else words:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and name not in (*known, "help"):
            within = [flag for flag in known if flag.endswith(f".{name}")]
            advice = f"Perhaps you meant: --{' or --'.join(within)}"
            if not within:
                advice = nearest(name, known).replace(": ", ": --", 1)
            if advice.startswith("Choose"):
                advice = "--help lists all of them."
            raise InputError(f"a flag of {program}", word, advice)
    parse = functools.partial(
        tyro.cli,
        kind,
        prog=program,
        args=words,
        config=_MARKERS,
        use_underscores=True,
        **options,
    )
    try:
        # tyro draws a box around what a dataclass says of its values: friendly() has
        # one line for it.
        nowhere = io.StringIO()
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            return parse()
    except SystemExit as end:
        cause: BaseException | None = end
        while cause is not None:
            if isinstance(cause, InputError):
                raise cause from None
            cause = cause.__context__
    return parse()


def split_imports(words: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The words without --import=MODULE, and those modules, for `import_tensorflow`.

    Raises:
        InputError: There is no such module.
    """
    rest, modules = [], []
    words = iter(sys.argv[1:] if words is None else words)
    for word in words:
        flag, given, module = word.partition("=")
        if flag != "--import":
            rest.append(word)
            continue
        module = module if given else next(words, "")
        check(
            find_own(module),
            "--import to name a module on the path or in the working directory",
            repr(module),
            f"For my_layers.py in {os.getcwd()} it is --import=my_layers; PYTHONPATH "
            "names other folders.",
        )
        modules.append(module)
    return rest, modules


def _flag_names(kind: type, prefix: str = "") -> list[str]:
    """The flags of a dataclass and of the dataclasses in it."""
    names = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        if typing.get_origin(hint) is ClassVar or tyro.conf.Fixed in marks:
            continue
        hint = hint.__origin__ if marks else hint
        names.append(prefix + name)
        if dataclasses.is_dataclass(hint):
            names += _flag_names(hint, f"{prefix}{name}.")
    return names


def listing(usage: str, documented: Mapping[str, Any], ending: str) -> str:
    """The help of a program: its words, with the first lines of their docstrings."""
    width = max(map(len, documented), default=0)
    lines = [f"usage: {usage} [--FLAG=VALUE ...]", ""]
    for word, one in documented.items():
        first_line = (inspect.getdoc(one) or "").partition("\n")[0]
        lines.append(f"  {word:{width}}  {first_line}")
    return "\n".join([*lines, "", ending])


@contextlib.contextmanager
def friendly(
    interrupted: str = "interrupted",
    less_memory: str = "Close other programs, or look at fewer images at a time.",
) -> Iterator[None]:
    """Turns what a user can mend into one line on stderr and an exit code.

    Args:
        interrupted: What to say after Ctrl-C.
        less_memory: What to do where memory doesn't suffice.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("selfsup_tf").setLevel(logging.INFO)
    try:
        yield
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and not _is_read(sys.stdout):
            # Such as head, which has seen enough. What is left to write goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        sys.exit(complain(error, 2))
    except KeyboardInterrupt:
        sys.exit(complain(interrupted, 130))
    except Exception as error:
        if _is_out_of_memory(error):
            sys.exit(complain(f"{_TOO_LITTLE} {less_memory}", 1))
        # Divergence and failed parity: the message says all there is to say.
        if type(error).__module__.partition(".")[0] != "selfsup_tf":
            raise
        sys.exit(complain(error, 1))


_TOO_LITTLE = "expected more memory than there is, on this machine or its accelerator."


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, TensorFlow or XLA says so; a full disk is another matter."""
    said = str(error)
    # By name: it is TensorFlow's, which may not have been imported.
    exhausted = type(error).__name__ == "ResourceExhaustedError"
    exhausted = exhausted or "RESOURCE_EXHAUSTED" in said
    return isinstance(error, MemoryError) or (
        exhausted and "No space left on device" not in said
    )


def _is_read(stream: typing.TextIO) -> bool:
    """Whether somebody is at the other end; a pipe to a worker may have broken, too."""
    try:
        os.write(stream.fileno(), b"\n")
    except BrokenPipeError:
        return False
    return True


def complain(message: object, code: int) -> int:
    """Says what is wrong, and gives the exit code back."""
    print(f"error: {message}", file=sys.stderr)
    return code


def import_tensorflow(modules: Sequence[str] = ()) -> None:
    """Imports TensorFlow without what it says of itself, then these modules."""
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with quiet_start():
        check_keras()
        importlib.import_module("tensorflow")
    for module in modules:
        importlib.import_module(module)
