"""Who is better, and how surely: means, intervals, ranks and p-values of every method and metric.

    mean_m = 1/n Σ_i x_{m,i},   rank_m = place of mean_m in the metric's direction
    mean rank = mean of rank_m over the metrics

The pictures i are the same for every method m. A picture that some method lacks, or for which its metric is
undefined, is left out of that metric's means for all, and counted in `Ranking.left_out`: an easy picture that
only one method has would otherwise move it up. A method without a single value is no reason to leave pictures
out; it stays unranked in that metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pandas import DataFrame, Series

CONFIDENCE = 0.95
CHUNK = 500  # resamples at once: bounds the memory, changes nothing else


@dataclass(frozen=True)
class Ranking:
    """A comparison's statistics: rows are methods by mean rank (equal ones by name), columns are metrics."""

    mean: DataFrame
    """Means over the pictures that all methods have."""
    low: DataFrame
    high: DataFrame
    """The mean's 95 % percentile bootstrap interval; NaN where there are fewer than two pictures."""
    rank: DataFrame
    """1 is best; equal means share the average of their ranks; NaN without a mean."""
    p: DataFrame
    """Wilcoxon against the metric's best method, after Holm; NaN for that one and below two pairs."""
    mean_rank: Series
    """Mean over the metrics that a method is ranked in."""
    best: Mapping[str, frozenset[str]]
    second: Mapping[str, frozenset[str]]
    """Metric → the methods of the best mean, and of the next one."""
    left_out: Series
    """Metric → how many pictures its means leave out."""


@np.errstate(invalid="ignore")  # ∞ − ∞, the mean of both, is NaN
def rank(
    images: DataFrame, directions: Mapping[str, str], *, resamples: int = 10_000, seed: int = 42
) -> Ranking:
    """Rank methods by every metric, with intervals of the means and tests against the best.

    Intervals are percentiles of the means of `resamples` draws of n pictures with replacement (Efron 1979),
    the same draws for every method and for every metric that is defined on equally many pictures. Tests are
    two-sided paired Wilcoxon signed-rank tests (Wilcoxon 1945) over the pictures that a method and the
    metric's best method both have; where methods share the best mean, it is the upper one in the table. Pairs
    without a difference are dropped, and p is 1 where none is left. Holm's correction (Holm 1979) runs over
    the methods within a metric.

    Args:
        images: one row a (method, stem), one column a metric; NaN where it is undefined. ∞ may be there.
        directions: metric → "higher" or "lower", whichever is better.
        resamples: number of bootstrap draws.
        seed: of the draws.

    Returns:
        The statistics, as data frames of methods × metrics.
    """
    methods = sorted(images.index.unique(level=0))
    values = {symbol: images[symbol].astype(float).unstack(level=0) for symbol in images}  # stem × method
    common = {symbol: x.dropna(axis=1, how="all").dropna() for symbol, x in values.items()}
    mean = DataFrame({symbol: x.mean() for symbol, x in common.items()}, index=methods)
    ranks = DataFrame({s: mean[s].rank(ascending=directions[s] == "lower") for s in mean})
    mean_rank = ranks.mean(axis=1).sort_values(kind="stable")
    order = list(mean_rank.index)
    low, high = (DataFrame(index=order, columns=mean.columns, dtype=float) for _ in range(2))
    for n in {len(x) for x in common.values()} - {0, 1}:
        symbols = [symbol for symbol, x in common.items() if len(x) == n]
        table = np.hstack([common[symbol].reindex(columns=order) for symbol in symbols])
        bounds = _interval(table, resamples, np.random.default_rng(seed))
        low[symbols], high[symbols] = (bound.reshape(-1, len(order)).T for bound in bounds)
    place = ranks.rank(method="dense")
    best, second = ({s: frozenset(place.index[place[s] == n]) for s in place} for n in (1, 2))
    p = {s: _holm(_tests(values[s], min(best[s], key=order.index))) for s in best if best[s]}
    return Ranking(
        mean=mean.loc[order],
        low=low,
        high=high,
        rank=ranks.loc[order],
        p=DataFrame(p, index=order, columns=mean.columns, dtype=float),
        mean_rank=mean_rank,
        best=best,
        second=second,
        left_out=Series({s: len(values[s]) - len(common[s]) for s in values}, dtype=int),
    )


def _interval(
    x: Float[np.ndarray, "n m"], resamples: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    n = len(x)
    finite, up, down = np.where(np.isinf(x), 0, x), np.isposinf(x), np.isneginf(x)
    means = []
    for start in range(0, resamples, CHUNK):
        # How often each picture is drawn: (draws, n). 0 · inf is no number, so infinite means are set after.
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(CHUNK, resamples - start)).astype(float)
        mean = np.where(counts @ down > 0, -np.inf, counts @ finite / n)
        means.append(np.where(counts @ up > 0, np.inf, mean))
    tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    # A value that was drawn, not one between two draws: between a number and infinity there is none.
    low, high = np.quantile(np.concatenate(means), tails, axis=0, method="inverted_cdf")
    mean = x.mean(axis=0)
    return np.minimum(low, mean), np.maximum(high, mean)  # equal values: rounding may not part them


def _tests(x: DataFrame, best: str) -> Series:
    """The uncorrected p-value of every method against `best`."""
    from scipy.stats import wilcoxon

    p = Series(np.nan, index=x.columns)
    for method in x.columns.drop(best):
        pairs = x[[method, best]].dropna().to_numpy()
        if len(pairs) > 1:
            u, v = pairs[pairs[:, 0] != pairs[:, 1]].T  # infinity equals itself, but has no difference
            p[method] = wilcoxon(u - v).pvalue if len(u) else 1.0
    return p


def _holm(p: Series) -> Series:
    """p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)), p ascending; NaN stays and does not count in m."""
    ordered = p.dropna().sort_values()
    return (ordered * np.arange(len(ordered), 0, -1)).clip(upper=1).cummax().reindex(p.index)
