"""Several seeds, or several pairs, in one batch: what each gives alone."""

import numpy as np
import pytest

from haarmony import Fuser
from haarmony.fusing_path import fuse_luma, fuse_lumas
from haarmony.phantom import head


@pytest.fixture(scope="module")
def fuser():
    return Fuser("medical", threads=1)


@pytest.fixture(scope="module")
def pair():
    return head(seed=5, size=(70, 96)).pair("PET", 16)


def one(fuser, a, b, seed, **options):
    return fuse_luma(fuser._engine, fuser.card.diffusion, a, b, codec=fuser._codec, seed=seed, **options)


def several(fuser, pairs, seeds, **options):
    return fuse_lumas(fuser._engine, fuser.card.diffusion, pairs, seeds, codec=fuser._codec, **options)


@pytest.mark.parametrize("together", [1, 2**13, 2**19], ids=["one by one", "some", "all"])
@pytest.mark.parametrize("tile", [None, 48])
def test_seeds_of_one_pair(fuser, pair, tile, together, monkeypatch):
    monkeypatch.setattr("haarmony.fusing_path.TOGETHER", together)
    seeds = (3, 42, 7)
    fused = several(fuser, [pair], seeds, tile=tile)
    assert fused.shape == (3, 70, 96)
    for found, seed in zip(fused, seeds, strict=True):
        np.testing.assert_allclose(found, one(fuser, *pair, seed, tile=tile), atol=2e-6)
    assert np.abs(fused[0] - fused[1]).max() > 1e-4  # the noise decides little


@pytest.mark.parametrize("together", [1, 2**19], ids=["one by one", "all"])
@pytest.mark.parametrize("tile", [None, 48])
def test_pairs_of_one_seed(fuser, pair, tile, together, monkeypatch):
    monkeypatch.setattr("haarmony.fusing_path.TOGETHER", together)
    a, b = pair
    pairs = [(a, b), (a[::-1].copy(), b[::-1].copy()), (np.maximum(a, 30), b)]
    fused = several(fuser, pairs, [9], steps=1, tile=tile)
    for found, sources in zip(fused, pairs, strict=True):
        np.testing.assert_allclose(found, one(fuser, *sources, 9, steps=1, tile=tile), atol=2e-6)
