"""Numbers that other people's code prints, and our own frozen where those are absent."""

import json

import numpy as np
import pytest
from PIL import Image

from haarmony.metrics import METRICS, score

FROZEN = {
    "haarmony": {
        "EN": 4.478522, "SD": 80.05727, "SF": 73.94251, "AG": 17.29244, "MI": 2.974845,
        "MSE": 4953.849, "PSNR": 11.18138, "CC": 0.5917549, "SCD": 1.885044, "VIF": 0.1528101,
        "Qabf": 0.82235, "SSIM": 0.466966, "function": 0.8324733,
        "RMSE": 68.76503, "Nabf": 0.0001458073, "FMI": 0.7046671,
    },
    "cddfuse": {
        "EN": 4.478522, "SD": 80.05727, "SF": 73.94251, "AG": 17.29244, "MI": 4.12401,
        "MSE": 4953.849, "PSNR": 11.18138, "CC": 0.5917549, "SCD": 1.885044, "VIF": 0.3056203,
        "Qabf": 0.7787656, "SSIM": 0.9113765, "function": 0.8324733,
        "RMSE": 68.76503, "Nabf": 0.0001458073, "FMI": 0.7046671,
    },
    "matlab": {
        "EN": 4.478522, "SF": 0.2899706, "AG": 17.92537, "MI": 5.949689, "MSE": 0.07618375,
        "PSNR": 59.31218, "CC": 0.5917549, "SCD": 1.885044, "Qabf": 0.6919664,
        "function": 0.8324733, "RMSE": 0.2696668,
    },
}  # fmt: skip
ALIKE = {
    "NMI": 1.430662, "CE": 0.199056, "NCIE": 0.8221379, "SCC": 0.3083205, "EI": 181.0834,
    "VIFF": 0.07174397, "UQI": 0.4317287, "Q": 0.7346249, "Qw": 0.745229, "Qe": 0.6307508,
    "Qy": 0.8914742, "Qcb": 0.581583, "Qcv": 310.9692,
}  # fmt: skip


def luma(path):
    pixels = np.asarray(Image.open(path))
    if pixels.ndim == 3:
        pixels = np.rint(pixels[..., :3].astype(float) @ [0.299, 0.587, 0.114]).astype(np.uint8)
    return pixels


@pytest.mark.parametrize(("convention", "rtol"), [("cddfuse", 2e-5), ("matlab", 1e-4)])
def test_reproduces_published_code(shared, convention, rtol):
    """Tolerances are tighter than golden/README.md allows (1e-4; 1e-3, MI 1e-2)."""
    folder = shared / "golden" / convention
    for case in json.loads((folder / "expected.json").read_text()):
        f, a, b = (luma(folder / case[name]) for name in ("fused", "a", "b"))
        ours = score(f, a, b, convention=convention, metrics=case["expected"])
        assert ours == pytest.approx(case["expected"], rel=rtol), case["fused"]


@pytest.mark.parametrize("convention", ["haarmony", "cddfuse", "matlab"])
def test_frozen(triple, convention):
    """Values of the code that reproduced the published numbers."""
    values = score(*triple, convention=convention)
    assert np.isnan(values.pop("CIEDE2000"))  # no source is in colour
    assert values == pytest.approx(FROZEN[convention] | ALIKE, rel=1e-5)


def test_frozen_on_the_large_triple(large):
    assert score(*large, metrics=["MS-SSIM"]) == pytest.approx({"MS-SSIM": 0.5739362}, rel=1e-5)


def test_all_metrics_of_the_published_tables(shared):
    for convention in ("cddfuse", "matlab"):
        defined = {name for name, metric in METRICS.items() if convention in metric.conventions}
        for case in json.loads((shared / "golden" / convention / "expected.json").read_text()):
            assert set(case["expected"]) <= defined
