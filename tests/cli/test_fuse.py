"""`haarmony fuse` with a model whose result is known: the pixel-wise maximum of the lumas."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from haarmony import colour, jobs, phantom
from haarmony.io import read, to_unit, write


def luma(path: str) -> np.ndarray:
    return colour.to_luma(to_unit(read(path).pixels))


def state(folder: str | Path = ".") -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes and when it was last written."""
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def fuse(run, model):
    return lambda *argv: run("fuse", *argv, "--model", model)


def test_two_files(here, fuse):
    code, out, err = fuse("mri.png", "pet.png", "-o", "fused.png")
    assert (code, len(out), err) == (0, 1, [])
    assert read("fused.png").pixels.shape == (20, 18, 3)
    expected = np.maximum(luma("mri.png"), luma("pet.png"))
    # Each of the three channels is rounded to 8 bit.
    np.testing.assert_allclose(luma("fused.png"), expected, atol=0.5 / 255 + 1e-3)


def test_colour_grey(here, fuse):
    assert fuse("mri.png", "pet.png", "-o", "fused.png", "--colour", "grey")[0] == 0
    pixels = read("fused.png").pixels
    assert pixels.ndim == 2 or np.ptp(pixels, axis=2).max() == 0


def test_the_same_seed_gives_the_same_bytes(here, fuse):
    for name in ("one.png", "two.png"):
        assert fuse("mri.png", "pet.png", "-o", name, "--seed", "7", "--steps", "3")[0] == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


def test_quiet_says_nothing(here, fuse):
    Image.fromarray(read("mri.png").pixels).convert("P").save("mri.png")
    assert fuse("mri.png", "pet.png", "-o", "fused.png", "--quiet") == (0, [], [])
    assert fuse("mri.png", "pet.png", "-o", "fused.png", "--overwrite")[2] == [
        "mri.png: palette converted to RGB"
    ]


def test_an_output_that_exists_is_replaced_only_when_told(here, fuse):
    write("fused.png", np.zeros((16, 16), np.uint8))
    before = state()
    code, out, err = fuse("mri.png", "pet.png", "-o", "fused.png")
    assert (code, out, err) == (2, [], ["haarmony: fused.png: exists already; --overwrite replaces it"])
    assert state() == before
    assert fuse("mri.png", "pet.png", "-o", "fused.png", "--overwrite")[0] == 0
    assert read("fused.png").pixels.shape == (20, 18, 3)


def cut(path: str, keep: float) -> bytes:
    content = Path(path).read_bytes()
    return content[: int(keep * len(content))]


def make_bad(name: str) -> None:
    """Write the bad source that `name` speaks of."""
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (20, 18), dtype=np.uint8)
    picture = Image.fromarray(grey)
    if name == "empty.png":
        Path(name).write_bytes(b"")
    elif name == "truncated.png":
        Path(name).write_bytes(cut("pet.png", 0.6))
    elif name == "header.png":
        Path(name).write_bytes(cut("pet.png", 0.02))
    elif name == "text.png":
        Path(name).write_text("no picture at all\n")
    elif name == "animated.gif":
        picture.save(name, save_all=True, append_images=[Image.fromarray(255 - grey)])
    elif name == "cmyk.jpg":
        picture.convert("CMYK").save(name)
    elif name == "transparent.png":
        Image.fromarray(np.dstack([grey, grey, grey, grey])).save(name)
    elif name == "nan.tif":
        write("nan.tif", grey / np.float32(255))
        import tifffile

        tifffile.imwrite(name, np.where(grey > 200, np.nan, grey / np.float32(255)))
    elif name == "other-size.png":
        write(name, grey[:16, :16])
    elif name == "tiny.png":
        write(name, grey[:8, :8])
    elif name == "folder.png":
        Path(name).mkdir()


