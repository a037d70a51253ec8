"""Every call of the server, with the values that the library gives."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import shlex
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

import haarmony
from haarmony import Fuser, Volume, cli, read, volumes, weights, write
from haarmony.io import to_unit
from haarmony.metrics import score
from haarmony.phantom import head
from haarmony.transform import Transform


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    for name, pixels in zip(("mri.png", "pet.png"), head(seed=3, size=96).pair("PET", 16), strict=True):
        write(folder / name, pixels)
    return folder / "mri.png", folder / "pet.png"


@pytest.fixture
def sources(caller, pair):
    return caller.upload(pair[0]), caller.upload(pair[1])


def small_volumes(folder, shape=(24, 20, 5)):
    """Two volumes, the second on a grid of its own, half as fine and a little off."""
    rng = np.random.default_rng(0)
    voxels = np.zeros(shape, np.float32)
    voxels[3:-3, 3:-3] = rng.random((shape[0] - 6, shape[1] - 6, shape[2])) / 2 + 0.3
    affine = np.diag([-2.0, -2.0, 4.0, 1.0])
    write(folder / "t1.nii.gz", Volume(voxels, (-10.0, 290.0), affine))
    coarse = affine @ np.diag([2.0, 2.0, 1.0, 1.0])
    write(folder / "pet.nii", Volume(voxels[::2, ::2] ** 2, (0.0, 8.0), coarse))
    return folder / "t1.nii.gz", folder / "pet.nii"


def png(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def nifti(folder, content):
    path = folder / "back.nii.gz"
    path.write_bytes(content)
    return read(path)


def test_info_lists_the_models_that_fuse(caller):
    info = caller.json("info")
    assert info["version"] == haarmony.__version__
    assert info["largest_upload"] == 2**30
    models = {model["name"]: model for model in info["models"]}
    assert list(models) == list(weights.cards(weights.ModelCard))
    card = weights.load_card(weights.find("medical"))
    assert models["medical"] == {
        "name": "medical",
        "title": card.title,
        "description": card.description,
        "intended_use": card.intended_use,
        "limits": card.limits,
        "steps": card.diffusion.steps,
        "most_steps": card.diffusion.timesteps,
        "coloured": "second",
    }
    assert (models["dif-fusion"]["steps"], models["dif-fusion"]["most_steps"]) == (None, None)


def test_a_picture_is_described_and_shown(caller, pair, sources):
    a, b = sources
    assert a == {
        "id": a["id"],
        "name": "mri.png",
        "kind": "picture",
        "shape": [96, 96],
        "colour": False,
        "depth": "8 bit",
        "values": [0, 255],
        "spacing": None,
        "unit": None,
        "notes": [],
    }
    assert (b["name"], b["colour"], b["shape"]) == ("pet.png", True, [96, 96])
    for path, source in zip(pair, sources, strict=True):
        shown = caller.get(f"sources/{source['id']}/picture.png")
        assert shown.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(png(shown.content), read(path).pixels)


def test_sixteen_bits_and_floats_are_shown_in_eight(caller, tmp_path):
    levels = (np.arange(400, dtype=np.uint16) * 163).reshape(20, 20)
    write(tmp_path / "deep.png", levels)
    source = caller.upload(tmp_path / "deep.png")
    assert (source["depth"], source["values"]) == ("16 bit", [0, 65535])
    shown = png(caller.get(f"sources/{source['id']}/picture.png").content)
    np.testing.assert_array_equal(shown, np.rint(levels / 257).astype(np.uint8))


def test_a_range_is_read_as_the_command_reads_it(caller, pair, tmp_path):
    source = caller.upload(pair[0], range="20,120")
    assert source["values"] == [20, 120]
    assert "values from 20 to 120" in source["notes"][0]
    shown = png(caller.get(f"sources/{source['id']}/picture.png").content)
    expected = read(pair[0], value_range=(20, 120))
    np.testing.assert_array_equal(shown, np.rint(255 * to_unit(expected.pixels)).astype(np.uint8))
    for wrong, says in (("1", "LO,HI"), ("5,2", "LO below HI"), ("nan,2", "finite")):
        assert says in caller.upload(pair[0], status=400, range=wrong)["error"]


def test_a_phantom_is_a_pair(caller):
    made = caller.post("phantom", {"second": "SPECT", "volume": False, "seed": 5})
    first, second = head(5).pair("SPECT", 16)
    for source, pixels in ((made["a"], first), (made["b"], second)):
        shown = png(caller.get(f"sources/{source['id']}/picture.png").content)
        np.testing.assert_array_equal(shown, pixels)
    assert [made["a"]["name"], made["b"]["name"]] == ["phantom-T2.png", "phantom-SPECT.png"]
    fits = caller.post("pair", {"a": made["a"]["id"], "b": made["b"]["id"]})
    assert fits == {"fits": True, "problem": None, "misaligned": None, "plane": None}


def test_pairs_that_do_not_fit_say_why(caller, sources, tmp_path):
    write(tmp_path / "small.png", np.zeros((20, 30), np.uint8))
    volume = caller.upload(small_volumes(tmp_path)[0])
    small = caller.upload(tmp_path / "small.png")
    for other, says in (
        (small, "the sources differ in size: 96×96 the first, 30×20 the second"),
        (volume, "one source is a volume, the other a picture; give two of a kind"),
    ):
        found = caller.post("pair", {"a": sources[0]["id"], "b": other["id"]})
        assert found == {"fits": False, "problem": says, "misaligned": None, "plane": None}
    assert "id" not in caller.post("pair", {"a": sources[0]["id"], "b": "nothing"}, 404)


def test_a_moved_pair_is_noticed_and_aligned(caller, tmp_path):
    pytest.importorskip("SimpleITK")
    a, b = head(seed=3).pair("PET", 16)
    write(tmp_path / "a.png", a)
    write(tmp_path / "b.png", np.roll(b, (14, 10), (0, 1)))
    first, second = caller.upload(tmp_path / "a.png"), caller.upload(tmp_path / "b.png")
    seen = caller.post("pair", {"a": first["id"], "b": second["id"]})["misaligned"]
    assert seen["shift"] == pytest.approx(np.hypot(14, 10), abs=3)
    assert (seen["unit"], seen["nmi_there"] > seen["nmi"]) == ("px", True)
    plain = caller.fuse(first, second, steps=1)
    assert "the pair seems misaligned" in plain["warnings"][0]
    assert "--register" not in plain["warnings"][0]
    run = caller.fuse(first, second, steps=1, register="rigid")
    assert run["transform"]["shift"] == pytest.approx(np.hypot(14, 10), abs=1)
    assert run["transform"]["nmi_after"] > run["transform"]["nmi_before"]
    (tmp_path / "transform.json").write_bytes(caller.file(run, "transform.json"))
    assert Transform.load(tmp_path / "transform.json").shift == run["transform"]["shift"]
    aligned = png(caller.file(run, "aligned_b.png"))
    inner = np.s_[20:-20, 20:-20]
    near = np.abs(aligned[inner].astype(float) / aligned.max() - b[inner] / 255).mean()
    far = np.abs(np.roll(b, (14, 10), (0, 1))[inner] / 255 - b[inner] / 255).mean()
    assert near < far / 3
    repeated(caller, run, tmp_path, caller.file(run, "fused.png"), "fused.png")


def repeated(caller, run, folder, expected, name):
    """The manifest's command, where the sources lie, makes the same bytes."""
    manifest = json.loads(caller.file(run, "manifest.json"))
    words = shlex.split(manifest["command"])
    assert words[:2] == ["haarmony", "fuse"]
    assert str(caller.folder) not in json.dumps(manifest)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main([*words[1:], "--quiet"]) == 0
    assert (folder / name).read_bytes() == expected
    assert manifest["fused"] == {"file": name, "sha256": hashlib.sha256(expected).hexdigest()}
    return manifest


