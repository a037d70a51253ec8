"""Folders of sources and of what was fused of them."""

from pathlib import Path

import numpy as np
import pytest

from haarmony.io import write


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """The working directory: mri (grey), pet (RGB) and fused (grey, their maximum) of p1 to p3, 48×44."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    for name in ("mri", "pet", "fused"):
        (tmp_path / name).mkdir()
    for stem in ("p1", "p2", "p3"):
        y, x = np.mgrid[:44, :48]
        head = (x - 24) ** 2 / 20**2 + (y - 22) ** 2 / 18**2 < 1
        a = np.where(head, 90 + 60 * np.sin(x / 3) + rng.normal(0, 6, x.shape), 0)
        heat = np.where(head, 200 * np.exp(-((x - 30) ** 2 + (y - rng.integers(15, 30)) ** 2) / 60), 0)
        a, hot = (np.clip(np.rint(v), 0, 255).astype(np.uint8) for v in (a, heat))
        pet = np.stack([hot, hot // 2, hot // 3], axis=-1)
        luma = np.rint(pet @ [0.299, 0.587, 0.114]).astype(np.uint8)
        write(f"mri/{stem}.png", a)
        write(f"pet/{stem}.png", pet)
        write(f"fused/{stem}.png", np.maximum(a, luma))
    return tmp_path
