"""Rankings against values worked out by hand and against SciPy's own tests."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from haarmony.compare.ranking import rank

INF, NAN = np.inf, np.nan


def images(**metrics):
    """{metric: {method: values}} as the frame of a comparison; the stems are 0, 1, 2, …"""
    columns = {}
    for symbol, methods in metrics.items():
        columns[symbol] = pd.Series({(m, str(i)): v for m, x in methods.items() for i, v in enumerate(x)})
    return pd.DataFrame(columns)


def random(n, methods="xyz", seed=0):
    generator = np.random.default_rng(seed)
    return images(up={m: generator.normal(i / 3, 1, n) for i, m in enumerate(methods)})


def test_ranks_follow_each_metrics_direction_and_ties_share_them():
    found = rank(
        images(
            up={"d": [1, 2], "c": [2, 3], "b": [3, 2], "a": [0, 1]},  # means 1.5, 2.5, 2.5, 0.5
            down={"d": [1, 1], "c": [2, 2], "b": [2, 4], "a": [4, 4]},  # means 1, 2, 3, 4
        ),
        {"up": "higher", "down": "lower"},
    )
    assert list(found.mean_rank.items()) == [("c", 1.75), ("d", 2.0), ("b", 2.25), ("a", 4.0)]
    assert found.rank.to_dict("list") == {"up": [1.5, 3, 1.5, 4], "down": [2, 1, 3, 4]}
    assert found.mean.to_dict("list") == {"up": [2.5, 1.5, 2.5, 0.5], "down": [2, 1, 3, 4]}
    assert found.best == {"up": {"b", "c"}, "down": {"d"}}
    assert found.second == {"up": {"d"}, "down": {"c"}}
    for frame in (found.low, found.high, found.rank, found.p):
        assert list(frame.index) == list("cdba")
        assert list(frame.columns) == ["up", "down"]


def test_methods_of_one_mean_rank_stand_by_name():
    found = rank(images(up={"b": [1, 2], "a": [2, 1], "c": [2, 1]}), {"up": "higher"})
    assert found.mean_rank.to_dict() == {"a": 2, "b": 2, "c": 2}
    assert list(found.mean_rank.index) == ["a", "b", "c"]
    assert found.second["up"] == frozenset()
    assert np.isnan(found.p.loc["a", "up"])  # the reference: the first of the best
    assert found.p["up"]["b":].tolist() == [1, 1]


def test_p_values_are_scipys_after_holm():
    x = images(
        up={
            "best": [9, 8, 7, 9, 8, 9, 7, 8],
            "far": [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
            "near": [8, 8.5, 6.9, 8.7, 8.25, 8.4, 7.65, 7.3],
            "middle": [7.1, 6.2, 6.3, 9.4, 7.5, 6.6, 5.7, 8.8],
        }
    )
    found = rank(x, {"up": "higher"}).p["up"]
    raw = {m: stats.wilcoxon(x.loc["best", "up"], x.loc[m, "up"]).pvalue for m in ("far", "middle", "near")}
    # By hand: the ranks of the negative differences sum to 0, 1 + 4 and 2 + 4 + 6; of the 2⁸ sets of ranks
    # 1 … 8, this many have no larger sum: 1, 10 and 59.
    assert raw == {"far": 2 / 256, "middle": 20 / 256, "near": 118 / 256}
    corrected = {"best": NAN, "far": 6 / 256, "middle": 40 / 256, "near": 118 / 256}
    assert found.to_dict() == pytest.approx(corrected, nan_ok=True)


def test_holms_values_neither_fall_nor_pass_one():
    up = {"best": [9] * 5, "w": [9, 9, 9, 9, 8], "y": [1, 2, 3, 4, 5], "z": [1.5, 2.5, 3.5, 4.5, 5.5]}
    x = images(up=up)
    found = rank(x, {"up": "higher"}).p["up"]
    # Uncorrected 1/16, 1/16, 1: three, two and one times that is 3/16, 2/16, 1.
    assert found[["y", "z", "w"]].tolist() == pytest.approx([3 / 16, 3 / 16, 1])
    x = images(up={"best": [9] * 2, "y": [1, 2], "z": [1.5, 2.5]})
    found = rank(x, {"up": "higher"}).p["up"]
    assert found[["y", "z"]].tolist() == [1, 1]  # 2 · 0.5, and 0.5, which may not be below it


def test_pairs_without_a_difference_are_dropped():
    x = images(up={"a": [5, 6, 7, 8, 9, 9, 4], "b": [5, 5.5, 6, 6.5, 7, 9, 5], "same": [5, 6, 7, 8, 9, 9, 4]})
    found = rank(x, {"up": "higher"}).p["up"]
    assert np.isnan(found["a"])
    assert found["same"] == 1  # none left
    raw = stats.wilcoxon([0.5, 1, 1.5, 2, -1]).pvalue
    assert found["b"] == pytest.approx(2 * raw)


def test_interval_is_scipys_percentile_bootstrap():
    x = random(25)
    found = rank(x, {"up": "higher"})
    for method in "xyz":
        sample = x.loc[method, "up"].to_numpy()
        kind = {"method": "percentile", "n_resamples": 40_000, "rng": np.random.default_rng(7)}
        theirs = stats.bootstrap((sample,), np.mean, **kind).confidence_interval
        # Monte Carlo error of a 2.5 % point of 10 000 normal draws: 0.027 of their deviation.
        tolerance = 4 * 0.03 * sample.std() / 5
        assert found.low.loc[method, "up"] == pytest.approx(theirs.low, abs=tolerance)
        assert found.high.loc[method, "up"] == pytest.approx(theirs.high, abs=tolerance)


def test_intervals_of_all_methods_come_from_the_same_pictures():
    x = random(12, "x")["up"].to_numpy()
    pair = images(up={"x": x, "shifted": x + 1}, down={"x": -x, "shifted": x * 2})
    found = rank(pair, {"up": "higher", "down": "lower"})
    for bound in (found.low, found.high):
        assert bound.loc["shifted", "up"] == pytest.approx(bound.loc["x", "up"] + 1)
        assert bound.loc["shifted", "down"] == pytest.approx(2 * bound.loc["x", "up"])
    again, other = (rank(pair, {"up": "higher", "down": "lower"}, seed=seed) for seed in (42, 43))
    pd.testing.assert_frame_equal(found.low, again.low, check_exact=True)
    assert (found.low != other.low).all(axis=None)


def test_interval_of_two_pictures_is_their_values():
    found = rank(images(up={"a": [1, 2], "b": [0.1, 0.1]}), {"up": "higher"})
    # A quarter of the draws takes the first picture twice, another the second.
    assert (found.low.loc["a", "up"], found.high.loc["a", "up"]) == (1, 2)
    assert found.low.loc["b", "up"] == found.mean.loc["b", "up"] == found.high.loc["b", "up"]


def test_fewer_draws_than_a_chunk_and_odd_numbers_of_them():
    x = random(9)
    for resamples in (1, 499, 501, 1234):
        found = rank(x, {"up": "higher"}, resamples=resamples)
        assert ((found.low <= found.mean) & (found.mean <= found.high)).all(axis=None)


def test_means_leave_out_pictures_that_a_method_lacks():
    # c lacks picture 3, b is undefined on 2; below, b has no value, which is no reason to leave pictures out.
    up = {"a": [1, 2, 9, 4], "b": [2, 3, NAN, 5], "c": [0, 1, 9]}
    x = images(up=up, down={"a": [1, 2, 3, 4], "b": [NAN] * 4, "c": [2, 3, 4]})
    found = rank(x, {"up": "higher", "down": "lower"})
    assert found.left_out.to_dict() == {"up": 2, "down": 1}
    assert found.mean["up"].to_dict() == {"a": 1.5, "b": 2.5, "c": 0.5}
    assert found.mean["down"].to_dict() == pytest.approx({"a": 2, "b": NAN, "c": 3}, nan_ok=True)
    assert found.rank["down"].to_dict() == pytest.approx({"a": 1, "b": NAN, "c": 2}, nan_ok=True)
    assert found.mean_rank.to_dict() == {"b": 1, "a": 1.5, "c": 2.5}
    assert np.isnan(found.low.loc["b", "down"])
    assert np.isnan(found.p.loc["b", "down"])
    # Tests take every picture that both have: a and b share three, c and b two.
    # Uncorrected 2/2³ and 2/2²; on the two pictures that all have, both would be 2/2².
    assert found.p["up"].to_dict() == pytest.approx({"b": NAN, "a": 2 * 0.25, "c": 0.5}, nan_ok=True)


def test_methods_that_share_no_picture_are_unranked_and_last():
    x = images(up={"a": [1, NAN], "b": [NAN, 1]}, down={"a": [1, 2], "b": [2, 3]})
    found = rank(x, {"up": "higher", "down": "lower"})
    assert found.left_out.to_dict() == {"up": 2, "down": 0}
    for frame in (found.mean, found.low, found.rank, found.p):
        assert frame["up"].isna().all()
    assert found.best == {"up": set(), "down": {"a"}}
    x.loc[("0", "0"), "up"] = NAN  # a method of which nothing is known, first by name
    found = rank(x, {"up": "higher", "down": "lower"})
    assert found.mean_rank.to_dict() == pytest.approx({"a": 1, "b": 2, "0": NAN}, nan_ok=True)
    assert list(found.mean_rank.index) == ["a", "b", "0"]


def test_a_method_may_be_infinitely_bad():
    bad, both = [-INF, 20.0, 30.0], [-INF, 20.0, INF]
    found = rank(images(up={"a": [1, 2, 3], "b": bad, "c": both}), {"up": "higher"})
    assert found.best["up"] == {"a"}
    assert found.low.loc["b", "up"] == found.mean.loc["b", "up"] == -INF
    assert found.high.loc["b", "up"] == 30
    assert np.isnan(found.rank.loc["c", "up"])


def test_infinite_values_are_the_best():
    x = images(
        up={
            "a": [INF, 30, 31, 32, 33, 34, 35, 36],
            "b": [INF, 29, 30.5, 30, 30, 30, 30, 30],
            "c": [20, 21, 22, 23, 24, 25, 26, 27],
            "d": [INF] * 8,
        }
    )
    found = rank(x, {"up": "higher"})
    assert found.mean["up"].to_dict() == {"a": INF, "b": INF, "c": 23.5, "d": INF}
    assert found.rank["up"].to_dict() == {"a": 2, "b": 2, "c": 4, "d": 2}
    assert found.second["up"] == {"c"}
    assert 30 < found.low.loc["a", "up"] < 36  # a third of the draws miss the infinite one
    assert found.high.loc["a", "up"] == found.low.loc["d", "up"] == INF
    assert found.low.loc["c", "up"] > 20
    # Against a: b has seven differences, all of one sign; c eight, the infinite one the largest; d seven.
    corrected = {"c": 3 * 2 / 2**8, "b": 2 * 2 / 2**7, "d": 2 * 2 / 2**7}
    assert found.p["up"].to_dict() == pytest.approx({"a": NAN} | corrected, nan_ok=True)


def test_one_picture_has_means_and_ranks_but_no_statistics():
    found = rank(images(up={"a": [1], "b": [2]}), {"up": "higher"})
    assert found.mean["up"].to_dict() == {"a": 1, "b": 2}
    assert found.mean_rank.to_dict() == {"b": 1, "a": 2}
    for frame in (found.low, found.high, found.p):
        assert frame.isna().all(axis=None)


def test_one_method_is_first_and_has_an_interval():
    found = rank(images(up={"a": [1, 2, 3]}), {"up": "higher"})
    assert found.best == {"up": {"a"}}
    assert found.second == {"up": set()}
    assert found.mean_rank.to_dict() == {"a": 1}
    assert 1 <= found.low.loc["a", "up"] < 2 < found.high.loc["a", "up"] <= 3
    assert np.isnan(found.p.loc["a", "up"])
