"""Kills runs at 100 instants; compares what resuming gives with a run left in peace.

python tests/faults/kills.py
python tests/faults/kills.py --kills=12 --seed=1 --jobs=2

Half of the kills follow a file event at once: each file that a run writes is created,
written, renamed or deleted. The others come at random times; every fourth run is
killed again while it resumes. Each run is `train.py simclr` on a folder of images with
--deterministic=True, in one process or by two workers, of which one or all are killed.
Then the same command is given until it ends, and counted is

- lost: a weight, a line of the log or a state that differs by a bit,
- bricked: a command that ends with an error,
- left over: a file that the undisturbed run has not.

Prints a table and ends with status 1 where one of these is not 0. Linux only: it
listens to inotify and finds workers in /proc. 100 kills take an hour on 2 cores.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 600.0  # after which a process counts as hung
STEPS = 24
VICTIMS = {1: ("the process",), 2: ("both workers", "the chief", "the other worker")}
NOT_OF_THE_RUN = ("train/images_per_second", "train/data_wait", "seconds")
"""Keys of the log that tell of the machine."""

# A ResNet-18 of one block is traced in a moment; the launcher needs no TensorFlow.
PROGRAM = """
import os
from selfsup_tf import cli
if os.environ.get("TF_CONFIG") or "--local_workers=2" not in os.sys.argv:
    from selfsup_tf.models import resnet
    resnet.BLOCKS["resnet18"] = (1,)
cli.train()
"""

Event = tuple[str, str]
"""What happened (created, written, renamed, deleted) and to which file, see `kind`."""


@dataclasses.dataclass(frozen=True)
class Kill:
    """An instant at which a run is killed.

    Attributes:
        victim: One of VICTIMS.
        event: After which file event, or None.
        count: After which occurrence of it.
        seconds: Otherwise so long after the first file event.
    """

    victim: str
    event: Event | None = None
    count: int = 1
    seconds: float = 0.0

    def __str__(self) -> str:
        when = f"{self.seconds:.2f} s after its first file"
        if self.event:
            when = f"when {self.event[1]} was {self.event[0]} ({self.count})"
        return f"{self.victim} {when}"


@dataclasses.dataclass
class Trial:
    """A run, how it was killed, and what was wrong in the end."""

    workers: int
    kills: list[Kill]
    faults: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: {"lost": [], "bricked": [], "left over": []}
    )


HAPPENED = {0x8: "written", 0x80: "renamed", 0x100: "created", 0x200: "deleted"}
IS_FOLDER = 0x40000000
"""Bits of inotify's mask."""


class Watch:
    """The file events below a folder that need not be there yet, by inotify."""

    def __init__(self, folder: pathlib.Path):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init()
        self._root, self._folders = folder, {}
        self._add(folder.parent)

    def close(self) -> None:
        """Ends the watch."""
        os.close(self._inotify)

    def _add(self, folder: pathlib.Path) -> None:
        mask = sum(HAPPENED)
        number = self._libc.inotify_add_watch(self._inotify, bytes(folder), mask)
        if number >= 0:  # else it is gone again
            self._folders[number] = folder

    def wait(self, seconds: float) -> Iterator[Event]:
        """Gives what has happened, and waits at most so long for it."""
        if not select.select([self._inotify], [], [], max(seconds, 0))[0]:
            return
        data = os.read(self._inotify, 2**16)
        while data:
            number, mask, _, length = struct.unpack_from("iIII", data)
            name, data = data[16 : 16 + length].rstrip(b"\0"), data[16 + length :]
            path = self._folders.get(number, pathlib.Path("/")) / os.fsdecode(name)
            if not (mask & sum(HAPPENED) and path.is_relative_to(self._root)):
                continue
            if mask & IS_FOLDER and mask & 0x180:
                self._add(path)
            happened = next(k for bit, k in HAPPENED.items() if mask & bit)
            yield happened, kind(path.relative_to(self._root))


def kind(path: pathlib.Path) -> str:
    """A file's name within the run without what differs from run to run."""
    if path.name.startswith("events.out."):
        return str(path.parent / "events.out.*")
    # The names of temporary files: those of Python and those of TensorFlow.
    name = re.sub(r"^(\.[\w.]+?\.)\w{8}(?=\.|$)", r"\1*", path.name)
    name = re.sub(r"\d+(?=\.index|\.data|_temp|/)", "*", name)
    name = re.sub(r"tempstate\d+|(?<=_temp)/.*|part-\d+", "*", name)
    return str(path.parent / name)


