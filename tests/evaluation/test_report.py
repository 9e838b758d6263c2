"""The report: what it gathers, what it says, what it refuses, what it never runs."""

import html.parser
import json
import os
import re
import shutil

import numpy as np
import PIL.Image
import planted_run
import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.numbers import compact, gain, interval
from selfsup_tf.evaluation.report import write_comparison, write_report
from selfsup_tf.evaluation.report.gather import gather


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements, its words, its balance."""

    VOID = ("br", "hr", "img", "input", "link", "meta")

    def __init__(self, path):
        super().__init__()
        self.elements, self.words, self._open = [], [], []
        self.source = path.read_text()
        self.feed(self.source)
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
    def points(self):
        """Those of the map and of its legend."""
        return [use for use in self.all("use") if "-marker" in use["href"]]

    def row(self, heading):
        """The cells of the row with this heading, as text."""
        for found in re.findall(r"<tr>(.*?)</tr>", self.source, re.DOTALL):
            head, _, cells = found.partition("</th>")
            if words(head) == heading:
                return [words(cell) for cell in cells.split("</td>")[:-1]]
        raise LookupError(heading)

    def section(self, name):
        return re.search(
            rf'<section id="{name}">(.*?)</section>', self.source, re.DOTALL
        )[1]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def words(markup):
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", markup))).strip()


FEW = ("knn", "map")


@pytest.fixture
def run(tmp_path):
    """A run with a few results, of which a page is soon made."""
    return planted_run.plant_run(tmp_path / "run", only=FEW)


def change(path, **values):
    planted_run.write(path, json.loads(path.read_text()) | values)


def test_the_whole_run_is_on_the_page(tmp_path):
    run = planted_run.plant_run(tmp_path / "run")
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path)
    text = page.text
    assert "SimCLR on cifar10" in text and "resnet18 × 0.25" in text
    assert "✓ Healthy" in text and "41.0 of its 128 directions" in text
    trained = planted_run.classification(planted_run.CLASSES, 0.612)
    low, high = (100 * v for v in trained["top_1_interval"])
    top_1 = 100 * trained["top_1"]
    assert page.row("Linear probe top-1 10,000 of cifar10:test") == [
        f"{top_1:.1f} % {low:.1f} to {high:.1f}",
        f"{2 / 3 * top_1:.1f} %",
        f"+{top_1 / 3:.1f} +{top_1 / 3 - 1.1:.1f} to +{top_1 / 3 + 1.1:.1f}",
        "",
    ]
    assert "Fine-tuning, 10 % of labels" in text and "from scratch" in text
    assert "Transfer to shapes: Linear probe" in text
    assert "mAP" in text and "34.2 %" in text
    assert "RankMe of z: 13.7" in page.section("health")  # in its chart
    assert (
        page.row(
            "RankMe of 128; directions that h uses; it grows with the images looked at"
        )[0]
        == "41"
    )
    assert "airplane taken for automobile" in page.section("linear")
    assert "2 × GPU H100" in text and "Intel Xeon" in text and "2.21.0" in text
    assert "encoder_int8.tflite" in text and "0.99610" in text
    assert "Not measured yet" not in text and "makes it" not in text
    assert "earlier state" not in text
    pictures = [image["alt"] for image in page.all("img")]
    assert len(pictures) == 3 and all(pictures)
    assert len(page.points) == planted_run.COUNT + len(planted_run.CLASSES)


def test_the_page_asks_nobody_for_anything(run):
    page = Page(write_report(run))
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))
    for name, attributes in page.elements:
        for key in ("src", "href", "srcset", "action", "poster"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (name, value)
            assert not value or value[0] != "#" or value[1:] in names
        # A policy that names style and script by their hashes forbids these, too.
        assert not any(key == "style" or key.startswith("on") for key in attributes)
    assert not re.search(r"url\((?!#)|@import|https?://", page.source)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_nothing_of_a_file_becomes_markup(tmp_path):
    evil = "<script>document.title='owned'</script>"
    names = (evil, "</script><b>", '"><img src=x onerror=alert(1)>', "a&b", "'", "e")
    folder = tmp_path / '"><script>alert(1)<'
    run = planted_run.plant_run(folder, class_names=names)
    change(run / "config.json", data=evil, method=evil, **{evil: evil})
    said = {"title": evil, "verdict": evil, "notes": [evil]}
    for path in (run / "eval").glob("*.json"):
        change(path, measured_on={"test": {"name": evil, "size": 9}}, **said)
    proof = {"images": {"source": evil, "count": 10}}
    change(run / "export" / "manifest.json", proof=proof)
    lines = (run / "log.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"step": 0, "hardware": {evil: evil}, "versions": evil})
    lines.append(json.dumps({"step": 600, "epoch": 4, f"train/{evil}": 1.0}))
    (run / "log.jsonl").write_text("\n".join(lines))
    other = planted_run.plant_run(tmp_path / "other", class_names=names, only=FEW)
    comparison = write_comparison([run, other], tmp_path / "c.html")
    for page in map(Page, (write_report(run), comparison)):
        kinds = [attributes.get("type") for attributes in page.all("script")]
        assert kinds in ([None], ["application/json", None])
        assert not page.all("b") and not any("onerror" in a for _, a in page.elements)
        assert evil in page.text
        assert "\\u003cscript" in page.source or kinds == [None]


def test_what_is_absent_is_named_with_the_command_that_makes_it(tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    planted_run.write(run / "config.json", planted_run.config(0.2))
    text = Page(write_report(run)).text
    for command in ("eval.py map", "eval.py health", "eval.py knn", "eval.py linear",
                    "eval.py neighbours", "eval.py views", "export.py"):  # fmt: skip
        assert f"python {command} --run_dir='{run}'" in text
    assert "eval.py accuracy" not in text  # there is no classifier to judge
    assert "No verdict yet" in text and "no training log" in text
    assert text.count("Not recorded.") == 2  # hardware and versions


def test_an_encoder_without_a_config_is_shown(tmp_path):
    (tmp_path / "encoder.keras").write_bytes(b"")
    path = write_report(tmp_path / "encoder.keras", tmp_path / "out" / "a.html")
    assert path == tmp_path / "out" / "a.html"
    assert "how it was trained is not recorded" in Page(path).text


def test_a_run_without_labels_has_a_map(tmp_path):
    run = planted_run.plant_run(tmp_path / "run", labels=False, only=("map",))
    page = Page(write_report(run))
    assert len(page.points) == planted_run.COUNT
    assert not [b for b in page.all("button") if "data-label" in b]


def test_results_of_an_earlier_state_are_marked(run):
    newest = (run / "eval" / "knn.json").stat().st_mtime + 5
    for path in (run / "eval").glob("*.json"):
        if path.stem != "map":
            change(path, weights_hash="b" * 64)
            os.utime(path, (newest, newest))
    text = Page(write_report(run)).text
    assert "map.json was made from an earlier state of" in text
    assert "newer than every result" not in text
    os.utime(run / "encoder.keras", (newest + 3600, newest + 3600))
    assert "newer than every result" in Page(write_report(run)).text


def test_a_copy_without_times_shows_the_same(run):
    """Which result is the newest is told by the files themselves."""
    for n, (name, digest) in enumerate((("map", "b" * 64), ("knn", "c" * 64))):
        path = run / "eval" / f"{name}.json"
        change(path, weights_hash=digest, written=1000.0 + n)
        os.utime(path, (2000 - n, 2000 - n))
    stale = {one.name: one.stale for one in gather(run).results}
    assert [name for name in stale if stale[name]] == ["map"]


def test_old_results_of_the_best_encoder_are_told_too(run):
    path = run / "eval" / "knn_encoder=best.json"
    planted_run.write(path, json.loads((run / "eval" / "knn.json").read_text()))
    best = run / "encoder_best.keras"
    best.write_bytes(b"another")
    later = path.stat().st_mtime + 3600
    os.utime(best, (later, later))
    assert gather(run).outrun == [best]
    assert "encoder_best.keras is newer" in Page(write_report(run)).text
    other = planted_run.plant_run(run.parent / "other", only=FEW)
    page = write_comparison([run, other], run.parent / "c.html")
    assert "encoder_best.keras of A is newer" in Page(page).text


def test_two_maps_have_markers_of_their_own(run):
    shutil.copy(run / "eval" / "map.json", run / "eval" / "map_method=pca.json")
    page = Page(write_report(run))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {use["href"].removeprefix("#") for use in page.points}
    assert used <= set(ids) and len({name.split("-marker")[0] for name in used}) == 2


def test_an_export_of_an_earlier_encoder_is_marked(run):
    manifest = run / "export" / "manifest.json"
    written = (run / "eval" / "knn.json").stat().st_mtime - 100
    assert not gather(run).stale_export

    def stale(weights, of_config=None):
        change(manifest, encoder={"weights_sha256": weights})
        os.utime(manifest, (written, written))
        change(run / "config.json", **(of_config or {}))
        return gather(run).stale_export

    assert stale("b" * 64)
    section = Page(write_report(run)).section("exports")
    assert "of an earlier state of the encoder" in section
    # It may hold the best encoder, which is evaluated as such.
    values = json.loads((run / "eval" / "knn.json").read_text())
    best = run / "eval" / "knn_encoder=best.json"
    planted_run.write(best, values | {"weights_hash": "b" * 64})
    assert not stale("b" * 64)
    best.unlink()
    # Newer than every result: they are old, if anything is.
    change(manifest, encoder={"weights_sha256": "c" * 64})
    later = written + 3600
    os.utime(manifest, (later, later))
    assert not gather(run).stale_export
    # Float64 leaves as float32, and of old manifests the encoder is not known.
    assert not stale("b" * 64, {"precision": "float64"})
    assert not stale(None, {"precision": "float32"})


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("eval/knn.json", {"rows": [{"name": "top_1"}]}),
        ("eval/knn.json", {"details": {"trained": {"confusion": [[1]]}}}),
        ("eval/linear.json", "\x00"),
        ("eval/retrieval.json", {"details": {"trained": {"a": 1}}}),
        ("eval/robustness.json", {"details": {"trained": {"a": 1}}}),
        ("eval/health.json", {"details": {}}),
        ("eval/map.json", {"details": {"trained": {"positions": []}}}),
        ("eval/views.png", "no picture"),
        ("export/manifest.json", '{"proof": {}}'),
        ("log.jsonl", "[1]"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, contents):
    result = name.removeprefix("eval/").removesuffix(".json")
    only = (result,) if f"eval/{result}.json" == name else ("linear",)
    run = planted_run.plant_run(tmp_path / "run", only=only)
    if isinstance(contents, dict):
        change(run / name, **contents)
    else:
        (run / name).write_text(contents)
    with pytest.raises(InputError, match=re.escape(str(run / name))):
        write_report(run)
    assert not (run / "report.html").exists()


def test_a_map_that_does_not_fit_its_sprite_is_named(run):
    PIL.Image.new("RGB", (10, 10)).save(run / "eval" / "map_thumbnails.jpg")
    with pytest.raises(InputError, match=r"map\.json.* a sprite of as many thumbnails"):
        write_report(run)


def test_where_there_is_no_run_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"a run at .*nowhere.*no such directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no config\.json and no encoder\.keras"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_large_pictures_are_made_smaller_until_the_page_fits(run):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    PIL.Image.fromarray(noise).save(run / "eval" / "neighbours.png")
    whole = write_report(run).stat().st_size
    limit = 700_000
    assert whole > 2 * limit
    assert write_report(run, limit=limit).stat().st_size <= limit
    before = (run / "report.html").read_bytes()
    with pytest.raises(InputError, match="MB at most"):
        write_report(run, limit=1000)
    assert (run / "report.html").read_bytes() == before


def test_no_tensorflow_is_needed(run, run_program):
    code = (
        "import sys; from selfsup_tf.evaluation.report import write_report;"
        f"write_report({str(run)!r});"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'sklearn')))"
    )
    run_program("-c", code)


def test_a_value_as_the_package_has_it_is_folded_away(run):
    config = Page(write_report(run)).section("config")
    groups = dict(re.findall(r"<h3>(.*?)</h3>(.*?)(?=<h3>|$)", config, re.DOTALL))
    training = groups["Training"]
    folded = training.index("at their defaults")
    assert training.index("<dt>batch_size</dt>") < folded
    assert folded < training.index("<dt>precision</dt>")
    assert "<dt>blur</dt>" in groups["View 1 and view 2"]


def test_runs_side_by_side(tmp_path):
    runs = [
        planted_run.plant_run(tmp_path / "a", top_1=0.6),
        planted_run.plant_run(tmp_path / "b", top_1=0.605, temperature=0.5),
        planted_run.plant_run(tmp_path / "c", top_1=0.4, rank=9.0),
    ]
    (runs[2] / "eval" / "retrieval.json").unlink()
    page = Page(write_comparison(runs, tmp_path / "compare.html"))
    a, b, c = page.row("Linear probe, top-1")
    assert "★ best" in b and "≈" in a  # their intervals overlap
    assert "★" not in c and "≈" not in c
    assert page.row("Retrieval, mAP")[2] == "–"
    assert "★" not in "".join(page.row("Retrieval, mAP"))  # equal: none is better
    assert page.row("Health, RankMe") == ["41", "41", "9"]
    assert page.row("Health, alignment") == ["0.41"] * 3
    assert re.findall(r"<code>(.*?)</code>", page.section("config")) == ["temperature"]
    # Three lines in each chart, which differ in more than their colour.
    for section in ("curves", "health"):
        svg = re.search(r"(<svg.*?</svg>)", page.section(section))[1]
        lines = re.findall(r'<path [^>]*stroke="var\(--c\d\)"[^>]*>', svg)
        dashes = {
            re.search(r'dasharray="([^"]*)"', x + 'dasharray=""')[1] for x in lines
        }
        assert len(dashes) == 3 and "A a" in svg and "C c" in svg


def test_who_is_behind_its_untrained_network_is_not_the_best(tmp_path):
    runs = [planted_run.plant_run(tmp_path / name, only=FEW) for name in "ab"]
    values = {"a": (0.3, [-0.2, -0.1]), "b": (0.25, [-0.01, 0.02])}
    for run in runs:
        file = run / "eval" / "knn.json"
        value, gain = values[run.name]
        rows = json.loads(file.read_text())["rows"]
        rows[0] |= {"value": value, "interval": [value - 0.01, value + 0.01]}
        rows[0]["beside"]["untrained"] |= {"gain_interval": gain}
        change(file, rows=rows)
    page = Page(write_comparison(runs, tmp_path / "c.html"))
    assert page.row("k-NN, top-1")[0].startswith("behind 30.0 %")
    assert "★" not in "".join(page.row("k-NN, top-1"))
    assert "“behind” is worse than the same network" in page.text
    a, b = (Page(write_report(run)).row for run in runs)
    assert a("k-NN top-1 10,000 of cifar10:test")[2].endswith("behind")
    assert b("k-NN top-1 10,000 of cifar10:test")[2].endswith("tie")


def test_who_stood_beside_a_run_has_a_column_of_its_own(tmp_path):
    runs = [planted_run.plant_run(tmp_path / name, only=FEW) for name in "ab"]
    stored = json.loads((runs[1] / "eval" / "knn.json").read_text())
    for row in stored["rows"]:
        one = row["beside"]["untrained"]
        row["beside"] |= {"imagenet:B0": {**one, "value": 0.966}, str(runs[0]): one}
    change(runs[1] / "eval" / "knn.json", rows=stored["rows"])
    page = Page(write_comparison(runs, tmp_path / "c.html"))
    *_, frozen = cells = page.row("k-NN, top-1")
    assert len(cells) == 3 and "★ best 96.6 %" in frozen
    assert "C imagenet:B0" in page.text and "C stood beside a run" in page.text


def test_what_can_not_be_compared_is_refused(tmp_path):
    run = planted_run.plant_run(tmp_path / "a", only=FEW)
    refused = {
        "2 to 8 runs to compare; received 1": [run],
        "2 to 8 runs to compare; received 9": [run] * 9,
        "1 named twice": [run, run],
        "a run at": [run, tmp_path / "b"],
    }
    for words, runs in refused.items():
        with pytest.raises(InputError, match=words):
            write_comparison(runs, tmp_path / "c.html")


def test_images_that_differ_are_noted(tmp_path):
    runs = [planted_run.plant_run(tmp_path / name, only=FEW) for name in "ab"]
    change(
        runs[1] / "eval" / "knn.json", measured_on={"test": {"name": "o", "size": 9}}
    )
    text = Page(write_comparison(runs, tmp_path / "c.html")).text
    assert "k-NN, top-1 †" in text and "judged on different images" in text
    assert "k-NN, top-5 †" in text


def test_a_result_whose_protocol_is_gone_still_shows_its_numbers(run):
    rows = [{"name": "a", "title": "a", "value": 0.5, "interval": None, "beside": {}}]
    values = {"format": 2, "protocol": "gone", "title": "Gone", "rows": rows}
    planted_run.write(run / "eval" / "gone.json", values)
    assert Page(write_report(run)).row("Gone a")[0] == "50.0 %"


def test_numbers_as_they_are_written():
    values = (0, 41, 0.12345, 12345.6, 3e-7, None, float("nan"))
    expected = ["0", "41", "0.1235", "12,346", "3·10⁻⁷", "–", "–"]
    assert [compact(value) for value in values] == expected
    assert gain(-0.0126, "share") == "−1.3" and gain(-0.5, "number") == "−0.5"
    assert interval([0.6, 0.625], "share") == "60.0 to 62.5"
    assert interval((1.5, 20), "number") == "1.5 to 20"
    assert interval(None, "share") is None
