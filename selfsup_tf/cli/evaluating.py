"""`eval.py`: how good an encoder is, by numbers, by pictures, on one page."""

import inspect
from collections.abc import Sequence

from selfsup_tf.cli import program
from selfsup_tf.evaluation.protocol import PROTOCOLS
from selfsup_tf.evaluation.results import in_order
from selfsup_tf.evaluation.running import run_protocol
from selfsup_tf.existing import check_named


def evaluate(arguments: Sequence[str] | None = None) -> None:
    """`eval.py`: PROTOCOL --run_dir --flags."""
    with program.friendly():
        words, modules = program.split_imports(arguments)
        if not words or words[0] in ("-h", "--help"):
            return print(_list_protocols())
        protocol = PROTOCOLS.find(words[0])
        flags = program.parse_flags(
            protocol.flags,
            f"eval.py {words[0]}",
            words[1:],
            description=f"{inspect.getdoc(protocol.flags)}\n\n{program.IMPORTS}",
        )
        check_named(flags, own_modules=modules)
        if not protocol.reads_files_alone(flags):
            program.import_tensorflow(modules)
        run_protocol(words[0], **vars(flags))


def _list_protocols() -> str:
    return program.listing(
        "eval.py PROTOCOL --run_dir=DIRECTORY",
        {name: protocol.flags for name, protocol in in_order().items()},
        "`eval.py PROTOCOL --help` lists every flag with its default.",
    )
