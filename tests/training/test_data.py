"""Batches: what is drawn, and that all three pictures of a draw are cut and turned alike."""

import numpy as np
import pytest

from haarmony import settings
from haarmony.training.data import Pair, Training, draw, files, find_targets, load_pair, load_training
from haarmony.training.recipe import PairSet, Recipe


def sets(swap=0.0, functional=False, size=48):
    rng = np.random.default_rng(0)
    pairs = [Pair(str(i), *rng.random((2, size, size), dtype=np.float32)) for i in range(3)]
    pair_set = PairSet(name="s", a="a", b="b", split="s", swap=swap, functional=functional)
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


def test_functional_marks_the_set():
    np.testing.assert_array_equal(
        draw(sets(functional=True), np.random.default_rng(0), batch=3, crop=32).functional, 1
    )


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
        ('{"grey": {"train": ["0", "77"]}}', "no pair 77 (1 missing)"),
    ],
)
def test_a_bad_splits_file_is_named_with_its_problem(recipe_path, data, content, problem):
    (data / "splits.json").write_text(content)
    recipe = settings.load(recipe_path, Recipe)
    with pytest.raises(ValueError, match=r"splits\.json") as caught:
        files(recipe.data, recipe.data.sets[0], "train")
    assert problem in str(caught.value)
