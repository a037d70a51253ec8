"""The commands `evaluate` and `metrics`, as typed."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from haarmony import cli
from haarmony.io import read, write
from haarmony.metrics import METRICS, score

FOLDERS = ("--a", "mri", "--b", "pet", "--fused", "fused")


@pytest.fixture
def fused(here):
    """Folders mri, pet and fused of p1 to p3, 44×42."""
    rng = np.random.default_rng(1)
    Path("fused").mkdir()
    for stem in ("p1", "p2", "p3"):
        for name, shape in (("mri", (42, 44)), ("pet", (42, 44, 3)), ("fused", (42, 44))):
            write(f"{name}/{stem}.png", rng.integers(0, 256, shape, dtype=np.uint8))
    return here


@pytest.mark.usefixtures("fused")
def test_json_and_csv_hold_every_value(run):
    code, out, err = run(
        "evaluate", *FOLDERS, "--convention", "cddfuse", "--json", "o.json", "--csv", "o.csv"
    )
    assert code == 0
    small = [symbol for symbol, metric in METRICS.items() if metric.smallest > 42]
    assert small == ["MS-SSIM"]
    assert err == [
        "scoring: 3",
        "MS-SSIM: left out for 3 of 3 pictures, smaller than the 176×176 pixels it needs",
    ]
    written = json.loads(Path("o.json").read_text())
    assert written["convention"] == "cddfuse"
    assert set(written["mean"]) == {s for s, m in METRICS.items() if "cddfuse" in m.conventions} - {*small}
    for stem in ("p1", "p2", "p3"):
        f, a, b = (read(f"{name}/{stem}.png").pixels for name in ("fused", "mri", "pet"))
        expected = score(f, a, b, convention="cddfuse", metrics=list(written["mean"]))
        assert written["images"][stem] == pytest.approx(expected)
    for symbol, value in written["mean"].items():
        assert value == pytest.approx(np.mean([row[symbol] for row in written["images"].values()]))
    header, *rows = Path("o.csv").read_text().splitlines()
    assert header.split(",") == ["stem", *written["mean"]]
    assert [float(x) for x in rows[1].split(",")[1:]] == list(written["images"]["p2"].values())
    assert out[0].startswith("mean of 3 pictures, convention cddfuse")
    assert out[1].split()[:3] == ["EN", "↑", f"{written['mean']['EN']:.4f}"]


@pytest.mark.usefixtures("fused")
def test_single_files(run):
    files = ("--a", "mri/p1.png", "--b", "pet/p2.png", "--fused", "fused/p3.png")
    code, out, _ = run("evaluate", *files, "--metrics", "ssim,Qabf", "--json", "o.json")
    assert code == 0
    assert [line.split()[0] for line in out[1:]] == ["SSIM", "Qabf"]
    assert list(json.loads(Path("o.json").read_text())["images"]) == ["p3"]


@pytest.mark.usefixtures("fused")
def test_missing_counterparts_are_named_and_stop_nothing(run):
    Path("fused/p2.png").unlink()
    Path("mri/p3.png").unlink()
    code, out, err = run("evaluate", *FOLDERS, "--metrics", "EN")
    assert code == 0
    assert "missing in mri: p3" in err
    assert "missing in fused: p2" in err
    assert out[0].startswith("mean of 1 picture,")


@pytest.mark.usefixtures("fused")
def test_a_bad_file_is_one_line_and_the_rest_is_scored(run):
    Path("pet/p2.png").write_bytes(b"nonsense")
    code, _, err = run("evaluate", *FOLDERS, "--metrics", "EN", "--json", "o.json")
    assert code == 1
    assert [line for line in err if "p2" in line] == [
        line for line in err if line.startswith("p2 failed: pet/p2.png: ")
    ]
    assert list(json.loads(Path("o.json").read_text())["images"]) == ["p1", "p3"]
    code, _, err = run("evaluate", "--a", "mri/p2.png", "--b", "pet/p2.png", "--fused", "fused/p2.png")
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith("haarmony: pet/p2.png: ")


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metrics", "EN,sharpness"), "haarmony: unknown metric 'sharpness'; known are EN, SD"),
        (
            ("--metrics", "VIF", "--convention", "matlab"),
            "haarmony: VIF is not defined in the convention 'matlab'",
        ),
        (("--json", "nowhere/o.json"), "haarmony: nowhere/o.json: there is no folder nowhere"),
        (("--csv", "mri"), "haarmony: mri: is a folder; name a file in it"),
        (("--csv", "mri/p1.png"), "haarmony: mri/p1.png: is a picture to be scored; write somewhere else"),
        (("--json", "fused/p9.png"), "haarmony: fused/p9.png: is a picture's name; end it in .csv or .json"),
        (("--csv", "pipe"), "haarmony: pipe: is no regular file"),
        (("--csv", "o", "--json", "pet/../o"), "haarmony: o: is to hold both CSV and JSON; give two names"),
        (("--metrics", ""), "haarmony: unknown metric ''; known are EN, SD"),
    ],
)
def test_refused(run, arguments, message):
    os.mkfifo("pipe")
    code, out, err = run("evaluate", *FOLDERS, *arguments)
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert err[0].startswith(message)
    assert read("mri/p1.png").pixels.shape == (42, 44)
    assert Path("pipe").is_fifo()
    assert not Path("o").exists()


@pytest.mark.usefixtures("fused")
def test_nothing_to_score(run):
    for path in Path("fused").iterdir():
        path.write_bytes(b"")
    code, out, err = run("evaluate", *FOLDERS, "--json", "o.json")
    assert code == 2
    assert out == []
    assert err[-1] == "haarmony: fused: none of the 3 pictures could be scored"
    assert not Path("o.json").exists()


@pytest.mark.usefixtures("fused")
@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_names_that_are_no_text_are_escaped(run):
    stem = os.fsdecode(b"caf\xe9")
    for name in ("mri", "pet", "fused"):
        Path(f"{name}/p2.png").rename(f"{name}/{stem}.png")
    assert run("evaluate", *FOLDERS, "--metrics", "EN, sd", "--json", "o.json", "--csv", "o.csv")[0] == 0
    assert sorted(json.loads(Path("o.json").read_text())["images"]) == [stem, "p1", "p3"]
    assert [row.split(",")[0] for row in Path("o.csv").read_text().splitlines()] == [
        "stem", r"caf\udce9", "p1", "p3",
    ]  # fmt: skip


@pytest.mark.usefixtures("fused")
def test_a_stdout_that_lacks_the_arrows(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr("sys.stdout", narrow)
    assert cli.main(["evaluate", *FOLDERS, "--metrics", "EN"]) == 0
    assert cli.main(["metrics"]) == 0
    narrow.flush()
    lines = narrow.buffer.getvalue().decode("cp1252").splitlines()
    assert lines[0] == "mean of 3 pictures, convention haarmony; ? higher is better, ? lower"
    assert lines[1].split()[:2] == ["EN", "?"]
    assert any(line.startswith("SSIM") for line in lines[3:])


def test_metrics_lists_all(run):
    code, out, _ = run("metrics")
    assert code == 0
    assert out[0].split() == ["symbol", "name", "unit", "range", "better", "conventions", "source"]
    assert [line.split()[0] for line in out[1:]] == list(METRICS)
    for line, metric in zip(out[1:], METRICS.values(), strict=True):
        for text in (
            metric.name,
            metric.unit,
            metric.direction,
            ", ".join(metric.conventions),
            metric.source,
        ):
            assert text in line


def test_published_values(run, shared, tmp_path):
    """A colour pair of the reference values, through the command."""
    folder = shared / "golden" / "cddfuse"
    for case in json.loads((folder / "expected.json").read_text()):
        if "PET" not in case["b"] or "_maximum" not in case["fused"]:
            continue
        places = [f"--{name}={folder / case[name]}" for name in ("a", "b", "fused")]
        assert run("evaluate", *places, "--convention=cddfuse", f"--json={tmp_path / 'o.json'}")[0] == 0
        mean = json.loads((tmp_path / "o.json").read_text())["mean"]
        assert {k: mean[k] for k in case["expected"]} == pytest.approx(case["expected"], rel=1e-4)