def test_a_run_makes_the_commands_bytes(caller, pair, sources, tmp_path):
    settings = {"steps": 2, "seed": 7, "colour": "first"}
    run = caller.fuse(*sources, **settings)
    assert (run["state"], run["error"], run["a"], run["b"]) == (
        "done", None, sources[0]["id"], sources[1]["id"],
    )  # fmt: skip
    assert run["settings"] == {
        "model": "medical", "steps": 2, "seed": 7, "colour": "first", "plane": "auto",
        "register": "none", "explain": False, "seeds": 2,
    }  # fmt: skip
    for path in pair:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    argv = ["fuse", *map(str, pair), "-o", str(tmp_path / "own.png"), "--steps", "2", "--seed", "7"]
    assert cli.main([*argv, "--colour", "first", "--quiet"]) == 0
    fused = caller.file(run, "fused.png")
    assert fused == (tmp_path / "own.png").read_bytes()
    manifest = repeated(caller, run, tmp_path, fused, "fused.png")
    assert [source["sha256"] for source in manifest["sources"]] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in pair
    ]
    np.testing.assert_array_equal(png(caller.file(run, "fused_preview.png")), png(fused))
    assert run["files"] == ["fused.png", "fused_preview.png", "figure.png", "manifest.json", "all.zip"]
    with zipfile.ZipFile(io.BytesIO(caller.file(run, "all.zip"))) as everything:
        assert everything.namelist() == run["files"][:-1]
        assert everything.read("fused.png") == fused
    assert png(caller.file(run, "figure.png")).shape[1] > 3 * 96
    assert 0 < run["seconds"] < 60


