"""What goes together, what becomes of bad files, and what JSON and CSV hold."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from haarmony.compare.evaluate import Evaluation, Triple, defined, evaluate, find, named, save, score_files
from haarmony.io import read, write
from haarmony.metrics import METRICS, score

PLACES = Path("mri"), Path("pet"), Path("fused")


@pytest.mark.usefixtures("data")
def test_folders_go_together_by_stem():
    Path("fused/p2.png").unlink()
    Path("mri/p3.png").rename("mri/p4.png")
    found = find(*PLACES)
    assert [t.stem for t in found.triples] == ["p1"]
    assert found.triples[0] == Triple("p1", Path("mri/p1.png"), Path("pet/p1.png"), Path("fused/p1.png"))
    assert found.missing == {
        Path("mri"): ("p3",), Path("pet"): ("p4",), Path("fused"): ("p2", "p4"),
    }  # fmt: skip


@pytest.mark.usefixtures("data")
def test_files_need_no_common_stem():
    files = Path("mri/p1.png"), Path("pet/p2.png"), Path("fused/p3.png")
    assert find(*files).triples == (Triple("p3", *files),)
    assert not find(*files).missing


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("mri", "pet", "fused/p1.png"), "mri: is a folder but fused/p1.png is a file"),
        (("mri", "pet", "nowhere"), "nowhere: there is no such file or folder"),
        (("mri", "pet", "."), "mri, pet and .: no stem in common"),
    ],
)
def test_places_that_do_not_fit(places, message):
    with pytest.raises((ValueError, OSError), match=message):
        find(*map(Path, places))


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("count", [1, 2])
def test_values_are_the_metrics(count):
    metrics = ["VIF", "EN", "CIEDE2000"]
    scored = list(evaluate(find(*PLACES).triples, convention="cddfuse", metrics=metrics, count=count))
    assert sorted(one.triple.stem for one in scored) == ["p1", "p2", "p3"]
    for one in scored:
        f, a, b = (read(folder / f"{one.triple.stem}.png").pixels for folder in (PLACES[2], *PLACES[:2]))
        assert one.values == pytest.approx(score(f, a, b, convention="cddfuse", metrics=metrics))
        assert list(one.values) == metrics


@pytest.mark.usefixtures("data")
def test_a_bad_file_stops_no_other():
    Path("fused/p1.png").write_bytes(b"no picture")
    write("fused/p2.png", np.zeros((44, 47), np.uint8))
    failed, smaller, good = evaluate(find(*PLACES).triples, convention="haarmony", metrics=["EN"], count=1)
    assert str(failed.error).startswith("fused/p1.png: ")
    assert str(smaller.error) == "fused/p2.png: is 47×44, its source mri/p2.png is 48×44"
    assert good.error is None
    assert good.values["EN"] > 0


@pytest.mark.usefixtures("data")
def test_too_small_a_picture_is_named():
    for name in ("mri", "pet", "fused"):
        write(f"{name}/p1.png", np.zeros((40, 48), np.uint8))
    triple = find(*PLACES).triples[0]
    with pytest.raises(ValueError, match=r"fused/p1\.png: is 48×40, VIF needs at least 41×41"):
        score_files(triple, convention="haarmony", metrics=["VIF"])
    assert score_files(triple, convention="haarmony", metrics=["EN"]) == {"EN": 0}
    lenient = score_files(triple, convention="haarmony", metrics=["EN", "VIF"], lenient=True)
    assert lenient == pytest.approx({"EN": 0, "VIF": math.nan}, nan_ok=True)
    for name in ("mri", "pet", "fused"):
        write(f"{name}/p1.png", np.zeros((41, 48), np.uint8))
    assert score_files(triple, convention="haarmony", metrics=["VIF"], lenient=True) == {"VIF": 1}


def test_mean_leaves_out_what_is_undefined():
    nan, inf = math.nan, math.inf
    both = Evaluation("cddfuse", ["PSNR"], {"x": {"PSNR": inf}, "y": {"PSNR": -inf}})
    assert math.isnan(both.mean()["PSNR"])
    images = {
        "x": {"EN": 1.0, "PSNR": 30.0, "CIEDE2000": nan, "function": nan},
        "y": {"EN": 2.0, "PSNR": inf, "CIEDE2000": 4.0, "function": nan},
    }
    result = Evaluation("haarmony", ["EN", "PSNR", "CIEDE2000", "function"], images)
    assert result.mean() == {"EN": 1.5, "PSNR": inf, "CIEDE2000": 4.0}
    assert json.loads(result.to_json()) == {
        "convention": "haarmony",
        "mean": {"EN": 1.5, "PSNR": None, "CIEDE2000": 4.0},
        "images": {
            "x": {"EN": 1.0, "PSNR": 30.0, "CIEDE2000": None},
            "y": {"EN": 2.0, "PSNR": None, "CIEDE2000": 4.0},
        },
    }
    assert result.to_csv() == "stem,EN,PSNR,CIEDE2000\nx,1.0,30.0,\ny,2.0,inf,4.0\n"


def test_a_stem_with_a_comma_stays_one_cell():
    result = Evaluation("haarmony", ["EN"], {'a,"b': {"EN": 0.1}})
    assert result.to_csv() == 'stem,EN\n"a,""b",0.1\n'


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
def test_a_full_disk_names_the_file_and_keeps_what_was_there(tmp_path):
    import resource

    path = tmp_path / "o.csv"
    save(path, "before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"o\.csv: cannot be written \(File too large\)"):
            save(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_names_of_metrics():
    assert named("cddfuse", ["qabf", "EN", "ssim", "QABF"]) == ["Qabf", "EN", "SSIM"]
    assert defined("haarmony") == list(METRICS)
    assert set(METRICS) - set(defined("matlab")) >= {"SD", "VIF", "SSIM"}
    assert defined("matlab", ["VIF", "EN"]) == ["EN"]
    with pytest.raises(ValueError, match="unknown metric 'foo'; known are EN, SD"):
        named("haarmony", ["EN", "foo"])
    with pytest.raises(ValueError, match="VIF is not defined in the convention 'matlab'"):
        named("matlab", ["VIF"])
