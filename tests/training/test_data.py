"""Batches: what is drawn, and that all three pictures of a draw are cut and turned alike."""

import numpy as np
import pytest

from haarmony import settings
from haarmony.prior import AscentConfig
from haarmony.training import data
from haarmony.training.data import Pair, Training, draw, files, find_targets, load_pair, load_training
from haarmony.training.recipe import PairSet, Recipe


def sets(size=48, **of_the_set):
    rng = np.random.default_rng(0)
    pairs = [Pair(str(i), *rng.random((2, size, size), dtype=np.float32)) for i in range(3)]
    pair_set = PairSet(name="s", a="a", b="b", split="s", **of_the_set)
    return [Training(pair_set, pairs, [0.25 * p.a + 0.75 * p.b for p in pairs])]


def test_target_and_sources_are_cut_and_turned_alike():
    batch = draw(sets(), np.random.default_rng(1), batch=16, crop=32)
    assert batch.a.shape == (16, 1, 32, 32)
    np.testing.assert_allclose(batch.target, 0.25 * batch.a + 0.75 * batch.b, rtol=1e-6)
    assert len({crop.tobytes() for crop in batch.a}) > 8


def test_swap_exchanges_the_sources_and_not_the_target():
    batch = draw(sets(swap=1.0), np.random.default_rng(1), batch=8, crop=32)
    np.testing.assert_allclose(batch.target, 0.25 * batch.b + 0.75 * batch.a, rtol=1e-6)


def test_a_batch_depends_on_its_generator_alone():
    first, again = (draw(sets(), np.random.default_rng([42, 7, 0]), batch=4, crop=32) for _ in range(2))
    other = draw(sets(), np.random.default_rng([42, 8, 0]), batch=4, crop=32)
    np.testing.assert_array_equal(first.a, again.a)
    assert not np.array_equal(first.a, other.a)


def test_pictures_smaller_than_the_crop_are_mirrored():
    batch = draw(sets(size=20), np.random.default_rng(1), batch=4, crop=32)
    assert batch.a.shape == (4, 1, 32, 32)
    assert batch.a.min() >= 0
    np.testing.assert_allclose(batch.target, 0.25 * batch.a + 0.75 * batch.b, rtol=1e-6)


def test_sets_are_drawn_by_their_shares():
    two = [*sets(share=3), *sets()]
    of = draw(two, np.random.default_rng(0), batch=400, crop=32).of
    assert 270 < np.sum(of == 0) < 330
    assert np.sum(of == 1) == 400 - np.sum(of == 0)


def test_noise_is_added_to_what_is_seen_and_not_to_what_is_scored():
    batch = draw(sets(noise=0.1), np.random.default_rng(0), batch=64, crop=32)
    for seen, clean in ((batch.a, batch.clean_a), (batch.b, batch.clean_b)):
        spread = (seen - clean).reshape(64, -1).std(axis=1)
        assert 0.3 < np.mean(spread == 0) < 0.7
        assert 0.03 < spread[spread > 0].mean() < 0.07
        assert spread.max() < 0.11
        assert seen.min() >= 0
        assert seen.max() <= 1
    np.testing.assert_allclose(batch.target, 0.25 * batch.clean_a + 0.75 * batch.clean_b, rtol=1e-6)


def test_noise_leaves_air_alone():
    training = sets(noise=0.3)
    for pair in training[0].pairs:
        pair.a[:, :24] = 0
    batch = draw(training, np.random.default_rng(0), batch=8, crop=32)
    assert (batch.a[batch.clean_a == 0] == 0).all()


def test_dimming_takes_light_from_the_first_source():
    bright = draw(sets(), np.random.default_rng(3), batch=32, crop=32)
    batch = draw(sets(dim=1.0), np.random.default_rng(3), batch=32, crop=32)
    light = batch.a.max(axis=(1, 2, 3))
    assert 0.25 < light.min() < 0.5 < light.max() < 1.01
    assert (batch.target <= 0.25 + 0.75 * batch.b.max(axis=(1, 2, 3), keepdims=True)).all()
    assert batch.target.mean() < bright.target.mean()
    np.testing.assert_array_equal(batch.a, batch.clean_a)


