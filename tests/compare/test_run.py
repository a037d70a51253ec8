"""A whole comparison: what it computes, and what it does not compute twice."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from haarmony.classical import CLASSICAL
from haarmony.compare import methods, run
from haarmony.compare.run import Comparison
from haarmony.io import read, write
from haarmony.jobs import pairs
from haarmony.journal import Journal
from haarmony.metrics import score

METRICS = ["EN", "VIF", "SSIM", "CIEDE2000"]


def compare(names=("medical", "maximum", "laplacian"), results=(), metrics=METRICS, convention="cddfuse"):
    chosen = [*methods.find(names), *map(methods.elsewhere, results)]
    found = pairs(Path("mri"), Path("pet")).pairs
    Path("report").mkdir(exist_ok=True)
    comparison = Comparison(found, Path("report"), methods=chosen, convention=convention, metrics=metrics)
    for work in (comparison.survey, comparison.fuse, comparison.score):
        for _ in work():
            pass
    return comparison


def results(comparison):
    return comparison.results(a="mri", b="pet", split="all pairs", provenance={"command": "haarmony …"})


def times(pattern="report/fused/**/*.png"):
    return {path: path.stat().st_mtime_ns for path in Path().glob(pattern)}


@pytest.mark.usefixtures("data")
def test_values_are_those_of_the_written_pictures():
    found = results(compare(results=["Theirs=fused"]))
    assert [m.name for m in found.methods] == ["medical", "maximum", "laplacian", "Theirs"]
    assert [m.kind for m in found.methods] == ["model", "classical", "classical", "results"]
    for (method, stem), row in found.images.iterrows():
        folder = Path("fused") if method == "Theirs" else Path("report/fused") / method
        f, a, b = (read(p / f"{stem}.png").pixels for p in (folder, Path("mri"), Path("pet")))
        assert dict(row) == pytest.approx(score(f, a, b, convention="cddfuse", metrics=METRICS))
    assert len(found.images) == 12
    assert found.dataset.pairs == 3
    assert found.dataset.sizes == "48×44"
    spent = [run.Fused.model_validate_json(x) for x in Path("report/fused.jsonl").read_text().splitlines()]
    for method in found.methods[:3]:
        assert method.seconds == sorted(x.seconds for x in spent if x.method == method.name)[1]
        assert 0 < method.seconds < 60
        assert 20 < method.memory < 20_000
    assert found.methods[3].seconds is found.methods[3].memory is None
    assert found.methods[0].memory > found.methods[1].memory  # one runs networks, the other a maximum


@pytest.mark.usefixtures("data")
def test_classical_fusers_keep_the_colour_of_the_source():
    compare(names=["maximum"], metrics=["EN"])
    fused, pet, mri = (read(p).pixels for p in ("report/fused/maximum/p1.png", "pet/p1.png", "mri/p1.png"))
    luma = [0.299, 0.587, 0.114]
    expected = CLASSICAL["maximum"].function(mri / 255, (pet @ luma) / 255) * 255
    assert np.abs(fused @ luma - expected).max() < 1
    assert fused.shape == (44, 48, 3)
    assert np.ptp(fused.astype(int), axis=2).max() > 20


@pytest.mark.usefixtures("data")
def test_a_second_run_computes_nothing_and_finds_the_same():
    first, before = results(compare()), times()
    journals = [path.read_bytes() for path in sorted(Path("report").glob("*.jsonl"))]
    again = results(compare())
    assert times() == before
    assert [path.read_bytes() for path in sorted(Path("report").glob("*.jsonl"))] == journals
    assert again.images.equals(first.images)
    assert [m.seconds for m in again.methods] == [m.seconds for m in first.methods]


@pytest.mark.usefixtures("data")
def test_only_what_no_longer_holds_is_done_again():
    compare()
    before = times()
    write("pet/p2.png", 255 - read("pet/p2.png").pixels)  # another source
    write("report/fused/maximum/p1.png", np.zeros((44, 48), np.uint8))  # no longer what was fused
    Path("report/fused/laplacian/p3.png").unlink()
    tampered = times()[Path("report/fused/maximum/p1.png")]
    found = results(compare())
    assert times()[Path("report/fused/maximum/p1.png")] != tampered
    changed = {
        f"{path.parent.name}/{path.stem}" for path, time in times().items() if before.get(path) != time
    }
    assert changed == {"medical/p2", "maximum/p2", "laplacian/p2", "maximum/p1", "laplacian/p3"}
    f, a, b = (read(p).pixels for p in ("report/fused/maximum/p2.png", "mri/p2.png", "pet/p2.png"))
    assert found.images.loc["maximum", "p2"]["VIF"] == pytest.approx(
        score(f, a, b, convention="cddfuse")["VIF"]
    )


@pytest.mark.usefixtures("data")
def test_more_metrics_and_methods_add_to_what_is_there(monkeypatch):
    first = results(compare(names=["maximum"], metrics=["EN"]))
    asked = []
    original = run._score
    monkeypatch.setattr(run.workers, "cores", lambda: 1)  # no other process, which would not be asked
    monkeypatch.setattr(run, "_score", lambda job: asked.append((job.method, job.lacking)) or original(job))
    more = results(compare(names=["maximum", "average"], metrics=["EN", "SD"]))
    assert sorted(asked) == [("average", ["EN", "SD"])] * 3 + [("maximum", ["SD"])] * 3
    assert more.images.loc["maximum"]["EN"].equals(first.images.loc["maximum"]["EN"])
    asked.clear()
    other = results(compare(names=["maximum"], metrics=["EN"], convention="haarmony"))
    assert asked == [("maximum", ["EN"])] * 3  # in another convention nothing is known
    assert other.convention == "haarmony"


@pytest.mark.usefixtures("data")
def test_a_line_for_all_that_fails_and_the_rest_goes_on():
    Path("pet/p3.png").write_bytes(b"nonsense")
    shutil.copytree("fused", "theirs")
    Path("theirs/p1.png").unlink()
    write("theirs/p2.png", np.zeros((44, 40), np.uint8))
    comparison = compare(names=["maximum"], results=["Theirs=theirs", "Ours=fused"])
    found = results(comparison)
    starts = [
        "p3: pet/p3.png: ",
        "Theirs, p1: missing in theirs",
        "Theirs, p2: theirs/p2.png: is 40×44, its source",
    ]
    assert len(found.failures) == len(starts)
    assert all(line.startswith(start) for line, start in zip(found.failures, starts, strict=True))
    assert found.dataset.pairs == 2
    assert list(found.images.index) == [(m, s) for m in ("maximum", "Ours") for s in ("p1", "p2")]


@pytest.mark.usefixtures("data")
def test_a_metric_that_nothing_defines_is_no_column():
    for stem in ("p1", "p2", "p3"):
        write(f"pet/{stem}.png", read(f"pet/{stem}.png").pixels[..., 0])
    found = results(compare(names=["maximum"]))
    assert found.metrics == ("EN", "VIF", "SSIM")


@pytest.mark.usefixtures("data")
def test_examples_are_the_pictures_by_caption():
    found = results(compare(names=["maximum"]))
    (example,) = found.examples
    assert list(example.pictures) == ["mri", "pet", "Maximum"]
    assert (example.pictures["pet"] == read(f"pet/{example.stem}.png").pixels).all()
    with pytest.raises(ValueError, match="there is no pair 'p7' to show"):
        Comparison(
            pairs(Path("mri"), Path("pet")).pairs, Path("report"), methods=[], convention="haarmony",
            metrics=[], show=["p7"],
        )  # fmt: skip


@pytest.mark.usefixtures("data")
def test_no_picture_hides_behind_another_of_its_caption():
    found = results(compare(names=["maximum"], results=["Maximum=fused", "mri=fused"]))
    assert [m.title for m in found.methods] == ["Maximum (maximum)", "Maximum (Maximum)", "mri"]
    (example,) = found.examples
    assert list(example.pictures) == ["first source", "second source", *(m.title for m in found.methods)]
    assert (example.pictures["first source"] == read(f"mri/{example.stem}.png").pixels).all()


@pytest.mark.usefixtures("data")
def test_scores_of_another_convention_are_kept():
    compare(names=["maximum"])
    compare(names=["maximum"], convention="haarmony")
    journal = Path("report/scores.jsonl").read_bytes()
    first = results(compare(names=["maximum"]))
    assert Path("report/scores.jsonl").read_bytes() == journal
    f, a, b = (read(f"{p}/p1.png").pixels for p in ("report/fused/maximum", "mri", "pet"))
    assert first.images.loc["maximum", "p1"]["VIF"] == pytest.approx(
        score(f, a, b, convention="cddfuse")["VIF"]
    )


@pytest.mark.usefixtures("data")
@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that nobody can read")
def test_pictures_that_cannot_be_read_stop_no_other():
    compare(names=["maximum"], metrics=["EN"])
    for place in ("report/fused/maximum/p1.png", "fused/p2.png"):
        Path(place).unlink()
        Path(place).symlink_to("/proc/self/mem")
    comparison = compare(names=["maximum"], metrics=["EN"], results=["Theirs=fused"])
    found = results(comparison)
    assert len(comparison.failures) == 1
    assert comparison.failures[0].startswith("Theirs, p2: fused/p2.png: cannot be read")
    stems = [("maximum", "p1"), ("maximum", "p2"), ("maximum", "p3"), ("Theirs", "p1"), ("Theirs", "p3")]
    assert list(found.images.index) == stems
    assert read("report/fused/maximum/p1.png").pixels.shape == (44, 48, 3)


@pytest.mark.usefixtures("data")
@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_nobody_fuses_what_another_run_scores():
    comparison = compare(names=["maximum"], metrics=["EN"])
    with Journal(Path("report/fused.jsonl"), run.Fused), pytest.raises(BlockingIOError, match="another run"):
        list(comparison.score())
    scoring = comparison.score()
    next(scoring)
    with pytest.raises(BlockingIOError, match=r"report/fused\.jsonl: another run"):
        compare(names=["average"], metrics=["EN"])


@pytest.mark.usefixtures("data")
def test_nothing_to_compare():
    for path in Path("pet").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"nothing could be scored; p1: pet/p1\.png: is an empty file"):
        results(compare(names=["maximum"]))


@pytest.mark.usefixtures("data")
def test_a_metric_that_nothing_defines_alone():
    for stem in ("p1", "p2", "p3"):
        write(f"pet/{stem}.png", read(f"pet/{stem}.png").pixels[..., 0])
    with pytest.raises(ValueError, match="none of the pictures defines CIEDE2000"):
        results(compare(names=["maximum"], metrics=["CIEDE2000"]))


def test_methods_by_name(tmp_path):
    assert [m.title for m in methods.find(["medical", "ratio"])] == [
        "Haarmony (medical)",
        "Ratio-of-low-pass pyramid",
    ]
    shipped = methods.shipped()
    assert {*CLASSICAL, "medical"} <= set(shipped)
    assert len(methods.find(shipped)) == len(shipped)
    with pytest.raises(ValueError, match=r"unknown method 'cddfuse'; known are .*medical"):
        methods.find(["cddfuse"])
    with pytest.raises(ValueError, match="results 'x' are not NAME=DIR"):
        methods.elsewhere("x")
    with pytest.raises(ValueError, match=r"results 'a\\nb=x' have a name that cannot be printed"):
        methods.elsewhere("a\nb=x")
    with pytest.raises(NotADirectoryError, match="nowhere: there is no such folder"):
        methods.elsewhere("x=nowhere")
    assert methods.elsewhere(f"x={tmp_path}").folder == str(tmp_path)
