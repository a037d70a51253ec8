"""An explanation in a folder: maps to half a level, figures of the arrays, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from haarmony import Fuser, phantom
from haarmony.explain import files, record
from haarmony.explain.unsupported import FLAGGED
from haarmony.io import Picture, Volume, read
from haarmony.manifest import Settings, sha256

sys.path.insert(0, str(Path(__file__).parent))
from explanations import AFFINE, of_arrays, planted

SPREAD = 100.0
"""The round number from 58.1, the largest spread."""
SCALES = {"spread": SPREAD, "unsupported": 4.0, "share_a": 1.0, "share_b": 1.0}
KEYS = [
    *("haarmony", "sources", "shape", "values", "plane", "seeds", "settings", "warnings", "told", "flagged"),
    *("function", "alignment", "maps"),
]
MAP = [
    *(
        "file",
        "sha256",
        "overlay",
        "overlay_slice",
        "what",
        "unit",
        "black",
        "white",
        "mean",
        "p99",
        "maximum",
    )
]


def loaded(folder: Path) -> dict:
    return json.loads((folder / "explain.json").read_text(encoding="utf-8"))


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_maps_come_back_to_half_a_level(tmp_path):
    of = of_arrays()
    of.save(tmp_path / "why")
    for name, white in SCALES.items():
        levels = read(tmp_path / "why" / f"{name}.png").pixels
        assert levels.dtype == np.uint16
        expected = np.minimum(getattr(of, name), white).astype(np.float64)
        assert np.abs(levels * (white / 65535) - expected).max() <= 0.5001 * white / 65535 + 1e-7
    assert SPREAD / 2.5 < of.spread.max() <= SPREAD
    assert (of.unsupported > 4).any()


@pytest.mark.parametrize(
    ("largest", "white"), [(0.0351, 0.05), (0.05, 0.05), (2.1, 5), (99, 100), (1000, 1000), (0, 5e-4)]
)
def test_the_scale_of_spread_is_the_next_round_number(largest, white):
    of = of_arrays()
    spread = np.full_like(of.spread, largest / 3)
    spread[5, 5] = largest
    assert record.meaning("spread", replace(of, spread=spread)).white == white


def test_shares_sum_to_white_where_they_are_told(tmp_path):
    of = of_arrays()
    of.save(tmp_path / "why")
    a, b = (read(tmp_path / "why" / f"share_{x}.png").pixels.astype(int) for x in "ab")
    told = (of.share_a > 0) | (of.share_b > 0)
    assert 0 < told.mean() < 1
    np.testing.assert_array_equal(a + b, np.where(told, 65535, 0))


def test_the_keys_are_frozen(tmp_path):
    replace(of_arrays(), settings=Settings(model="m")).save(tmp_path / "why")
    found = loaded(tmp_path / "why")
    assert list(found) == KEYS
    assert list(found["maps"]) == list(SCALES)
    assert all(list(one) == MAP for one in found["maps"].values())
    assert list(found["flagged"]) == ["threshold", "part", "regions", "largest"]
    assert list(found["flagged"]["largest"][0]) == ["box", "size", "largest"]
    assert list(found["function"]) == ["value", "worst"]
    assert list(found["function"]["worst"]) == ["slice", "row", "column", "side", "value"]
    assert list(found["alignment"]) == ["shift", "turn", "nmi", "nmi_there", "misaligned"]
    assert list(found["settings"]) == list(Settings.model_fields)


def test_figures_are_the_arrays_own(tmp_path):
    of = replace(of_arrays(), sources=("mri.png", "pet.png"))
    of.save(tmp_path / "why")
    found = loaded(tmp_path / "why")
    for name, white in SCALES.items():
        one, within = found["maps"][name], getattr(of, name)[of.inside]
        assert (one["black"], one["white"]) == (0, white)
        np.testing.assert_allclose(one["mean"], within.mean(dtype=float), rtol=1e-6)
        np.testing.assert_allclose(one["p99"], np.percentile(within, 99), rtol=1e-6)
        assert one["maximum"] == within.max()
        assert one["sha256"] == sha256(tmp_path / "why" / one["file"])
        assert (tmp_path / "why" / one["overlay"]).is_file()
    assert found["flagged"]["part"] == (of.unsupported[of.inside] >= FLAGGED).mean()
    assert found["told"] == ((of.share_a > 0) | (of.share_b > 0))[of.inside].mean()
    assert found["sources"] == ["mri.png", "pet.png"]
    assert found["seeds"] == [7, 8, 9]
    assert found["values"] == [0, 255]
    assert found["shape"] == [48, 40]
    assert found["function"] == {
        "value": 0.25,
        "worst": {"slice": None, "row": 8, "column": 16, "side": 32, "value": -0.5},
    }
    assert tuple(found["warnings"]) == of.warnings
    assert len(of.warnings) == 4


def test_a_planted_square_is_the_largest_region_with_its_box(tmp_path):
    of, where = planted()
    of.save(tmp_path / "why")
    flagged = loaded(tmp_path / "why")["flagged"]
    region = flagged["largest"][0]
    for (lo, hi), along in zip(region["box"], where, strict=True):
        assert along.start - 3 <= lo <= along.start
        assert along.stop <= hi <= along.stop + 3
    labelled = of.unsupported >= FLAGGED
    inside = tuple(slice(lo, hi) for lo, hi in region["box"])
    assert region["size"] == labelled[inside].sum() >= 25
    assert region["largest"] == of.unsupported.max() == of.unsupported[inside].max()
    assert flagged["regions"] == 1


def test_regions_are_the_largest_twenty_in_order_and_touch_by_corners():
    score = np.zeros((60, 60), np.float32)
    for k in range(30):  # bars of 1 to 30 pixels, each flagged by another amount
        score[2 * k, : k + 1] = 1 + k
    score[1, 1] = 1  # joins the first two by its corners
    of = replace(of_arrays((60, 60)), unsupported=score, inside=np.ones((60, 60), bool))
    flagged = record.record(of, files=dict.fromkeys(SCALES, ("", "", ""))).flagged
    assert flagged.regions == 29
    assert [region.size for region in flagged.largest] == [*range(30, 10, -1)]
    assert flagged.largest[0] == record.Region(box=((58, 59), (0, 30)), size=30, largest=30.0)


def test_a_region_in_air_counts_where_the_fused_picture_shows_something():
    of = of_arrays()
    pixels, score = of.fused.pixels.copy(), np.zeros_like(of.unsupported)
    score[0, 5:9], pixels[0, 5:7] = 2, 9
    of = replace(of, fused=Picture(pixels, (0, 255)), unsupported=score)
    (region,) = record.record(of, files=dict.fromkeys(SCALES, ("", "", ""))).flagged.largest
    assert (region.box, region.size, of.flagged) == (((0, 1), (5, 7)), 2, 0.0)


def test_a_volume_keeps_values_and_grid(tmp_path):
    of = of_arrays((18, 20, 22))
    of.save(tmp_path / "why")
    found = loaded(tmp_path / "why")
    for name in SCALES:
        image = nib.load(tmp_path / "why" / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), getattr(of, name))
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.affine, AFFINE)
        assert image.header.get_xyzt_units()[0] == "mm"
    assert found["maps"]["spread"]["white"] == 1000
    assert found["plane"] == "coronal"
    flagged = np.where((of.unsupported >= FLAGGED) & of.inside, np.minimum(of.unsupported, 4), 0)
    assert found["maps"]["unsupported"]["overlay_slice"] == flagged.sum(axis=(0, 1)).argmax()  # K is coronal
    box = found["flagged"]["largest"][0]["box"]
    assert len(box) == 3


def test_of_one_slice_a_picture_is_made_as_the_slice_is_seen():
    of = of_arrays((18, 20, 1)).as_picture()
    assert isinstance(of.fused, Picture)
    assert of.plane == ""
    assert of.function.worst.slice is None
    stored = of_arrays((18, 20, 1))
    # I leads up and J to the left, and so do columns; rows lead down.
    np.testing.assert_array_equal(of.spread, stored.spread[::-1, :, 0])
    np.testing.assert_array_equal(of.fused.pixels, stored.fused.voxels[::-1, :, 0])
    np.testing.assert_array_equal(of.inside, stored.inside[::-1, :, 0])


@pytest.mark.parametrize("model", ["medical", "infrared", "dif-fusion"])
def test_what_models_explain_is_saved_with_its_origin(tmp_path, model):
    a, b = phantom.head(3, 64).pair("PET", 16)
    fuser = Fuser(model)
    of = fuser.explain(a, b, seeds=2, seed=5)
    np.testing.assert_array_equal(of.fused, fuser(a, b, seed=5))
    of.save(tmp_path / "why")
    found = loaded(tmp_path / "why")
    steps = None if model == "dif-fusion" else fuser.card.diffusion.steps
    assert found["settings"]["model"] == model
    assert found["settings"]["card_sha256"] == sha256(
        Path(record.haarmony.__file__).parent / "weights" / model / "card.toml"
    )
    assert (found["settings"]["steps"], found["settings"]["seed"], found["seeds"]) == (steps, 5, [5, 6])
    levels = read(tmp_path / "why" / "spread.png").pixels
    white = found["maps"]["spread"]["white"]
    np.testing.assert_allclose(levels * white / 65535, of.spread, atol=white / 65535)


def test_equal_explanations_make_equal_bytes():
    assert files.encoded(of_arrays()) == files.encoded(of_arrays())
    assert files.encoded(of_arrays()) != files.encoded(of_arrays(seed=1))


def test_a_range_that_falls_has_a_spread_that_rises():
    fused = Volume(np.zeros((16, 16, 16), np.uint8), (100.0, 0.0), np.eye(4))
    spread = np.zeros((16, 16, 16), np.float32)
    of = replace(of_arrays((16, 16, 16)), fused=fused, spread=spread, values=(100.0, 0.0), plane="axial")
    assert record.meaning("spread", of).white == 1e-4


def test_what_exists_is_replaced_only_when_told_and_only_if_it_is_ours(tmp_path):
    out, of = tmp_path / "why", of_arrays()
    of.save(out)
    before = state(out)
    with pytest.raises(FileExistsError, match="why: exists already; --overwrite replaces it"):
        of_arrays(seed=1).save(out)
    assert state(out) == before
    of_arrays(seed=1).save(out, overwrite=True)
    assert state(out).keys() == before.keys()
    assert state(out) != before
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"why: holds notes\.txt, which is not Haarmony's"):
        of.save(out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["why"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"haarmony": "1", "seeds": 8, "maps": {}}', "{" * 9999])
def test_another_explain_json_is_not_ours(tmp_path, content):
    (tmp_path / "explain.json").write_text(content)
    with pytest.raises(FileExistsError, match=r"holds explain\.json, which is not Haarmony's"):
        of_arrays().save(tmp_path, overwrite=True)
    assert (tmp_path / "explain.json").read_text() == content


def test_an_empty_folder_is_filled_and_a_file_or_a_link_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    of_arrays().save(tmp_path / "empty")
    assert len(state(tmp_path / "empty")) == 9
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name, says in (
        ("file", "is no folder"),
        ("link", "is no folder"),
        ("none/why", "there is no folder"),
    ):
        with pytest.raises(OSError, match=says):
            of_arrays().save(tmp_path / name, overwrite=True)


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, exists):
    if exists:
        of_arrays().save(tmp_path / "why")
    before = state(tmp_path / "why") if exists else None
    real, count = os.fsync, 0

    def full(handle: int) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"why: cannot be written \(No space left on device\)") as caught:
        of_arrays(seed=1).save(tmp_path / "why", overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == (["why"] if exists else [])
    assert not exists or state(tmp_path / "why") == before


def test_one_that_was_put_aside_when_the_process_was_killed_comes_back(tmp_path):
    of_arrays().save(tmp_path / "why")
    before = state(tmp_path / "why")
    (tmp_path / "why").rename(tmp_path / "why.old.part")
    files.put_back(tmp_path / "why")
    assert state(tmp_path / "why") == before
