"""The report: what it gathers, what it says, what it refuses, what it never runs."""

import html.parser
import json
import os
import re

import numpy as np
import PIL.Image
import planted_run
import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.chart_values import Curve
from selfsup_tf.evaluation.report import page, write_comparison, write_report
from selfsup_tf.evaluation.report.axes import round_values, thinned
from selfsup_tf.evaluation.report.gather import gather
from selfsup_tf.evaluation.report.markup import data_block, element
from selfsup_tf.evaluation.report.metrics import metrics_of
from selfsup_tf.evaluation.report.numbers import compact, percent_interval, points
from selfsup_tf.evaluation.report.svg import line_chart


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements, its words, its balance."""

    VOID = ("br", "hr", "img", "input", "link", "meta")

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._open = [], [], []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def run(tmp_path):
    return planted_run.plant_run(tmp_path / "run")


def change(path, **values):
    planted_run.write(path, json.loads(path.read_text()) | values)


def test_the_whole_run_is_on_the_page(run):
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path.read_text())
    text = page.text
    assert "SimCLR on cifar10" in text and "resnet18 × 0.25" in text
    assert "✓ Healthy" in text and "41.0 of its 128 directions" in text
    linear = json.loads((run / "eval" / "linear.json").read_text())
    low, high = (100 * v for v in linear["trained"]["top_1_interval"])
    assert f"{100 * linear['trained']['top_1']:.1f} %" in text
    assert f"{low:.1f} to {high:.1f}" in text
    assert f"{linear['gain_points']:+.1f}" in text
    assert "Fine-tuning, 10 % of labels" in text and "from scratch" in text
    assert "Transfer to shapes: Linear probe" in text
    assert "mAP" in text and "34.2 %" in text
    assert "2 × GPU H100" in text
    assert "Intel Xeon" in text and "2.21.0" in text
    assert "encoder_int8.tflite" in text and "0.99610" in text
    assert "makes it" not in text  # nothing is absent
    assert not any("earlier state" in word for word in page.words)
    pictures = [image["alt"] for image in page.all("img")]
    assert len(pictures) == 3 and all(pictures)
    assert len(page.all("use")) == planted_run.COUNT + len(planted_run.CLASSES)


def test_the_page_asks_nobody_for_anything(run):
    text = write_report(run).read_text()
    page = Page(text)
    for name, attributes in page.elements:
        for key in ("src", "href", "srcset", "action", "poster"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (name, value)
        # A policy that names style and script by their hashes forbids these, too.
        assert not any(key == "style" or key.startswith("on") for key in attributes)
    assert not re.search(r"url\(|@import|https?://", text)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_nothing_of_a_file_becomes_markup(tmp_path):
    evil = "<script>document.title='owned'</script>"
    names = (evil, "</script><b>", '"><img src=x onerror=alert(1)>', "a&b", "'", "e")
    folder = tmp_path / '"><script>alert(1)<'
    run = planted_run.plant_run(folder, class_names=names)
    change(run / "config.json", data=evil, method=evil, **{evil: evil})
    for name in ("knn", "linear", "health"):
        values = json.loads((run / "eval" / f"{name}.json").read_text())
        for key in ("test", "images"):
            if key in values:
                values[key]["name"] = evil
        planted_run.write(run / "eval" / f"{name}.json", values)
    change(run / "eval" / "health.json", verdict=evil, reasons=[evil])
    change(run / "eval" / "map.json", source=evil)
    change(run / "eval" / "transfer_shapes.json", data=evil)
    proof = {"images": {"source": evil, "count": 10}}
    change(run / "export" / "manifest.json", proof=proof)
    lines = (run / "log.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"step": 0, "hardware": {evil: evil}, "versions": evil})
    lines.append(json.dumps({"step": 600, "epoch": 4, f"train/{evil}": 1.0}))
    (run / "log.jsonl").write_text("\n".join(lines))
    other = planted_run.plant_run(tmp_path / "other", class_names=names)
    for path in (
        write_report(run),
        write_comparison([run, other], tmp_path / "c.html"),
    ):
        page = Page(path.read_text())
        kinds = [attributes.get("type") for attributes in page.all("script")]
        assert kinds in ([None], ["application/json", None])
        assert not page.all("b") and not any("onerror" in a for _, a in page.elements)
        assert evil in page.text
        assert "\\u003cscript" in path.read_text() or kinds == [None]


def test_a_data_block_can_not_be_ended_from_within():
    values = {"name": "</script><!--<script>&\u2028"}
    block = data_block("a", values)
    inside = block[block.index(">") + 1 : block.rindex("</script>")]
    assert not set("<>&\u2028") & set(inside)
    assert json.loads(inside) == values


def test_elements_escape_text_and_attributes():
    assert element("p", "<&>", 3, None, [element("b"), '"'], title='"<') == (
        '<p title="&quot;&lt;">&lt;&amp;&gt;3<b></b>&quot;</p>'
    )


def test_what_is_absent_is_named_with_the_command_that_makes_it(tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    planted_run.write(run / "config.json", planted_run.config(0.2))
    text = Page(write_report(run).read_text()).text
    for command in ("eval.py map", "eval.py health", "eval.py knn", "eval.py linear",
                    "eval.py neighbours", "eval.py views", "export.py"):  # fmt: skip
        assert f"python {command} --run_dir='{run}'" in text
    assert "Health not measured" in text and "no training log" in text
    assert text.count("Not recorded.") == 2  # hardware and versions


def test_an_encoder_without_a_config_is_shown(tmp_path):
    (tmp_path / "encoder.keras").write_bytes(b"")
    path = write_report(tmp_path / "encoder.keras", tmp_path / "out" / "a.html")
    assert path == tmp_path / "out" / "a.html"
    assert "how it was trained is not recorded" in Page(path.read_text()).text


def test_a_run_without_labels_has_a_map(tmp_path):
    run = planted_run.plant_run(tmp_path / "run", labels=False)
    page = Page(write_report(run).read_text())
    assert len(page.all("use")) == planted_run.COUNT
    assert not [b for b in page.all("button") if "data-label" in b]


def test_results_of_an_earlier_state_are_marked(run):
    newest = (run / "eval" / "knn.json").stat().st_mtime + 5
    for name in ("knn", "map", "health"):
        change(run / "eval" / f"{name}.json", encoder_hash="b" * 64)
        os.utime(run / "eval" / f"{name}.json", (newest, newest))
    change(run / "eval" / "linear.json", encoder_hash="c" * 64)
    os.utime(run / "eval" / "linear.json", (newest - 100, newest - 100))
    # The best encoder is another one than the last, and its number is not old.
    values = json.loads((run / "eval" / "knn.json").read_text())
    planted_run.write(
        run / "eval" / "knn_encoder=best.json", values | {"encoder_hash": "d" * 64}
    )
    found = {r.name for r in gather(run).results if r.stale}
    everything = {"linear", "retrieval", "robustness", "transfer_shapes"}
    assert found == everything | {"finetune_fraction=0.1"}
    text = Page(write_report(run).read_text()).text
    assert (
        "finetune_fraction=0.1.json, linear.json, retrieval.json, robustness.json, "
        "transfer_shapes.json were made from an earlier state of the encoder" in text
    )
    assert "k-NN (encoder best)" in text


def test_an_export_of_an_earlier_encoder_is_marked(run):
    manifest = run / "export" / "manifest.json"
    written = (run / "eval" / "knn.json").stat().st_mtime - 100
    assert not gather(run).manifest.stale

    def stale(weights, of_config=None):
        change(manifest, encoder={"weights_sha256": weights})
        os.utime(manifest, (written, written))
        change(run / "config.json", **(of_config or {}))
        return gather(run).manifest.stale

    assert stale("b" * 64)
    section = re.search(
        r'<section id="exports">(.*?)</section>', write_report(run).read_text()
    )[1]
    assert "of an earlier state of the encoder" in section
    # It may hold the best encoder, which is evaluated as such.
    values = json.loads((run / "eval" / "knn.json").read_text())
    best = run / "eval" / "knn_encoder=best.json"
    planted_run.write(best, values | {"encoder_hash": "b" * 64})
    assert not stale("b" * 64)
    best.unlink()
    # Newer than every result: they are old, if anything is.
    change(manifest, encoder={"weights_sha256": "c" * 64})
    later = written + 3600
    os.utime(manifest, (later, later))
    assert not gather(run).manifest.stale
    # Float64 leaves as float32, and of old manifests the encoder is not known.
    assert not stale("b" * 64, {"precision": "float64"})
    assert not stale(None, {"precision": "float32"})


def test_an_encoder_newer_than_its_results_is_noted(run):
    assert "newer than every result" not in Page(write_report(run).read_text()).text
    later = (run / "eval" / "knn.json").stat().st_mtime + 3600
    os.utime(run / "encoder.keras", (later, later))
    assert "newer than every result" in Page(write_report(run).read_text()).text


def test_results_of_before_there_were_intervals_are_shown(tmp_path):
    run = planted_run.plant_run(tmp_path / "run")
    old = {"top_1": 0.5051, "top_5": 0.9411, "num_train": 50, "num_test": 10}
    untrained = {"top_1": 0.2983, "top_5": 0.8277}
    planted_run.write(
        run / "eval" / "knn.json",
        {"protocol": "knn", "trained": old, "untrained": untrained,
         "test": {"name": "t", "size": 10}, "encoder_hash": planted_run.HASH},
    )  # fmt: skip
    accuracy = {"protocol": "accuracy", "top_1": 0.91, "top_5": None, "num_test": 10,
                "test": {"name": "t", "size": 10}}  # fmt: skip
    planted_run.write(run / "eval" / "accuracy.json", accuracy)
    found = {r.name: metrics_of(r) for r in gather(run).results}
    assert found["knn"][0].gain == pytest.approx(20.68)
    assert found["knn"][0].interval is None
    text = Page(write_report(run).read_text()).text
    assert "50.5 %" in text and "+20.7" in text and "91.0 %" in text


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("eval/knn.json", '{"protocol": "knn", "trained": {"top_1": "high"}}'),
        ("eval/knn.json", '{"protocol": "knn", "trained": [1]}'),
        ("eval/linear.json", "\x00"),
        ("eval/retrieval.json", '{"protocol": "retrieval", "trained": {"a": 1}}'),
        ("eval/robustness.json", '{"protocol": "robustness", "trained": {"a": 1}}'),
        ("eval/health.json", '{"protocol": "health"}'),
        ("eval/map.json", '{"positions": []}'),
        ("eval/views.png", "no picture"),
        ("export/manifest.json", '{"proof": {}}'),
        ("log.jsonl", "[1]"),
    ],
)
def test_a_damaged_file_is_named(run, name, contents):
    (run / name).write_text(contents)
    with pytest.raises(InputError, match=re.escape(str(run / name))):
        write_report(run)
    assert not (run / "report.html").exists()


def test_a_map_that_does_not_fit_its_sprite_is_named(run):
    PIL.Image.new("RGB", (10, 10)).save(run / "eval" / "map_thumbnails.jpg")
    with pytest.raises(InputError, match=r"map\.json"):
        write_report(run)


def test_where_there_is_no_run_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"a run at .*nowhere.*no such directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no config\.json and no encoder\.keras"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_large_pictures_are_made_smaller_until_the_page_fits(run, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (450, 450, 3), np.uint8)
    PIL.Image.fromarray(noise).save(run / "eval" / "neighbours.png")
    whole = write_report(run).stat().st_size
    limit = 400_000
    assert whole > 2 * limit
    monkeypatch.setattr(page, "LIMIT", limit)
    assert write_report(run).stat().st_size <= limit
    before = (run / "report.html").read_bytes()
    monkeypatch.setattr(page, "LIMIT", 1000)
    with pytest.raises(InputError, match="MB at most"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_no_tensorflow_is_needed(run, run_program):
    code = (
        "import sys; from selfsup_tf.evaluation.report import write_report;"
        f"write_report({str(run)!r});"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'matplotlib')))"
    )
    run_program("-c", code)


def test_a_hundred_classes_are_shades_with_their_worst_pairs(tmp_path):
    names = tuple(f"kind {n}" for n in range(100))
    run = planted_run.plant_run(tmp_path / "run", class_names=names)
    path = write_report(run)
    page = Page(path.read_text())
    assert "Most often confused" in page.text
    assert any("over 100 classes" in image["alt"] for image in page.all("img"))
    assert path.stat().st_size < 2_000_000


def test_a_value_as_the_package_has_it_is_folded_away(run):
    text = write_report(run).read_text()
    groups = re.findall(r'<div class="group"><h3>(.*?)</h3>(.*?)</div></div>', text)
    assert groups
    training = text.index("<h3>Training</h3>")
    folded = text.index("at their defaults", training)
    assert training < text.index("<dt>batch_size</dt>") < folded
    assert folded < text.index("<dt>precision</dt>")
    assert "View 1 and view 2" in text


def test_runs_side_by_side(tmp_path):
    runs = [
        planted_run.plant_run(tmp_path / "a", top_1=0.6),
        planted_run.plant_run(tmp_path / "b", top_1=0.605, temperature=0.5),
        planted_run.plant_run(tmp_path / "c", top_1=0.4, rank=9.0),
    ]
    (runs[2] / "eval" / "retrieval.json").unlink()
    path = write_comparison(runs, tmp_path / "compare.html")
    text = path.read_text()
    page = Page(text)

    def row(name):
        for found in re.findall(r"<tr>(.*?)</tr>", text):
            head, _, cells = found.partition("</th>")
            if re.sub(r"<[^>]*>", "", head) == name:
                return [re.sub(r"<[^>]*>", " ", c) for c in cells.split("</td>")[:-1]]

    a, b, c = row("Linear probe, top-1")
    assert "★ best" in b and "≈" in a  # their intervals overlap
    assert "★" not in c and "≈" not in c
    assert row("Retrieval, mAP")[2].strip() == "–"
    assert "★" not in "".join(row("Retrieval, mAP"))  # equal: none is better
    assert [r.strip() for r in row("RankMe of h")] == ["41", "41", "9"]
    config = re.search(r'<section id="config">(.*?)</section>', text)[1]
    assert re.findall(r"<code>(.*?)</code>", config) == ["temperature"]
    # Three lines in each chart, which differ in more than their colour.
    loss = re.search(r"Loss.*?(<svg.*?</svg>)", text)[1]
    lines = re.findall(r'<path class="line c\d"[^>]*>', loss)
    dashes = {re.search(r'dasharray="([^"]*)"', x + 'dasharray=""')[1] for x in lines}
    assert len(lines) == 3 and len(dashes) == 3
    assert "A a" in page.text and "C c" in page.text


def test_what_can_not_be_compared_is_refused(tmp_path):
    run = planted_run.plant_run(tmp_path / "a")
    with pytest.raises(InputError, match="2 to 8 runs to compare; received 1"):
        write_comparison([run], tmp_path / "c.html")
    with pytest.raises(InputError, match="2 to 8 runs to compare; received 9"):
        write_comparison([run] * 9, tmp_path / "c.html")
    with pytest.raises(InputError, match="1 named twice"):
        write_comparison([run, run], tmp_path / "c.html")
    with pytest.raises(InputError, match="a run at"):
        write_comparison([run, tmp_path / "b"], tmp_path / "c.html")


def test_images_that_differ_are_noted(tmp_path):
    runs = [planted_run.plant_run(tmp_path / name) for name in "ab"]
    change(runs[1] / "eval" / "knn.json", test={"name": "other", "size": 9})
    text = Page(write_comparison(runs, tmp_path / "c.html").read_text()).text
    assert "k-NN, top-1 †" in text and "judged on different images" in text
    assert "Linear probe, top-1 †" not in text


def test_a_spike_is_seen_in_a_long_log():
    found = [(n, 1.0) for n in range(100_000)]
    found[54_321] = (54_321, 9.0)
    found[70_000] = (70_000, None)
    kept = thinned(found)
    assert len(kept) <= 500
    assert (54_321, 9.0) in kept and (70_000, None) in kept
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


def test_a_curve_of_one_value_and_one_of_equal_values_are_drawn():
    drawn = line_chart([Curve("a", (1.0,), (2.0,))], label="a", x_label="x")
    assert "<circle" in drawn and "nan" not in drawn
    drawn = line_chart([Curve("a", (1, 2), (0.0, 0.0))], label="a", x_label="x")
    assert "nan" not in drawn and "inf" not in drawn


def test_round_values_are_round():
    assert round_values(0, 1) == [0, 0.5, 1]
    assert round_values(3.1, 9.7) == [4, 6, 8]
    assert round_values(-0.31, 0.22) == [-0.2, 0, 0.2]


def test_numbers_as_they_are_written():
    values = (0, 41, 0.12345, 12345.6, 3e-7, None, float("nan"))
    expected = ["0", "41", "0.1235", "12,346", "3·10⁻⁷", "–", "–"]
    assert [compact(value) for value in values] == expected
    assert points(-1.26) == "−1.3" and percent_interval([0.6, 0.625]) == "60.0 to 62.5"
