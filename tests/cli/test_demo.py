"""`haarmony demo` and `haarmony models`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haarmony import colour
from haarmony.io import read, to_unit
from haarmony.phantom import head


def luma(path: str) -> np.ndarray:
    return colour.to_luma(to_unit(read(path).pixels))


def test_demo_writes_sources_fused_pictures_and_one_sheet(run, shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("demo")
    assert (code, len(out), err) == (0, 3, [])
    assert out[0].startswith("6 pairs fused, ")
    assert out[1] == "sources and fused pictures: demo/mri-pet, demo/mri-spect, demo/mri-ct"
    assert out[2] == "overview: demo/overview.png"
    for second in ("pet", "spect", "ct"):
        for z in (16, 46):
            name = f"z{z}.png"
            mri, other, fused = (f"demo/mri-{second}/{kind}/{name}" for kind in ("mri", second, "fused"))
            for path, expected in zip((mri, other), head().pair(second.upper(), z), strict=True):
                np.testing.assert_array_equal(read(path).pixels, expected)
            np.testing.assert_allclose(luma(fused), np.maximum(luma(mri), luma(other)), atol=0.5 / 255 + 1e-3)
    sheet = read("demo/overview.png").pixels
    assert sheet.shape[0] > 3 * 256
    assert sheet.shape[1] > 6 * 256
    before = Path("demo/overview.png").read_bytes()
    assert run("demo", "-o", "demo")[0] == 0
    assert Path("demo/overview.png").read_bytes() == before
    for name in ("demo/mri-ct/fused/z46.png", "demo/overview.png"):
        ours = Path(name).read_bytes()
        Path(name).write_bytes(b"mine")
        Path("demo/mri-pet/mri/z16.png").unlink(missing_ok=True)
        code, out, err = run("demo")
        assert (code, out) == (2, [])
        assert err == [f"haarmony: {name}: exists already and is another; --overwrite replaces it"]
        assert Path(name).read_bytes() == b"mine"
        assert not Path("demo/mri-pet/mri/z16.png").exists()  # nothing is written then
        assert run("demo", "--overwrite")[0] == 0
        assert Path(name).read_bytes() == ours


def test_demo_needs_a_folder(run, shipped, tmp_path):
    (tmp_path / "file").write_text("precious")
    code, out, err = run("demo", "-o", tmp_path / "file")
    assert (code, out, len(err)) == (2, [], 1)
    assert str(tmp_path / "file") in err[0]
    assert (tmp_path / "file").read_text() == "precious"


def test_models_lists_cards_and_scores(run, shipped):
    code, out, err = run("models")
    assert (code, err) == (0, [])
    assert out == [
        "medical: The pixel-wise maximum (2 steps, 1.23 million parameters)",
        "  for: Tests.",
        "  limits: None: it is exact.",
        "  trained on: None.",
        "  validation    VIF   SSIM  function",
        "  MRI-CT      0.638  1.379",
        "  MRI-PET     0.931            0.880",
    ]


@pytest.mark.parametrize("command", ["fuse", "demo"])
def test_a_damaged_model_is_not_loaded(run, shipped, model, here, monkeypatch, command):
    content = (model / "refiner.onnx").read_bytes()
    (model / "refiner.onnx").write_bytes(content[:-1] + b"?")
    argv = ("fuse", "mri.png", "pet.png") if command == "fuse" else ("demo",)
    try:
        code, out, err = run(*argv, "-o", "out.png")
    finally:
        (model / "refiner.onnx").write_bytes(content)
    assert (code, out, len(err)) == (2, [], 1)
    assert "refiner.onnx: sha256" in err[0]
    assert not Path("out.png").exists()