def test_luma_is_rounded_to_eight_bits(recipe_path):
    recipe = settings.load(recipe_path, Recipe)
    pair = load_pair(files(recipe.data, recipe.data.sets[1], "val")[0])
    levels = 255 * pair.b.astype(np.float64)
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)


def test_prior_gives_every_training_pair_its_target(recipe_path, tmp_path):
    recipe = settings.load(recipe_path, Recipe)
    lines = []
    find_targets(recipe.data, recipe.prior, tmp_path / "prior", report=lines.append)
    loaded = load_training(recipe.data, tmp_path / "prior")
    assert [len(training.pairs) for training in loaded] == [3, 3]
    assert lines == ["prior grey: maximum 3", "prior uptake: maximum 3"]
    for training in loaded:
        for pair, target in zip(training.pairs, training.targets, strict=True):
            np.testing.assert_allclose(target, np.maximum(pair.a, pair.b), atol=1e-6)


def test_a_long_search_says_how_far_it_is(recipe_path, tmp_path, monkeypatch):
    recipe = settings.load(recipe_path, Recipe)
    monkeypatch.setattr(data, "PATIENCE", 0.0)
    lines = []
    find_targets(recipe.data, recipe.prior, tmp_path / "prior", report=lines.append)
    assert lines[:4] == [*(f"prior grey: {i} of 3 pairs" for i in (1, 2, 3)), "prior grey: maximum 3"]


def test_a_search_whose_time_is_up_keeps_what_it_found_and_goes_on(recipe_path, tmp_path):
    recipe, out, lines = settings.load(recipe_path, Recipe), tmp_path / "prior", []
    assert not find_targets(recipe.data, recipe.prior, out, report=lines.append, until=0.0)
    assert lines == ["prior grey: 1 of 3 pairs"]
    assert len(list((out / "grey").glob("*.png"))) >= 1
    while not find_targets(recipe.data, recipe.prior, out, report=lines.append, until=0.0):
        assert len(lines) < 10
    assert lines[-1] == "prior uptake: maximum 3"
    assert find_targets(recipe.data, recipe.prior, out, report=lines.append, until=0.0)  # costs no time


def test_only_a_set_that_asks_has_its_targets_raised(recipe_path, tmp_path):
    recipe = settings.load(recipe_path, Recipe)
    first, second = recipe.data.sets
    config = recipe.data.model_copy(update={"sets": (first.model_copy(update={"ascend": True}), second)})
    search = recipe.prior.model_copy(update={"ascent": AscentConfig(steps=5)})
    lines = []
    find_targets(config, search, tmp_path / "prior", report=lines.append)
    assert lines == ["prior grey: ascent 3", "prior uptake: maximum 3"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ("9" * 5000, "not readable as JSON"),
        ("{}", "no split 'train' of 'grey'"),
        ('{"grey": {"train": null}}', "split 'train' of 'grey' is no list of stems"),
        ('{"grey": {"train": "012"}}', "split 'train' of 'grey' is no list of stems"),
        ('{"grey": {"train": [["0"]]}}', "split 'train' of 'grey' is no list of stems"),
        ('{"grey": {"train": [0]}}', "split 'train' of 'grey' is no list of stems"),
        ('{"grey": {"train": []}}', "split 'train' is empty"),
        ('{"grey": {"train": ["0", "1", "0"]}}', "split 'train' of 'grey' names 0 twice"),
        ('{"grey": {"train": ["0", "77"]}}', "no pair 77 (1 missing)"),
    ],
)
def test_a_bad_splits_file_is_named_with_its_problem(recipe_path, data, content, problem):
    (data / "splits.json").write_text(content)
    recipe = settings.load(recipe_path, Recipe)
    with pytest.raises(ValueError, match=r"splits\.json") as caught:
        files(recipe.data, recipe.data.sets[0], "train")
    assert problem in str(caught.value)