def test_the_metrics_are_the_librarys(caller, pair, sources):
    run = caller.fuse(*sources, steps=1)
    f, a, b = png(caller.file(run, "fused.png")), *(read(path).pixels for path in pair)
    symbols = [row["symbol"] for row in run["metrics"]]
    expected = score(f, a, b, metrics=symbols)
    assert {"VIF", "Qabf", "SSIM", "function", "CIEDE2000"} <= set(symbols)
    for row in run["metrics"]:
        assert row["value"] == pytest.approx(float(expected[row["symbol"]]), rel=1e-6)
    better = {row["symbol"]: row["higher_is_better"] for row in run["metrics"]}
    assert (better["SSIM"], better["Nabf"]) == (True, False)


def test_the_maps_are_the_explanations(caller, pair, sources):
    run = caller.fuse(*sources, steps=2, explain=True, seeds=3)
    why = Fuser().explain(*map(read, pair), steps=2, seeds=3)
    np.testing.assert_array_equal(png(caller.file(run, "fused.png")), why.fused.pixels)
    told = json.loads(caller.file(run, "explain.json"))
    assert told == run["explain"]
    assert told["seeds"] == [42, 43, 44]
    assert told["flagged"] == pytest.approx(why.flagged)
    assert told["function"]["value"] == pytest.approx(why.function.value)
    assert run["warnings"] == list(why.warnings)
    for name in ("spread", "unsupported", "share_a", "share_b"):
        levels, white = png(caller.file(run, f"{name}.png")), told["scales"][name]
        expected = np.minimum(getattr(why, name), white)
        np.testing.assert_allclose(levels / 65535 * white, expected, atol=white / 65000, err_msg=name)
    assert told["scales"]["spread"] >= why.spread.max()
    shares = [png(caller.file(run, f"share_{side}.png")).astype(int) for side in "ab"]
    assert set(np.unique(sum(shares))) == {0, 65535}


