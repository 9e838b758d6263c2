"""Gives 1,000 damaged, hostile and odd image files to all that read images.

python tests/faults/hostile_files.py
python tests/faults/hostile_files.py --files=200 --seed=1

The files are those of tests/exporting/mutations.py. They lie in a folder that is
trained on, are sent to a SavedModel, to the example server over REST and gRPC, one by
one, and are indexed by the example for small computers. Counted is

- read: an answer of finite numbers,
- refused: the reader's own word for a file that it does not read,
- crashes: a reader that ends, an answer that is none, a "fine" file that is refused,
- hangs: no answer within 20 seconds, or a program that takes longer than 10 minutes.

Memory is the peak of a reader above what it takes for the good ones among the files.
Prints a table and ends with status 1 at a crash, a hang or more than MOST_MB. Linux
only.
"""

import argparse
import base64
import collections
import dataclasses
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "exporting")]

import mutations  # noqa: E402

HANG = 20.0  # seconds for one file
MOST_MB = 400.0
"""What a reader may take beyond what good files take: a batch of the largest images."""

Files = list[tuple[str, bytes]]


@dataclasses.dataclass
class Row:
    """What a reader made of the files.

    Attributes:
        reader: Its name.
        read: How many were answered.
        refused: How many were not, in the reader's own words.
        crashes: What went wrong.
        hangs: What took too long.
        slowest: Seconds for one file; None where they are read together.
        memory: Peak in MB above that for the good files.
    """

    reader: str
    read: int = 0
    refused: int = 0
    crashes: list[str] = dataclasses.field(default_factory=list)
    hangs: list[str] = dataclasses.field(default_factory=list)
    slowest: float | None = None
    memory: float = 0.0


def peak_mb(pid: int | str = "self") -> float:
    """The most memory that a process has had until now."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def good_ones(files: Files) -> Files:
    """The files that every reader must read."""
    return [(name, contents) for name, contents in files if "_fine_" in name]


def ask_each(
    reader: str, files: Files, ask: Callable[[bytes], str | None], pid: int | str
) -> Row:
    """Gives one file after the other to a reader that stays.

    Args:
        reader: Its name.
        files: All.
        ask: Gives the reason for a refusal, None for a good answer; raises otherwise.
        pid: Whose memory is measured.
    """
    for _, contents in good_ones(files):
        ask(contents)
    row, before = Row(reader), peak_mb(pid)
    row.slowest = 0.0
    for name, contents in files:
        begun = time.perf_counter()
        try:
            refusal = ask(contents)
        except TimeoutError:
            row.hangs.append(name)
            continue
        except Exception as error:
            row.crashes.append(f"{name}: {type(error).__name__}: {error}"[:300])
            continue
        row.slowest = max(row.slowest, time.perf_counter() - begun)
        row.read += refusal is None
        row.refused += refusal is not None
        if refusal is not None and "_fine_" in name:
            row.crashes.append(f"{name} was refused: {refusal}"[:300])
    row.memory = peak_mb(pid) - before
    return row


def check_finite(numbers, length: int | None = None) -> None:
    """Raises ValueError where an answer is not a vector of finite numbers."""
    found = np.asarray(numbers, np.float64)
    if not (found.ndim == 1 and len(found) and np.isfinite(found).all()):
        raise ValueError(f"expected finite numbers; received {str(numbers)[:100]}")


def ask_saved_model(files: Files, path: pathlib.Path) -> Row:
    """Asks a loaded SavedModel, in this process."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serve_bytes"]

    def ask(contents):
        try:
            h = serve(image_bytes=tf.constant([contents]))["representation"]
        except tf.errors.InvalidArgumentError as error:
            return error.message
        check_finite(h.numpy()[0])
        return None

    return ask_each("SavedModel", files, ask, "self")


def ask_servers(files: Files, model: pathlib.Path) -> Iterable[Row]:
    """Asks the example server over REST, then over gRPC."""
    import grpc
    import tensorflow as tf
    from artefacts import running_server
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    log = model.parent / "server.log"
    with running_server(model, log) as (process, rest, rpc, _):
        host = rest.removeprefix("http://")

        def ask_rest(contents):
            instance = {"b64": base64.b64encode(contents).decode()}
            body = {"signature_name": "serve_bytes", "instances": [instance]}
            connection = http.client.HTTPConnection(host, timeout=HANG)
            try:
                connection.request(
                    "POST", "/v1/models/encoder:predict", json.dumps(body)
                )
                response = connection.getresponse()
                answer = json.loads(response.read())
            finally:
                connection.close()
            if 400 <= response.status < 500:
                return answer["error"]
            check_finite(answer["predictions"][0])
            return None

        stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(rpc)
        )

        def ask_rpc(contents):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "encoder"
            request.model_spec.signature_name = "serve_bytes"
            images = tf.make_tensor_proto([contents], tf.string)
            request.inputs["image_bytes"].CopyFrom(images)
            try:
                answer = stub.Predict(request, timeout=HANG)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise TimeoutError from error
                if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                return error.details()
            check_finite(tf.make_ndarray(answer.outputs["representation"])[0])
            return None

        for reader, ask in (("REST", ask_rest), ("gRPC", ask_rpc)):
            row = ask_each(reader, files, ask, process.pid)
            if "Traceback" in log.read_text():
                row.crashes.append(f"a traceback in {log}")
            yield row