BAD = {
    "none.png": "no such file",
    "empty.png": "empty",
    "truncated.png": "damaged",
    "header.png": "",
    "text.png": "no PNG, TIFF, JPEG, BMP or GIF picture",
    "animated.gif": "2 pictures",
    "cmyk.jpg": "CMYK",
    "transparent.png": "transparent",
    "nan.tif": "finite",
    "other-size.png": "16",
    "tiny.png": "8",
    "folder.png": "is a folder",
}


@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_source_is_named_and_nothing_is_touched(here, fuse, bad, place):
    make_bad(bad)
    write("old.png", np.zeros((16, 16), np.uint8))
    sources = ["mri.png", "mri.png"]
    sources[place] = bad
    before = state()
    code, out, err = fuse(*sources, "-o", "old.png", "--overwrite")
    assert (code, out) == (2, [])
    assert 1 <= len(err) <= 3
    assert err[0].startswith("haarmony: ")
    assert bad in err[0]
    assert BAD[bad] in err[0]
    assert state() == before


def test_unequal_sizes_say_both(here, fuse):
    make_bad("other-size.png")
    _, _, err = fuse("mri.png", "other-size.png", "-o", "fused.png")
    assert all(text in err[0] for text in ("mri.png", "other-size.png", "18", "20", "16"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["mri.png", "pet.png", "-o", "none/fused.png"], "none"),
        (["mri.png", "pet.png", "-o", "mri.png/fused.png"], "mri.png"),
        (["mri.png", "pet.png", "-o", "mri.png", "--overwrite"], "mri.png: is a source"),
        (["mri.png", "pet.png", "-o", "pet.png", "--overwrite"], "pet.png: is a source"),
        (["mri.png", "pet.png", "-o", "mri"], "mri: is a folder"),
        (["mri.png", "pet.png", "-o", "fused.xyz"], "fused.xyz"),
        (["mri.png", "pet.png", "-o", "fused"], "fused"),
        (["mri", "pet.png", "-o", "fused.png"], "mri: is a folder but pet.png is a file"),
        (["mri.png", "pet", "-o", "fused.png"], "pet: is a folder but mri.png is a file"),
        (["mri", "pet", "-o", "mri"], "mri: is or lies in the source folder"),
        (["mri", "pet", "-o", "pet/out"], "pet/out: is or lies in the source folder"),
        (["mri", "pet", "-o", "mri.png"], "mri.png"),
        (["mri", "none", "-o", "out"], "none: there is no such file or folder"),
        (["mri", "lonely", "-o", "out"], "mri and lonely: no stem in common"),
        (["mri", "twice", "-o", "out"], "twice: p1.png and p1.tif share a stem"),
        (["mri.png", "pet.png", "-o", "fused.png", "--steps", "1000000"], "1000000"),
    ],
)
def test_bad_paths_and_options_touch_nothing(here, fuse, argv, says):
    for folder, names in (("lonely", ["q1.png"]), ("twice", ["p1.png", "p1.tif"])):
        Path(folder).mkdir()
        for name in names:
            write(f"{folder}/{name}", np.zeros((20, 18), np.uint8))
    before = state(), sorted(os.listdir())
    code, out, err = fuse(*argv)
    assert (code, out, len(err)) == (2, [], 1)
    assert says in err[0]
    assert (state(), sorted(os.listdir())) == before


@pytest.mark.parametrize("sources", [["mri.png", "pet.png"], ["mri", "pet"]], ids=["files", "folders"])
def test_a_closed_folder(here, fuse, monkeypatch, sources):
    # Permissions do not bind root, whom CI may run as.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    code, _, err = fuse(*sources, "-o", "out.png")
    assert (code, len(err)) == (2, 1)
    assert "out.png: the folder" in err[0]
    assert "cannot be written to" in err[0]


@pytest.mark.parametrize("sources", [["mri.png", "pet.png"], ["mri", "pet"]], ids=["files", "folders"])
def test_an_unknown_model(here, run, sources):
    before = state(), sorted(os.listdir())
    code, out, err = run("fuse", *sources, "-o", "out.png", "--model", "nothing")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("haarmony: unknown model 'nothing'")
    assert (state(), sorted(os.listdir())) == before