def test_the_steps_are_told_as_they_come(caller, pair, sources, monkeypatch):
    monkeypatch.setattr("haarmony.app.runs.APART", 0)
    run = caller.start(*sources, steps=3)
    events = caller.events(run)
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    steps = [event for event in events if event["type"] == "step"]
    assert [(event["done"], event["of"]) for event in steps] == [(1, 3), (2, 3), (3, 3)]
    seen = []
    Fuser()(*map(read, pair), steps=3, callback=lambda done, of, f: seen.append(np.rint(255 * f)))
    for event, luma in zip(steps, seen, strict=True):
        kind, data = event["picture"].split(",")
        assert kind == "data:image/png;base64"
        np.testing.assert_array_equal(png(base64.b64decode(data)), luma)
    assert events[-1]["type"] == "done"
    assert events[-1]["run"] == caller.json(f"runs/{run}")
    # A page that was loaded again goes on from what it has heard.
    assert caller.events(run, after=2) == events[2:]
    assert caller.events(run, after=99) == []
    assert "number" in caller.get(f"runs/{run}/events?after=-1", 400).json()["error"]


def test_only_the_last_steps_are_kept(caller, sources, monkeypatch):
    monkeypatch.setattr("haarmony.app.runs.APART", 0)
    monkeypatch.setattr("haarmony.app.runs.STEPS", 4)
    events = caller.events(caller.fuse(*sources, steps=12)["id"])
    assert [event["done"] for event in events[:-1]] == [9, 10, 11, 12]
    assert events[-1]["n"] == 13


def test_a_run_stops_between_its_steps(caller, sources):
    run = caller.start(*sources, steps=900)
    caller.until(lambda: caller.runs.heard(caller.runs.get(run), 0)[0])
    assert caller.post(f"runs/{run}/stop", {})["state"] == "stopped"
    events = caller.events(run)
    assert events[-1]["type"] == "stopped"
    assert max(event["done"] for event in events[:-1]) < 900
    stopped = caller.json(f"runs/{run}")
    assert (stopped["files"], stopped["metrics"]) == ([], [])
    assert caller.post(f"runs/{run}/stop", {})["state"] == "stopped"  # twice is as once
    caller.until(lambda: not (caller.folder / "runs" / run).exists())
    assert caller.fuse(*sources, steps=1)["state"] == "done"


def test_two_runs_go_one_after_the_other(caller, sources):
    first = caller.start(*sources, steps=40)
    second = caller.start(*sources, steps=1, seed=1)
    third = caller.start(*sources, steps=1)
    caller.post(f"runs/{third}/stop", {})
    waited = caller.events(second)
    assert waited[0] == {"n": 1, "type": "note", "text": "waits for the run before it"}
    assert [caller.json(f"runs/{run}")["state"] for run in (first, second, third)] == [
        "done", "done", "stopped",
    ]  # fmt: skip
    alone = caller.fuse(*sources, steps=1, seed=1)
    assert caller.file(alone, "fused.png") == caller.file({"id": second}, "fused.png")


def test_what_cannot_be_fused_fails_in_one_line(caller, sources, tmp_path):
    write(tmp_path / "small.png", np.zeros((20, 30), np.uint8))
    small = caller.upload(tmp_path / "small.png")
    run = caller.start(sources[0], small, steps=1)
    (failed,) = caller.events(run)
    assert failed["type"] == "failed"
    assert "different sizes (96×96 and 20×30)" in failed["error"]
    assert caller.json(f"runs/{run}")["state"] == "failed"


def test_volumes_are_shown_on_the_first_ones_grid_and_fused(caller, tmp_path):
    paths = small_volumes(tmp_path)
    a, b = (caller.upload(path) for path in paths)
    assert (a["kind"], a["shape"], a["spacing"]) == ("volume", [24, 20, 5], [2, 2, 4])
    assert (b["shape"], b["spacing"]) == ([12, 10, 5], [4, 4, 4])
    first, second = map(read, paths)
    own = nifti(tmp_path, caller.get(f"sources/{b['id']}/volume.nii.gz").content)
    np.testing.assert_allclose(own.voxels, second.voxels, atol=1e-4)
    found = caller.post("pair", {"a": a["id"], "b": b["id"]})
    assert (found["fits"], found["plane"]) == (True, "axial")
    shown = caller.get(f"sources/{b['id']}/volume.nii.gz").content
    assert gzip.decompress(shown)
    there, expected = nifti(tmp_path, shown), volumes.aligned(first, second)[1]
    assert there.shape == (24, 20, 5)
    lo, hi = there.value_range
    values = lo + there.voxels * (hi - lo)
    low, high = expected.value_range
    np.testing.assert_allclose(values, low + expected.voxels * (high - low), atol=2e-4 * high)


