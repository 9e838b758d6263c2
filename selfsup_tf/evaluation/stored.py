import dataclasses
import json
import pathlib

from selfsup_tf.evaluation.protocol import Result
from selfsup_tf.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class StoredResult:
    name: str
    path: pathlib.Path
    result: Result
    stale: bool = False


def read_results(run):
    run = RunDirectory(run)
    out = []
    for p in sorted(run.evaluation.glob("*.json")):
        v = json.loads(p.read_text())
        if "rows" in v:
            out.append(StoredResult(p.stem, p, Result.from_dict(v)))
    return out


def unread_files(run):
    return []
