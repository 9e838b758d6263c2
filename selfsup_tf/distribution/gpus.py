"""The GPUs of a machine, by the names that CUDA_VISIBLE_DEVICES knows."""

import itertools
import logging
import re
import subprocess
from collections.abc import Mapping

logger = logging.getLogger("selfsup_tf")


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs a process in this environment may use, as CUDA_VISIBLE_DEVICES names.

    Asks `nvidia-smi`, for at most 30 s, where the variable is not set. TensorFlow is
    not asked, since it would take hold of the GPUs.
    """
    if "CUDA_VISIBLE_DEVICES" in environment:
        names = environment["CUDA_VISIBLE_DEVICES"].split(",")
        # CUDA ignores what follows a name that is none: -1, NoDevFiles, nothing.
        return list(
            itertools.takewhile(
                re.compile(r"[0-9]+|(GPU|MIG)-\S+").fullmatch, map(str.strip, names)
            )
        )
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(i) for i in range(len(re.findall(r"^GPU ", listing, re.MULTILINE)))]


def share_gpus(gpus: list[str], count: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each worker: as many GPUs for each, or none for all."""
    share = len(gpus) // count
    if share == 0:
        reason = f": {len(gpus)} GPUs are too few to share" if gpus else ""
        logger.info("%d workers on the CPU%s", count, reason)
    else:
        unused = gpus[share * count :]
        ending = f"; unused: {', '.join(unused)}" if unused else ""
        logger.info("%d workers; GPUs for each: %d%s", count, share, ending)
    return [",".join(gpus[share * i : share * (i + 1)]) for i in range(count)]
