"""A run directory with every file that a report can show, of numbers that are planted.

Each thumbnail of the map is of one colour, which follows from its place, so that a
picture of the page tells which it is.
"""

import dataclasses
import json
import math
import pathlib

import numpy as np
import PIL.Image

from selfsup_tf.evaluation.labelled import rows_beside
from selfsup_tf.evaluation.protocol import PROTOCOLS, Result
from selfsup_tf.evaluation.protocols import health as health_protocol

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse",
           "ship", "truck")  # fmt: skip
COUNT, SIDE, COLUMNS = 200, 16, 20
HASH = "a" * 64


def plant_run(
    folder: pathlib.Path,
    *,
    class_names: tuple[str, ...] = CLASSES,
    top_1: float = 0.612,
    rank: float = 41.0,
    temperature: float = 0.2,
    labels: bool = True,
    tau: bool = False,
    only: tuple[str, ...] = (),
) -> pathlib.Path:
    """Writes a run directory and returns it.

    top_1 is the linear probe's and all shares follow it; rank is RankMe of h. `only`
    some of the results, and few curves, are soon drawn.
    """
    (folder / "eval").mkdir(parents=True)
    (folder / "export").mkdir()
    (folder / "encoder.keras").write_bytes(b"never opened")
    write(folder / "config.json", config(temperature))
    records = log(top_1, rank, tau)
    results = {
        "knn": evaluation("knn", classification(class_names, top_1 - 0.05)),
        "linear": evaluation("linear", classification(class_names, top_1)),
        "retrieval": evaluation("retrieval", retrieval()),
        "robustness": evaluation("robustness", robustness(top_1)),
        "finetune_fraction=0.1": finetune(classification(class_names, top_1 + 0.1)),
        "transfer_shapes": transfer(
            knn=classification(("disc", "ring"), 0.8),
            linear=classification(("disc", "ring"), 0.9),
        ),
        "health": health_result(rank),
        "map": map_result(embedding_map(folder, class_names if labels else None)),
        "views": picture("views"),
        "neighbours": picture("neighbours"),
    }
    if only:
        keep = ("step", "epoch", "train/loss", "images", "hardware", "versions")
        records = [{k: r[k] for k in keep if k in r} for r in records]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    for name in (*only, "views", "neighbours") if only else results:
        write(folder / "eval" / f"{name}.json", results[name].to_dict())
    for name in ("views.png", "neighbours.png", "map.png"):
        PIL.Image.new("RGB", (80, 60), "#88aacc").save(folder / "eval" / name)
    write(folder / "export" / "manifest.json", manifest())
    return folder


def write(path: pathlib.Path, values: object) -> None:
    path.write_text(json.dumps(values))


