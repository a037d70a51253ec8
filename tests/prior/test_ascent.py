"""Gradient ascent raises what it is asked to raise, and nothing that the guards forbid."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from haarmony import jobs, metrics
from haarmony.io import read, write
from haarmony.prior import AscentConfig, SearchConfig, build
from haarmony.prior.ascent import ascend
from haarmony.prior.config import DIFFERENTIABLE
from haarmony.support import project


@pytest.fixture
def pair():
    """Two textured discs in air, (1, 1, 64, 64), of 8-bit values."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:64, :64] - 32
    head = np.hypot(x, y) < 28
    a = head * np.clip(0.5 + 2.5 * gaussian_filter(rng.standard_normal(head.shape), 1.5), 0.05, 1)
    b = head * np.clip(0.4 + 4.0 * gaussian_filter(rng.standard_normal(head.shape), 5), 0, 1)
    return [torch.from_numpy(np.rint(255 * v) / 255).float()[None, None] for v in (a, b)]


def total(f, a, b, weights):
    values = metrics.score(f, a, b, convention="cddfuse", metrics=list(weights))
    return sum(weight * float(values[symbol][0]) for symbol, weight in weights.items())


def climb(pair, *, held=False, **settings):
    f, config = torch.maximum(*pair), AscentConfig(steps=12, **settings)
    return f, ascend(f, *pair, config, convention="cddfuse", held=held), config


def test_it_raises_the_weighted_sum(pair):
    f, raised, config = climb(pair)
    assert total(raised, *pair, config.weights) > total(f, *pair, config.weights) + 0.1


@pytest.mark.parametrize("symbol", DIFFERENTIABLE)
def test_it_raises_each_metric_alone(pair, symbol):
    f, raised, config = climb(pair, weights={symbol: 1.0})
    assert total(raised, *pair, config.weights) > total(f, *pair, config.weights) + 0.005


def test_it_stays_within_what_the_sources_support(pair):
    _, raised, config = climb(pair, step=0.2)
    a, b = pair
    assert torch.equal(raised, project(raised, a, b, margin=config.margin))
    assert (raised[(a == 0) & (b == 0)] == 0).all()


def test_function_is_held(pair):
    weights = {"Qabf": 3.0, "VIF": 1.0}
    free, held = (climb(pair, held=held, weights=weights)[1] for held in (False, True))
    begin = metrics.function(torch.maximum(*pair), pair[1])
    assert metrics.function(free, pair[1]) < begin - 0.02
    assert metrics.function(held, pair[1]) > begin


def test_a_batch_is_its_pictures_one_by_one(pair):
    a, b = pair
    both = [torch.cat([x, x.flip(-1)]) for x in (a, b)]
    _, raised, _ = climb(both, held=True)
    for i in range(2):
        alone = climb([x[i : i + 1] for x in both], held=True)[1]
        torch.testing.assert_close(raised[i : i + 1], alone, atol=2e-3, rtol=0)


def test_the_search_takes_it_where_it_is_better(pair, tmp_path):
    for name, picture in zip("ab", pair, strict=True):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "p.png", np.rint(255 * picture[0, 0].numpy()).astype(np.uint8))
    pairs = jobs.pairs(tmp_path / "a", tmp_path / "b").pairs
    config = SearchConfig(candidates=("maximum", "average"), ascent=AscentConfig(steps=10))
    (found,) = build(pairs, tmp_path / "out", config=config, workers=1)
    assert found.entry.winner == "ascent"
    scores = {name: one.score for name, one in found.entry.candidates.items()}
    assert scores["ascent"] > scores["maximum"] + 0.05
    target = read(tmp_path / "out" / "p.png").pixels
    values = metrics.score(target, *(255 * x[0, 0].numpy() / 255 for x in pair), convention="cddfuse")
    assert sum(w * values[s] for s, w in config.weights.items()) == pytest.approx(scores["ascent"], rel=1e-4)
    (again,) = build(pairs, tmp_path / "out", config=config, workers=1)
    assert (again.scored, again.entry) == (0, found.entry)
    (plain,) = build(pairs, tmp_path / "out", config=SearchConfig(candidates=("maximum",)), workers=1)
    assert plain.entry.winner == "maximum"


def test_only_what_has_a_gradient_can_be_climbed():
    with pytest.raises(ValueError, match="unknown differentiable metric 'EN'; known are SCD, VIF"):
        AscentConfig(weights={"EN": 1.0})