def test_volumes_are_fused_as_the_command_fuses_them(caller, tmp_path):
    paths = small_volumes(tmp_path, (24, 20, 17))
    a, b = (caller.upload(path) for path in paths)
    run = caller.start(a, b, steps=1, plane="sagittal", explain=True)
    events = caller.events(run)
    steps = [event for event in events if event["type"] == "step"]
    assert (steps[-1]["done"], steps[-1]["of"]) == (24, 24)
    run = events[-1]["run"]
    assert any("resampled by its affine" in note for note in run["notes"])
    assert run["files"] == [
        "fused.nii.gz", "unsupported.nii.gz", "spread.nii.gz", "share_a.nii.gz", "share_b.nii.gz",
        "explain.json", "figure.png", "manifest.json", "all.zip",
    ]  # fmt: skip
    fused = caller.file(run, "fused.nii.gz")
    repeated(caller, run, tmp_path, fused, "fused.nii.gz")
    why = Fuser().explain(*map(read, paths), steps=1, plane="sagittal", seeds=2)
    for name in ("spread", "unsupported", "share_a"):
        there = nifti(tmp_path, caller.file(run, f"{name}.nii.gz"))
        np.testing.assert_allclose(there.affine, why.fused.affine)
        lo, hi = there.value_range
        values, white = lo + there.voxels * (hi - lo), run["explain"]["scales"][name]
        expected = np.minimum(getattr(why, name), white)
        np.testing.assert_allclose(values, expected, atol=white / 30000, err_msg=name)
    assert {"SSIM", "SD"} <= {row["symbol"] for row in run["metrics"]}


def test_a_phantom_volume_repeats_from_the_archive(caller, tmp_path, monkeypatch):
    monkeypatch.setattr("haarmony.app.store.SIDE", 48)
    monkeypatch.setattr("haarmony.app.store.HEIGHTS", (10.0, 16.0))
    made = caller.post("phantom", {"second": "PET", "volume": True, "seed": 0})
    assert (made["a"]["shape"], made["a"]["colour"], made["b"]["colour"]) == ([48, 48, 2], False, True)
    shown = nifti(tmp_path, caller.get(f"sources/{made['b']['id']}/volume.nii.gz").content)
    np.testing.assert_array_equal(
        volumes.upright(shown.voxels, shown.affine, "axial")[:, :, 1], head(0, 48).pair("PET", 16)[1]
    )
    run = caller.fuse(made["a"], made["b"], steps=1)
    with zipfile.ZipFile(io.BytesIO(caller.file(run, "all.zip"))) as everything:
        everything.extractall(tmp_path / "all")
    expected = (tmp_path / "all" / "fused.nii.gz").read_bytes()
    (tmp_path / "all" / "fused.nii.gz").unlink()
    repeated(caller, run, tmp_path / "all", expected, "fused.nii.gz")


def test_a_packed_volume_keeps_its_ending(caller, tmp_path):
    path = small_volumes(tmp_path)[0]
    source = caller.upload((f"a folder/über {path.name}", path.read_bytes()))
    assert (source["name"], source["kind"]) == ("über t1.nii.gz", "volume")


