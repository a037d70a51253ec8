"""Validation: which pairs are scored, what of, and the one number that picks the best checkpoint."""

import json

import numpy as np
import pytest

from haarmony import metrics, settings
from haarmony.io import write
from haarmony.nets import FusionNet
from haarmony.training.recipe import Recipe
from haarmony.training.validation import baseline, load, measure, score, total


@pytest.fixture
def recipe(recipe_path, data):
    """The tiny recipe with all four pairs in the validation split."""
    (data / "splits.json").write_text(json.dumps({"grey": {"train": ["0"], "val": ["0", "1", "2", "3"]}}))
    return settings.load(recipe_path, Recipe)


def test_pairs_are_evenly_spaced_or_all(recipe):
    for count, stems in ((1, "0"), (2, "03"), (3, "023"), (9, "0123"), (None, "0123")):
        sets = load(recipe, pairs=count)
        assert [pair_set.name for pair_set, _ in sets] == ["grey", "uptake"]
        assert ["".join(pair.stem for pair in pairs) for _, pairs in sets] == [stems, stems]


def test_a_pair_too_small_to_score_is_named(recipe, data):
    for folder in ("a", "b", "colour"):
        write(data / folder / "3.png", np.full((64, 40), 9, np.uint8))
    assert len(load(recipe, pairs=1)) == 2
    with pytest.raises(ValueError, match=r"3\.png: 40×64 pixels; a validation pair needs 41×41"):
        load(recipe, pairs=2)


def test_measure_is_of_the_rounded_luma_and_adds_function_where_there_is_some(recipe):
    (_, (pair, *_)), _ = load(recipe)
    maximum = np.maximum(pair.a, pair.b)
    plain = measure(np.clip(maximum + 0.4 / 255, 0, 1), pair, functional=False)
    assert plain == pytest.approx(
        metrics.score(maximum, pair.a, pair.b, convention="cddfuse", metrics=list(plain)), rel=1e-5
    )
    row = measure(pair.a, pair, functional=True)
    assert row["function"] == pytest.approx(metrics.function(pair.a, pair.b))


def test_an_untrained_network_scores_as_the_maximum(recipe):
    """Its denoiser answers with the maximum and its refiner leaves that alone."""
    sets, net = load(recipe, pairs=3), FusionNet(recipe.net)
    scores, sheet = score(net, recipe, sets)
    for name, row in baseline(sets).items():
        assert scores[name] == pytest.approx(row)
    middle = [pairs[1] for _, pairs in sets]
    expected = np.vstack([np.hstack([p.a, p.b, np.maximum(p.a, p.b)]) for p in middle])
    np.testing.assert_array_equal(sheet, np.rint(255 * expected))
    assert net.training


def test_total_by_hand():
    maximum = {"VIF": 0.5, "Qabf": 0.4, "SSIM": 1.2, "SCD": 1.0, "MI": 99.0, "function": 0.7}
    row = maximum | {"MI": 1.0, "function": 0.8}
    both = {"s": maximum, "t": maximum}
    assert total({"s": row}, both) == pytest.approx(
        4.6
    )  # 0.5 + 3 · 0.4 + 2 · 1.2 + 0.5 · 1; MI is not asked for
    assert total({"s": row | {"function": 0.5}}, both) == pytest.approx(4.6 - 10 * 0.2)
    assert total({"s": row | {"VIF": 0.6}}, both) == pytest.approx(4.7)
    assert total({"s": row | {"VIF": 0.4}}, both) == pytest.approx(4.5 - 10 * 0.1)
    assert total({"s": row, "t": row | {"function": 0.5}}, both) == pytest.approx(4.6 - 5 * 0.2)
