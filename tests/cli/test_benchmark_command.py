"""The command `benchmark`, as typed."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from haarmony.io import read, write

COMMAND = ("benchmark", "--a", "mri", "--b", "pet", "-o", "report", "--metrics", "EN, SD")


@pytest.mark.usefixtures("here")
def test_what_fails_is_said_and_the_rest_is_reported(run):
    Path("pet/p3.png").write_bytes(b"nonsense")
    Path("theirs").mkdir()
    write("theirs/p1.png", np.eye(20, 18, dtype=np.uint8))
    code, out, err = run(*COMMAND, "--methods", "maximum, average", "--results", "Theirs=theirs")
    assert code == 1
    assert out == ["report/report.html: 3 methods, 2 pairs"]
    problems = [line for line in err if not line.startswith("pair") and not line.startswith("pictures")]
    assert [line.partition(":")[0] for line in problems] == ["p3", "Theirs, p2"]
    rows = Path("report/table.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"maximum", "average", "Theirs"}


@pytest.mark.usefixtures("here")
@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_name_that_is_no_text_is_refused_and_the_rest_reported(run):
    for folder in ("mri", "pet"):
        Path(f"{folder}/p1.png").rename(os.fsdecode(folder.encode() + b"/caf\xe9.png"))
    code, out, err = run(*COMMAND, "--methods", "maximum", "--quiet")
    reason = "has a name that is not UTF-8, which no journal can hold; rename it"
    assert (code, out) == (1, [])
    assert err == [rf"caf\udce9: mri/caf\udce9.png: {reason}"]
    assert r"caf\udce9" in Path("report/report.html").read_text()
    assert len(list(Path("report/fused/maximum").iterdir())) == 2


@pytest.mark.usefixtures("here")
def test_a_name_that_no_font_has_brings_no_warnings(run):
    Path("theirs").mkdir()
    write("theirs/p1.png", np.eye(20, 18, dtype=np.uint8))
    code, out, _ = run(*COMMAND, "--methods", "maximum", "--results", "\U00012000\U0001f9e0=theirs")
    assert (code, out) == (1, ["report/report.html: 2 methods, 3 pairs"])  # p2 and p3 are missing
    assert "\U00012000\U0001f9e0" in Path("report/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_what_a_split_names_and_the_folders_lack_is_named(run):
    Path("s.json").write_text('{"h": {"val": ["p1", "p2", "p8", "p9"]}}')
    code, out, err = run(*COMMAND, "--methods", "maximum", "--split", "s.json:h/val", "--quiet")
    assert (code, out, err) == (0, [], ["in s.json:h/val but not in the folders: p8, p9"])
    assert "2 pairs (val of h (s.json), 2 of its 4 pairs missing)" in Path("report/table.md").read_text()


@pytest.mark.usefixtures("here")
def test_a_folder_of_other_things_is_left_alone(run):
    Path("mine").mkdir()
    write("mine/p1.png", read("mri/p1.png"))
    code, out, err = run("benchmark", "--a", "mri", "--b", "pet", "-o", "mine", "--methods", "maximum")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("haarmony: mine: holds other things; name a new or an empty folder")
    assert [path.name for path in Path("mine").iterdir()] == ["p1.png"]


@pytest.mark.usefixtures("here")
def test_records_and_a_report_of_another_are_left_alone(run):
    Path("mine").mkdir()
    argv = ("benchmark", "--a", "mri", "--b", "pet", "-o", "mine", "--methods", "maximum")
    for name, content, says in (
        ("fused.jsonl", b'{"method": "coffee"}\nhalf', "is no record of ours and would be changed"),
        ("scores.jsonl", b"half", "is no record of ours and would be changed"),
        ("report.html", b"<title>Mine</title>", "is no report of ours and would be replaced"),
    ):
        Path("mine/fused.jsonl").touch()
        Path("mine", name).write_bytes(content)
        before = {path.name: path.read_bytes() for path in Path("mine").iterdir()}
        code, out, err = run(*argv)
        assert (code, out) == (2, [])
        assert err == [f"haarmony: mine/{name}: {says}; move it away"]
        assert {path.name: path.read_bytes() for path in Path("mine").iterdir()} == before
        Path("mine", name).unlink()
    for _ in range(2):
        assert run(*argv)[0] == 0


@pytest.mark.usefixtures("here")
def test_failures_are_said_where_no_report_can_be_written(run):
    Path("pet/p3.png").write_bytes(b"nonsense")
    Path("report/report.html").mkdir(parents=True)
    Path("report/fused.jsonl").touch()
    code, out, err = run(*COMMAND, "--methods", "maximum", "--quiet")
    assert (code, out) == (2, [])
    assert len(err) == 2
    assert err[0].startswith("p3: pet/p3.png: ")
    assert err[1].startswith("haarmony: report/report.html")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--a", "mri.png", "--b", "pet.png"), "haarmony: mri.png: is a file; a benchmark takes two folders"),
        (("--b", "pet.png"), "haarmony: pet.png: is a file; a benchmark takes two folders"),
        (("--a", "nowhere"), "haarmony: nowhere: there is no such"),
        (("-o", "mri/report"), "haarmony: mri/report: is or lies in the source folder mri"),
        (("--methods", "maximum,"), "haarmony: unknown method ''; known are "),
        (("--results", "x=mri.png"), "haarmony: mri.png: there is no such folder"),
        (("--results", "x=twice"), "haarmony: twice: p1.bmp and p1.png share a stem; keep one"),
        (("--results", "x=empty"), "haarmony: x: empty holds none of the 3 pairs"),
        (("--results", "maximum=mri"), "haarmony: two methods are called 'maximum'; give one another name"),
        (("--show", "p9"), "haarmony: there is no pair 'p9' to show"),
        (("--metrics", "EN,,SD"), "haarmony: unknown metric ''; known are EN"),
        (("--split", "nowhere.json:x/val"), "haarmony: nowhere.json: no such file or directory"),
    ],
)
def test_refused_before_any_work(run, arguments, message):
    for name in ("twice", "empty"):
        Path(name).mkdir()
    for ending in ("png", "bmp"):
        Path(f"twice/p1.{ending}").touch()
    code, out, err = run(*COMMAND, "--methods", "maximum", *arguments)
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert err[0].startswith(message)
    assert not Path("report").exists()