def make_images(folder: pathlib.Path) -> None:
    """Writes 64 noisy images of two classes."""
    noise = np.random.default_rng(0)
    for n in range(64):
        place = folder / f"class_{n % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 128 + 127 * (n % 2), (20, 20, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(place / f"{n:02}.png")


def command(place: pathlib.Path, run_dir: pathlib.Path, workers: int) -> list[str]:
    """The command that trains and resumes."""
    flags = {
        "data": place / "photos",
        "run_dir": run_dir,
        "image_size": 16,
        "batch_size": 16,
        "epochs": None,
        "steps": STEPS,
        "steps_per_call": 1,
        "encoder.width": 0.0625,
        "checkpoint_epochs": 1,
        "knn_epochs": 2,
        "deterministic": True,
    }
    if workers > 1:
        flags["local_workers"] = workers
    words = [f"--{name}={value}" for name, value in flags.items()]
    return [sys.executable, str(place / "train.py"), "simclr", "shapes", *words]


def find_worker(launcher: int, index: int) -> int | None:
    """The process that is worker `index` of a launcher."""
    with contextlib.suppress(OSError):
        for child in (
            pathlib.Path(f"/proc/{launcher}/task/{launcher}/children")
            .read_text()
            .split()
        ):
            found = re.search(
                r'"index": ?(\d+)', pathlib.Path(f"/proc/{child}/environ").read_text()
            )
            if found and int(found[1]) == index:
                return int(child)
    return None


def strike(process: subprocess.Popen, victim: str) -> bool:
    """Kills a victim; False where it is not there."""
    if victim in ("the process", "both workers"):
        os.killpg(process.pid, signal.SIGKILL)
        return True
    index = 0 if victim == "the chief" else 1
    worker = find_worker(process.pid, index)
    if worker is None:
        return False
    os.kill(worker, signal.SIGKILL)
    return True


@dataclasses.dataclass
class Outcome:
    """How a command ended.

    Attributes:
        code: Its exit code; None where it hung and was ended.
        said: The end of its output.
        events: The file events until then.
        seconds: From the first of these to its end.
        killed: Whether the kill came before its end.
    """

    code: int | None
    said: str
    events: list[Event]
    seconds: float
    killed: bool


def run(words: list[str], run_dir: pathlib.Path, kill: Kill | None = None) -> Outcome:
    """Gives the command and kills it at that instant."""
    watch = Watch(run_dir)
    log = tempfile.TemporaryFile()  # noqa: SIM115
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        words, stdout=log, stderr=log, env=environment, start_new_session=True
    )
    end = time.monotonic() + SECONDS
    events, first, struck = [], None, False
    while process.poll() is None and time.monotonic() < end:
        rest = 0.05
        if kill and not struck and first and not kill.event:
            rest = min(rest, first + kill.seconds - time.monotonic())
            if rest <= 0:
                struck = strike(process, kill.victim)
        for event in watch.wait(rest):
            events.append(event)
            first = first or time.monotonic()
            is_aimed_at = kill and event == kill.event
            if is_aimed_at and not struck and events.count(event) == kill.count:
                struck = strike(process, kill.victim)
    seconds = time.monotonic() - (first or time.monotonic())
    code = process.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what a launcher may have left
    process.wait()
    watch.close()
    log.seek(0)
    said = log.read().decode(errors="replace")[-3000:]
    return Outcome(code, said, events, seconds, struck and code != 0)


def contents(run_dir: pathlib.Path) -> dict[str, object]:
    """What a run has come to: file or line of the log -> what must be equal."""
    found = {}
    for path in sorted(p for p in run_dir.rglob("*") if p.is_file()):
        name = str(path.relative_to(run_dir))
        if path.name.startswith("events.out."):
            found[kind(path.relative_to(run_dir))] = True
        elif path.name == "log.jsonl":
            found[name] = True
            for number, line in enumerate(path.read_text().splitlines(), 1):
                record = json.loads(line)
                for key in NOT_OF_THE_RUN:
                    record.pop(key, None)
                found[f"line {number} of {name}"] = record
        elif path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                found[name] = archive.read("model.weights.h5")
        elif path.suffix == ".index" or path.name == "config.json":
            found[name] = True  # holds no weights
        else:
            found[name] = path.read_bytes()
    return found


def judge(trial: Trial, run_dir: pathlib.Path, expected: dict[str, object]) -> None:
    """Notes what of a finished run differs from the undisturbed one."""
    found = contents(run_dir)
    for name in expected.keys() | found.keys():
        if name not in expected and "line" not in name:
            trial.faults["left over"].append(name)
        elif expected.get(name) != found.get(name):
            trial.faults["lost"].append(name)