def run(*words: object) -> tuple[int | None, str, float]:
    """Runs a program: exit code (None: it hung), what it said, its peak in MB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=log, stderr=log, env=environment
        )
        end, peak = time.monotonic() + 600, 0.0
        while process.poll() is None and time.monotonic() < end:
            try:
                peak = max(peak, peak_mb(process.pid))
            except (OSError, TypeError):  # it has just ended
                break
            time.sleep(0.05)
        code = process.poll() if time.monotonic() >= end else process.wait()
        process.kill()
        log.seek(0)
        return code, log.read().decode(errors="replace"), peak


def read_folders(
    reader: str,
    files: Files,
    place: pathlib.Path,
    command: Callable[[pathlib.Path], Iterable[object]],
    count: Callable[[str], tuple[int, int]],
    more: int = 0,
) -> Row:
    """Runs a program on a folder of the good files, then on one of all.

    Args:
        reader: Its name.
        files: All.
        place: Where the folders are made.
        command: The program's words for a folder.
        count: How many files were read and refused, by what the program said.
        more: Good files that lie beside them and are not counted.
    """
    row, peaks = Row(reader), []
    for name, chosen in (("good", good_ones(files)), ("all", files)):
        folder = place / name
        folder.mkdir(parents=True)
        for file, contents in chosen:
            (folder / file).write_bytes(contents)
        for number in range(more):  # many names of one file
            path = folder / f"more_{number}.png"
            path.hardlink_to(folder / "more_0.png") if number else path.write_bytes(
                mutations.encode(mutations.picture(), "PNG")
            )
        code, said, peak = run(*command(folder))
        peaks.append(peak)
        if code is None:
            row.hangs.append(f"{reader}: {said[-300:]}")
        elif code or "Traceback" in said:
            row.crashes.append(f"exit code {code}: {said[-2000:]}")
        else:
            row.read, row.refused = count(said)
            row.read -= more
            if row.read + row.refused != len(chosen):
                row.crashes.append(
                    f"{len(chosen)} files, {row.read} read and {row.refused} refused"
                )
    row.memory = peaks[1] - peaks[0]
    return row


def train_on_folder(files: Files, place: pathlib.Path) -> Row:
    """Trains an epoch on a folder of which they are 5 %, as more are refused."""

    def command(folder):
        return (
            *(ROOT / "train.py", "simclr", "shapes", f"--data={folder}"),
            *(f"--run_dir={folder}_run", "--image_size=32", "--encoder.width=0.125"),
            *("--batch_size=64", "--epochs=1"),
        )

    def count(said):
        images = re.search(r": ([\d,]+) images, ", said)
        skipped = re.findall(rf"{place}/\w+/(\d{{3,}}_\S+): ", said)
        others = re.search(r"Left out, as no pictures: (\d+)", said)
        refused = len(set(skipped)) + (int(others[1]) if others else 0)
        return int(images[1].replace(",", "")), refused

    more = 20 * len(files)
    return read_folders("folder, trained on", files, place, command, count, more)


def index_folder(files: Files, model: pathlib.Path, place: pathlib.Path) -> Row:
    """Indexes all that is readable by the example for small computers."""

    def command(folder):
        program = ROOT / "examples" / "edge" / "embed.py"
        return program, "index", model, folder, f"--index={folder}.npz"

    def count(said):
        found = re.search(r"(\d+) embedded in .*, (\d+) skipped", said)
        return int(found[1]), int(found[2])

    return read_folders("edge example", files, place, command, count)


def main() -> int:
    """Prints the table; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    flags = parser.parse_args()
    files = mutations.mutated_files(flags.files, flags.seed)
    from artefacts import export_tflite, make_network, write

    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        encoder = make_network(32)
        tflite = export_tflite(encoder, place / "encoder.tflite")
        saved_model = write("saved_model", encoder, place / "encoder" / "1")
        rows = [
            train_on_folder(files, place / "trained"),
            ask_saved_model(files, saved_model),
            *ask_servers(files, saved_model.parent),
            index_folder(files, tflite, place / "indexed"),
        ]
    kinds = collections.Counter(name.split("_")[1] for name, _ in files)
    print(f"{len(files)} files: {', '.join(f'{n} {k}' for k, n in kinds.items())}.\n")
    print("| | read | refused | crashes | hangs | slowest file | memory |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        slowest = "-" if row.slowest is None else f"{row.slowest:.1f} s"
        print(
            f"| {row.reader} | {row.read} | {row.refused} | {len(row.crashes)} | "
            f"{len(row.hangs)} | {slowest} | {row.memory:+.0f} MB |"
        )
    wrong = [said for row in rows for said in (*row.crashes, *row.hangs)]
    wrong += [f"{r.reader}: {r.memory:.0f} MB" for r in rows if r.memory > MOST_MB]
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