def damage(name: str, folder: Path) -> None:
    """Make the model in `folder` what `name` says, its sha256 those of its files."""
    card, encoder = folder / "card.toml", folder / "encoder.onnx"
    if name == "junk":
        encoder.write_bytes(b"no graph")
    elif name == "swapped":
        encoder.write_bytes((folder / "denoiser.onnx").read_bytes())
    elif name == "other codec":
        card.write_text(card.read_text().replace('"haar"', '"identity"'))
    elif name == "huge grid":
        card.write_text(card.read_text().replace("[diffusion]", "[diffusion]\ngrid = 10_000_000"))
    elif name == "no depth":
        card.write_text(card.read_text().replace("denoiser_depth", "denoiser_death"))
    elif name == "nested":
        card.write_text("name = " + 100_000 * "[")
    text = re.sub('"encoder.onnx" = ".*"', f'"encoder.onnx" = "{sha256(encoder)}"', card.read_text())
    card.write_text(text)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("junk", "encoder.onnx: cannot be loaded"),
        ("swapped", "the model cannot run on inputs of ("),
        ("other codec", "the model cannot run on inputs of ("),
        ("huge grid", "card.toml: diffusion.grid: Input should be less than or equal to 512"),
        ("no depth", "card.toml: net: no depth of a network ('denoiser_depth')"),
        ("nested", "card.toml: not readable as TOML"),
    ],
)
def test_a_damaged_model_is_one_line(here, run, model, name, says):
    shutil.copytree(model, "model")
    damage(name, Path("model"))
    code, out, err = run("fuse", "mri.png", "pet.png", "-o", "out.png", "--model", "model")
    assert (code, out, len(err)) == (2, [], 1)
    assert says in err[0]
    assert not Path("out.png").exists()


def test_folders(here, fuse):
    code, out, err = fuse("mri", "pet", "-o", "deep/out")
    assert (code, out) == (0, ["deep/out: 3 fused, 0 skipped, 0 failed"])
    assert [line.split(" in ")[0] for line in err] == ["[1/3] p1 fused", "[2/3] p2 fused", "[3/3] p3 fused"]
    assert sorted(os.listdir("deep/out")) == ["manifest.csv", "manifest.jsonl", "p1.png", "p2.png", "p3.png"]
    for stem in ("p1", "p2", "p3"):
        expected = np.maximum(luma(f"mri/{stem}.png"), luma(f"pet/{stem}.png"))
        np.testing.assert_allclose(luma(f"deep/out/{stem}.png"), expected, atol=0.5 / 255 + 1e-3)


def test_a_pair_of_folders_makes_what_the_two_files_make(here, fuse):
    fuse("mri", "pet", "-o", "out", "--quiet")
    fuse("mri/p2.png", "pet/p2.png", "-o", "p2.png", "--quiet")
    assert Path("out/p2.png").read_bytes() == Path("p2.png").read_bytes()


def test_a_bad_pair_is_reported_and_the_rest_go_on(here, fuse):
    Path("pet/p2.png").write_text("no picture")
    code, out, err = fuse("mri", "pet", "-o", "out")
    assert (code, out) == (1, ["out: 2 fused, 0 skipped, 1 failed"])
    assert err[1].startswith("p2 failed: pet/p2.png: ")
    assert sorted(os.listdir("out")) == ["manifest.csv", "manifest.jsonl", "p1.png", "p3.png"]
    code, out, err = fuse("mri", "pet", "-o", "out", "--quiet")
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("p2 failed: pet/p2.png: ")


def test_outputs_that_exist_are_skipped(here, fuse):
    fuse("mri", "pet", "-o", "out")
    Path("out/p2.png").unlink()
    before = state("out")
    code, out, err = fuse("mri", "pet", "-o", "out")
    assert (code, out) == (0, ["out: 1 fused, 2 skipped, 0 failed"])
    assert err[0] == "[1/3] p1 skipped"
    kept = [f"out/{name}.png" for name in ("p1", "p3")]
    assert [before[name] for name in kept] == [state("out")[name] for name in kept]
    assert fuse("mri", "pet", "-o", "out", "--overwrite")[1] == ["out: 3 fused, 0 skipped, 0 failed"]