def test_a_dicom_folder_is_one_source(caller, tmp_path):
    from dicoms import series_in

    voxels = np.random.default_rng(1).integers(-200, 900, (3, 20, 18)).astype(np.int16)
    series_in(tmp_path / "ct", voxels)
    names = sorted((tmp_path / "ct").iterdir())
    files = [(f"scan/{k}/IM1", path.read_bytes()) for k, path in enumerate(names)]
    source = caller.upload(*files)
    assert (source["name"], source["kind"], source["shape"]) == ("scan", "volume", [18, 20, 3])
    assert (source["unit"], source["values"]) == ("HU", [voxels.min(), voxels.max()])
    brain = caller.upload(*files, window="brain")
    assert brain["values"] == [0, 80]
    assert "give one of them" in caller.upload(*files, status=400, window="brain", range="0,1")["error"]
    error = caller.upload(*files, status=400, window="liver")["error"]
    assert error.startswith("no window 'liver'")
    other = caller.upload(*[(f"mr/{path.name}", path.read_bytes()) for path in names], range="-100,700")
    run = caller.fuse(brain, other, steps=1)
    (tmp_path / "scan").symlink_to(tmp_path / "ct")
    (tmp_path / "mr").symlink_to(tmp_path / "ct")
    manifest = repeated(caller, run, tmp_path, caller.file(run, "fused.nii.gz"), "fused.nii.gz")
    assert "--range-a=0.0,80.0 --range-b=-100.0,700.0" in manifest["command"]


def test_one_of_several_series_is_chosen(caller, tmp_path):
    from dicoms import series_in

    voxels = np.zeros((2, 20, 18), np.int16)
    voxels[:, 5:9] = 100
    series_in(tmp_path / "one", voxels, series="1.2.1", number=3)
    series_in(tmp_path / "two", np.repeat(voxels, 2, axis=0), series="1.2.2", number=12, modality="MR")
    files = [
        (f"study/{path.parent.name}/{path.name}", path.read_bytes())
        for path in sorted(tmp_path.rglob("*.dcm"))
    ]
    several = caller.upload(*files)["series"]
    assert several == [
        {"number": 3, "description": "CT of Jane", "modality": "CT", "slices": 2},
        {"number": 12, "description": "MR of Jane", "modality": "MR", "slices": 4},
    ]
    assert not any((caller.folder / "sources").iterdir())
    assert caller.upload(*files, series="12")["shape"] == [18, 20, 4]
    assert "no series '7'" in caller.upload(*files, series="7", status=400)["error"]


def test_two_sources_of_one_name_are_told_apart(caller, pair):
    a, b = (caller.upload(("slice.png", path.read_bytes())) for path in pair)
    manifest = json.loads(caller.file(caller.fuse(a, b, steps=1), "manifest.json"))
    assert "a/slice.png b/slice.png" in manifest["command"]


def test_the_oldest_source_goes_first(caller, pair):
    kept = [caller.upload(pair[0])["id"] for _ in range(10)]
    for key in kept[:2]:
        assert "not here any more" in caller.get(f"sources/{key}/picture.png", 404).json()["error"]
    for key in kept[2:]:
        caller.get(f"sources/{key}/picture.png")
    assert sorted(path.name for path in (caller.folder / "sources").iterdir()) == sorted(kept[2:])


def test_the_oldest_run_goes_first(caller, sources):
    kept = [caller.fuse(*sources, steps=1)["id"] for _ in range(9)]
    caller.get(f"runs/{kept[0]}", 404)
    caller.get(f"runs/{kept[1]}/files/fused.png")
    assert sorted(path.name for path in (caller.folder / "runs").iterdir()) == sorted(kept[1:])


def test_a_source_that_a_run_needs_stays(caller, pair, sources):
    run = caller.start(*sources, steps=900)
    for _ in range(8):
        caller.upload(pair[0])
    for source in sources:
        caller.get(f"sources/{source['id']}/picture.png")
    for _ in range(7):
        caller.start(*sources, steps=900)
    asked = {"a": sources[0]["id"], "b": sources[1]["id"], "model": "medical"}
    assert "8 runs wait already" in caller.post("runs", asked, 409)["error"]
    caller.post(f"runs/{run}/stop", {})
    caller.post("runs", asked, 202)


def test_alignment_without_its_extra_says_what_to_install(caller, sources, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert caller.json("info")["register"] is False
    run = caller.fuse(*sources, steps=1, register="rigid")
    assert (run["state"], run["error"]) == (
        "failed",
        'SimpleITK is not installed: pip install "haarmony[register]"',
    )