def colour(n: int) -> tuple[int, int, int]:
    """The one colour of thumbnail n: its bits, spread over red, green and blue."""
    return 30 + 30 * (n % 8), 30 + 30 * (n // 8 % 8), 30 + 50 * (n // 64)


def config(temperature: float) -> dict:
    view = {"crop_area": [0.08, 1.0], "jitter": 0.8, "brightness": 0.4, "blur": 0.0}
    optimizer = {"name": "sgd", "learning_rate": 0.12, "scaling": "linear",
                 "warmup_epochs": 0.5, "schedule": "cosine"}  # fmt: skip
    return {
        "method": "simclr",
        "data": "cifar10",
        "held_out": 1000,
        "image_size": 32,
        "views": [view, dict(view)],
        "encoder": {"name": "resnet18", "width": 0.25, "stem": "small_stride2"},
        "optimizer": optimizer,
        "batch_size": 256,
        "epochs": 3.0,
        "steps": None,
        "precision": "float32",
        "data_dir": None,
        "temperature": temperature,
        "projector": [256, 128],
    }


def log(top_1: float, rank: float, tau: bool) -> list[dict]:
    devices = [{"name": f"g{n}", "type": "GPU", "model": "H100"} for n in "01"]
    first = {
        "step": 0,
        "images": 49000,
        "skipped": [],
        "hardware": {"devices": devices, "cpus": 2, "cpu": "Intel Xeon"},
        "versions": {"python": "3.11.2", "tensorflow": "2.21.0", "keras": "3.15.1"},
    }
    records, random = [first], np.random.default_rng(0)
    for step in range(10, 571, 10):
        epoch = step / 190
        rise = 1 - math.exp(-epoch)
        cosine = 0.5 + 0.5 * math.cos(math.pi * max(0, epoch - 0.5) / 2.5)
        record = {
            "step": step,
            "epoch": round(epoch, 4),
            "train/loss": 6.2 - 3.4 * top_1 * rise + 0.05 * random.standard_normal(),
            "train/representation_std": 0.5 + 0.2 * rise,
            "train/learning_rate": 0.12 * min(epoch / 0.5, 1) * cosine,
        }
        if tau:
            record["train/tau"] = 0.99 + 0.01 * epoch / 3
        if step % 190 == 0:
            record |= {
                "eval/knn_top_1": top_1 - 0.3 + 0.25 * rise,
                "health/rank_me": rank * (0.4 + 0.6 * rise),
                "health/projection_rank_me": rank / 3 * (0.8 + 0.2 * rise),
                "health/positive_cosine": 0.5 + 0.3 * rise,
                "health/negative_cosine": 0.3 - 0.2 * rise,
                "health/spread": 0.5 + 0.2 * rise,
            }
        records.append(record)
    return records


def classification(names: tuple[str, ...], top_1: float) -> dict:
    """What a probe would report that is right so often, and errs to its neighbours."""
    count, each = len(names), 1000
    confusion = np.zeros((count, count), int)
    for c in range(count):
        right = int(each * min(0.98, max(0.05, top_1 + 0.12 * math.sin(3 * c))))
        confusion[c, c] = right
        wrong = np.array([0 if p == c else 1 / (1 + abs(p - c)) for p in range(count)])
        confusion[c] += np.floor((each - right) * wrong / wrong.sum()).astype(int)
    right, rows = np.diag(confusion), confusion.sum(axis=1)
    recall, precision = right / rows, right / np.maximum(confusion.sum(axis=0), 1)
    scores = precision, recall, 2 * precision * recall / (precision + recall), rows
    keys = ("precision", "recall", "f1", "support")
    share = float(right.sum() / rows.sum())
    return {
        "top_1": share,
        "top_5": 0.953 if count > 5 else None,
        "top_1_interval": [share - 0.009, share + 0.009],
        "top_5_interval": [0.949, 0.957] if count > 5 else None,
        "num_test": int(rows.sum()),
        "num_classes": count,
        "class_names": list(names),
        "per_class": [
            {"name": name, **dict(zip(keys, row, strict=True))}
            for name, *row in zip(names, *(s.tolist() for s in scores), strict=True)
        ],
        "confusion": confusion.tolist(),
    }


def evaluation(word: str, trained: dict, other: str = "untrained") -> Result:
    """What a protocol has found; another network has two thirds of each number."""
    protocol = PROTOCOLS.find(word)
    details = {"trained": trained, other: _scaled(trained, 2 / 3)}
    (row, *_) = rows_beside(details, protocol.rows, {})
    gain = row.beside[other].gain
    gains = {other: (gain - 0.011, gain + 0.011)}
    return Result(
        word,
        protocol.title,
        rows=rows_beside(details, protocol.rows, gains),
        measured_on={
            "train": {"name": "cifar10:train", "size": 50000},
            "test": {"name": "cifar10:test", "size": 10000},
        },
        options={"k": 200, "untrained": other == "untrained"},
        details=details,
        weights_hash=HASH,
        seconds={"trained": 4.2, other: 4.0},
        versions={"tensorflow": "2.21.0"},
    )


def finetune(trained: dict) -> Result:
    trained = trained | {"num_labels": 5000, "run_dir": "runs/tuned"}
    title = "Fine-tuning, 10 % of labels"
    found = evaluation("finetune", trained, "from scratch")
    return dataclasses.replace(found, title=title, options={"fraction": 0.1})


def transfer(**trained: dict) -> Result:
    """Both ways, each a group of rows."""
    found = {way: evaluation(way, one) for way, one in trained.items()}
    return dataclasses.replace(
        found["knn"],
        protocol="transfer",
        title="Transfer to shapes",
        rows=tuple(
            dataclasses.replace(row, group=one.title)
            for one in found.values()
            for row in one.rows
        ),
        details={
            name: {way: one.details[name] for way, one in found.items()}
            for name in ("trained", "untrained")
        },
    )


def health_result(rank: float) -> Result:
    details = {"trained": health(rank)}
    numbers = details["trained"]["representation"]
    details["untrained"] = {
        "representation": numbers | {"rank_me": rank / 8}, "projection": None
    }  # fmt: skip
    rows = health_protocol.rows_of(details)
    note = f"The representation uses {rank:.1f} of its 128 directions."
    return Result(
        "health",
        "Health",
        rows=rows,
        measured_on={"images": {"name": "cifar10:test", "size": 2048}},
        options={"untrained": True},
        details=details,
        verdict="healthy",
        notes=(note,),
        weights_hash=HASH,
    )


def map_result(found: dict) -> Result:
    return Result(
        "map",
        "Map",
        measured_on={"images": {"name": "cifar10:test", "size": COUNT}},
        details={"trained": found | {"thumbnails": "map_thumbnails.jpg"}},
        pictures={"map.png": f"Map of {COUNT} images"},
        weights_hash=HASH,
    )


def picture(word: str) -> Result:
    title = PROTOCOLS.find(word).title
    return Result(word, title, pictures={f"{word}.png": title})


def _scaled(values: object, by: float) -> object:
    if isinstance(values, dict):
        return {key: _scaled(value, by) for key, value in values.items()}
    if isinstance(values, list):
        return [_scaled(value, by) for value in values]
    return values * by if isinstance(values, float) else values


def retrieval() -> dict:
    recalls = {"1": 0.561, "5": 0.823, "10": 0.901}
    return {
        "mean_average_precision": 0.342,
        "mean_average_precision_interval": [0.338, 0.346],
        "recall_at": recalls,
        "recall_at_intervals": {k: [v - 0.01, v + 0.01] for k, v in recalls.items()},
        "gallery": "train",
        "num_queries": 10000,
        "num_gallery": 50000,
        "num_without_match": 0,
    }


def robustness(top_1: float) -> dict:
    falls = {"blur": 0.06, "noise": 0.09, "jpeg": 0.02, "brightness": 0.035}
    rows = {
        name: [top_1 * (1 - fall * n) for n in range(1, 6)]
        for name, fall in falls.items()
    }
    mean = float(np.mean(list(rows.values())))
    return {
        "classifier": "linear",
        "clean_top_1": top_1,
        "clean_top_1_interval": [top_1 - 0.01, top_1 + 0.01],
        "mean_top_1": mean,
        "mean_top_1_interval": [mean - 0.01, mean + 0.01],
        "top_1": rows,
        "strengths": {name: [0.4, 0.6, 0.8, 1.0, 1.5] for name in falls},
        "num_test": 10000,
    }


def health(rank: float) -> dict:
    edges = [round(-1 + 0.05 * n, 2) for n in range(41)]
    middles = np.array(edges[:-1]) + 0.025

    def bells(positive: tuple, negative: tuple) -> dict[str, list[float]]:
        found = {}
        for kind, bell in (("positive", positive), ("negative", negative)):
            heights = np.exp(-0.5 * ((middles - bell[0]) / bell[1]) ** 2)
            found[kind] = (heights / heights.sum()).tolist()
        return found

    def numbers(size: int, rank: float) -> dict:
        return {
            "size": size,
            "rank_me": rank,
            "principal": int(rank) - 4,
            "dead": 0,
            "alignment": 0.41,
            "uniformity": -2.83,
            "spread": 0.71,
            "positive_cosine": 0.79,
            "negative_cosine": 0.11,
            "contrastive_loss": 4.12,
            "chance_loss": math.log(2 * 2048 - 1),
        }

    return {
        "views": "those of the run",
        "temperature": 0.2,
        "representation": numbers(128, rank),
        "projection": numbers(64, rank / 3),
        "spectrum": {
            "representation": [30 * math.exp(-n / rank) for n in range(128)],
            "projection": [18 * math.exp(-3 * n / rank) for n in range(64)],
        },
        "deviations": {"representation": [1.0] * 128, "projection": [1.0] * 64},
        "histograms": {
            "edges": edges,
            "representation": bells((0.79, 0.13), (0.1, 0.2)),
            "projection": bells((0.9, 0.07), (0.0, 0.25)),
        },
    }


def embedding_map(folder: pathlib.Path, class_names: tuple[str, ...] | None) -> dict:
    """Classes around a circle, and a sprite of plain colours beside it."""
    random = np.random.default_rng(1)
    labels = np.arange(COUNT) % len(class_names or CLASSES)
    turn = 2 * np.pi * labels / len(class_names or CLASSES)
    centres = 0.5 + 0.36 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    places = np.clip(centres + 0.05 * random.standard_normal((COUNT, 2)), 0, 1)
    sprite = np.zeros((COUNT // COLUMNS * SIDE, COLUMNS * SIDE, 3), np.uint8)
    for n in range(COUNT):
        row, column = divmod(n, COLUMNS)
        place = np.s_[
            row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE
        ]
        sprite[place] = colour(n)
    picture = PIL.Image.fromarray(sprite)
    picture.save(folder / "eval" / "map_thumbnails.jpg", quality=95, subsampling=0)
    return {
        "method": "tsne",
        "source": "cifar10:test",
        "positions": places.tolist(),
        "labels": labels.tolist() if class_names else None,
        "class_names": list(class_names) if class_names else None,
        "indices": list(range(1000, 1000 + COUNT)),
        "thumbnail": SIDE,
        "columns": COLUMNS,
    }


def manifest() -> dict:
    artefacts = [
        ("saved_model", "float32", 0.9999999, 3_400_000),
        ("encoder_float16.tflite", "float16", 0.99999, 1_430_000),
        ("encoder_int8.tflite", "int8", 0.9961, 780_000),
    ]
    names = ("artefact", "precision", "cosine_mean", "size_bytes")
    shared = {
        "signature": "serving_default",
        "output": "representation",
        "cosine_min": 0.99,
        "threshold": 0.98,
        "batch": "any",
        "knn_top_1": 0.537,
        "latency_ms_one_core": 1.25,
    }
    return {
        "parity": [dict(zip(names, one, strict=True)) | shared for one in artefacts],
        "proof": {"images": {"source": "cifar10:test", "count": 1000}},
        "encoder_accuracy": {"knn_top_1": 0.541},
        "encoder": {"weights_sha256": HASH},
    }