def carry_out(trial: Trial, place: pathlib.Path, expected: dict[str, object]) -> Trial:
    """Runs, kills, resumes to the end and judges; only the kills that hit remain."""
    run_dir = pathlib.Path(tempfile.mkdtemp(dir=place)) / "run"
    words = command(place, run_dir, trial.workers)
    hits = []
    for kill in trial.kills:
        done = run(words, run_dir, kill)
        if done.killed:
            hits.append(kill)
        if done.code is None:
            trial.faults["bricked"].append(f"hung: {done.said}")
        if done.code == 0:
            break
    trial.kills = hits
    last = run(words, run_dir)
    if last.code != 0:
        trial.faults["bricked"].append(f"exit code {last.code}: {last.said}")
    else:
        judge(trial, run_dir, expected)
    if not any(trial.faults.values()):
        shutil.rmtree(run_dir.parent)
    return trial


def aim(kills: int, reference: dict[int, Outcome], seed: int) -> list[Trial]:
    """Trials of so many kills: a fifth by two workers, half at file events."""
    draw = random.Random(seed)
    trials = []
    targets = {}
    for workers, outcome in reference.items():
        counted = collections.Counter(outcome.events)
        targets[workers] = list(counted.items())
        draw.shuffle(targets[workers])
    while kills > 0:
        number = len(trials)
        workers = 2 if number % 5 == 4 else 1
        chosen = []
        for _ in range(min(kills, 2 if number % 4 == 3 else 1)):
            victim = draw.choice(VICTIMS[workers])
            if (number + len(chosen)) % 2:
                most = reference[workers].seconds
                chosen.append(Kill(victim, seconds=draw.uniform(0, most)))
            else:
                event, most = targets[workers].pop(0)
                targets[workers].append((event, most))
                chosen.append(Kill(victim, event, draw.randint(1, most)))
        trials.append(Trial(workers, chosen))
        kills -= len(chosen)
    return trials


def print_table(trials: list[Trial]) -> None:
    """Prints how many kills hit and what came of them."""
    rows: dict[str, Callable[[Trial, Kill], bool]] = {
        "one process, at a file event": lambda t, k: t.workers == 1 and k.event,
        "one process, at random": lambda t, k: t.workers == 1 and not k.event,
        "two workers, at a file event": lambda t, k: t.workers == 2 and k.event,
        "two workers, at random": lambda t, k: t.workers == 2 and not k.event,
    }
    print("| | kills | lost | bricked | left over |\n|---|---|---|---|---|")
    for name, belongs in rows.items():
        pairs = [(t, k) for t in trials for k in t.kills if belongs(t, k)]
        counts = [
            sum(bool(trial.faults[fault]) for trial, _ in pairs)
            for fault in ("lost", "bricked", "left over")
        ]
        print(f"| {name} | {len(pairs)} | {' | '.join(map(str, counts))} |")


def main() -> int:
    """Prints the table; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    flags = parser.parse_args()
    place = pathlib.Path(tempfile.mkdtemp(prefix="kills_"))
    make_images(place / "photos")
    (place / "train.py").write_text(PROGRAM)
    reference, expected = {}, {}
    for workers in (1, 2):
        run_dir = place / f"undisturbed_{workers}" / "run"
        run_dir.parent.mkdir()
        done = run(command(place, run_dir, workers), run_dir)
        if done.code != 0:
            sys.exit(f"the undisturbed run ended with {done.code}: {done.said}")
        reference[workers], expected[workers] = done, contents(run_dir)
    trials, missing, seed = [], flags.kills, flags.seed
    with concurrent.futures.ThreadPoolExecutor(flags.jobs) as pool:
        while missing > 0:  # a kill whose instant does not come is aimed anew
            futures = [
                pool.submit(carry_out, trial, place, expected[trial.workers])
                for trial in aim(missing, reference, seed)
            ]
            for future in concurrent.futures.as_completed(futures):
                trial = future.result()
                trials.append(trial)
                print(
                    f"{trial.workers}: {', '.join(map(str, trial.kills)) or 'missed'}"
                    f" {trial.faults if any(trial.faults.values()) else 'whole'}",
                    file=sys.stderr,
                    flush=True,
                )
            missing = flags.kills - sum(len(trial.kills) for trial in trials)
            seed += 1000
    events = {event for outcome in reference.values() for event in outcome.events}
    hit = {kill.event for trial in trials for kill in trial.kills} - {None}
    print(f"{len(hit)} of {len(events)} kinds of file events were hit.\n")
    print_table(trials)
    failed = any(any(trial.faults.values()) for trial in trials)
    if failed:
        print(f"\nThe runs that failed lie in {place}.")
    else:
        shutil.rmtree(place)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