def test_stems_of_one_folder_alone_are_listed(here, fuse):
    for i in range(8):
        write(f"mri/x{i}.png", np.zeros((20, 18), np.uint8))
    write("pet/y.png", np.zeros((20, 18), np.uint8))
    code, out, err = fuse("mri", "pet", "-o", "out")
    assert (code, out) == (0, ["out: 3 fused, 0 skipped, 0 failed"])
    assert err[:2] == ["only in mri: x0, x1, x2, x3, x4 and 3 more", "only in pet: y"]


def test_unfinished_files_of_an_earlier_run_go(here, fuse):
    Path("out").mkdir()
    for name in ("p1.png.part", "mine.part"):
        Path("out", name).write_bytes(b"half")
    fuse("mri", "pet", "-o", "out", "--quiet")
    assert sorted(Path("out").glob("*.p*")) == [
        Path("out", name) for name in ("mine.part", "p1.png", "p2.png", "p3.png")
    ]


def test_on_a_terminal_a_bar_shows_the_time_left(here, model):
    pty = pytest.importorskip("pty")
    Path("pet/p2.png").write_text("no picture")
    theirs, ours = pty.openpty()
    argv = [sys.executable, "-m", "haarmony", "fuse", "mri", "pet", "-o", "out", "--model", str(model)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=ours, text=True, env=environment) as process:
        os.close(ours)
        shown = b""
        try:
            while chunk := os.read(theirs, 4096):
                shown += chunk
        except OSError:  # Linux says the end of a terminal so
            pass
        os.close(theirs)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "out: 2 fused, 0 skipped, 1 failed\n")
    assert b"p2 failed: pet/p2.png: " in shown
    assert b"0:00:00" in shown


def test_a_file_that_appears_during_a_job_is_refused_in_a_line(here, fuse, monkeypatch):
    said = jobs.Fusing.align

    def slow(*of):
        Path("fused.png").write_bytes(b"mine")
        return said(*of)

    monkeypatch.setattr(jobs.Fusing, "align", slow)
    problem = ["haarmony: fused.png: exists already; --overwrite replaces it"]
    assert fuse("mri.png", "pet.png", "-o", "fused.png") == (2, [], problem)
    assert Path("fused.png").read_bytes() == b"mine"
    assert not Path("fused.png.part").exists()


def test_a_plane_is_of_volumes(here, fuse):
    problem = "planes (coronal) are of volumes; the sources are pictures"
    code, out, err = fuse("mri.png", "pet.png", "-o", "fused.png", "--plane", "coronal")
    assert (code, out, err) == (2, [], [f"haarmony: mri.png with pet.png: {problem}"])
    assert not Path("fused.png").exists()
    code, out, err = fuse("mri", "pet", "-o", "out", "--plane", "coronal", "--quiet")
    assert (code, out) == (1, [])
    assert err == [f"p{i} failed: mri/p{i}.png with pet/p{i}.png: {problem}" for i in (1, 2, 3)]


@pytest.mark.parametrize("quiet", [["--quiet"], []], ids=["quiet", "loud"])
def test_a_pair_that_seems_misaligned_is_said_quiet_or_not(tmp_path, monkeypatch, fuse, quiet):
    monkeypatch.chdir(tmp_path)
    first, second = phantom.head(7, 128).pair("CT", 20)
    for folder, pixels in (("a", first), ("b", np.roll(second, (6, -5), (0, 1)))):
        Path(folder).mkdir()
        write(f"{folder}/p.png", pixels)
    for sources, out in ((("a/p.png", "b/p.png"), "p.png"), (("a", "b"), "out")):
        code, _, err = fuse(*sources, "-o", out, *quiet)
        assert code == 0
        assert err[-1].startswith("b/p.png: the pair seems misaligned, by ")
        assert len(err) == (1 if quiet or out == "p.png" else 2)
