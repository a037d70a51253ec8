"""One seeded triple that every metric's test may use: flat black air, flat bright bone, texture."""

import numpy as np
import pytest

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def triple() -> Triple:
    """Fused f = pixel-wise maximum, and sources a, b: (52, 61), uint8."""
    rng = np.random.default_rng(42)
    y, x = np.mgrid[:52, :61]
    head = (x - 30) ** 2 / 26**2 + (y - 26) ** 2 / 22**2
    a = (head < 0.8) * (90 + 60 * np.sin(x / 4) * np.cos(y / 5) + rng.normal(0, 8, x.shape))
    b = np.where(
        (head >= 0.8) & (head < 1), 255, (head < 0.8) * 120 * np.exp(-((x - 36) ** 2 + (y - 20) ** 2) / 90)
    )
    a, b = (np.clip(np.rint(v), 0, 255).astype(np.uint8) for v in (a, b))
    return np.maximum(a, b), a, b


@pytest.fixture
def large(triple: Triple) -> Triple:
    """The triple side by side with itself, (208, 183): room for MS-SSIM, with an odd width."""
    f, a, b = (np.tile(x, (4, 3)) for x in triple)
    return f, a, b
