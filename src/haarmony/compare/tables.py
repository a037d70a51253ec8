"""A comparison as text: CSV to compute with, Markdown and LaTeX to read.

CSV holds full precision and empty cells. The tables for readers have one row a method by mean rank and one
column a metric: arrows show the direction, the best mean is bold, the second underlined.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable

from pandas import DataFrame

from haarmony.compare.ranking import Ranking
from haarmony.compare.results import Method, Results
from haarmony.metrics import METRICS

DECIMALS = {"": 4, "bit": 3, "nat": 3, "grey level²": 1}  # by a metric's unit; 2 otherwise
COLUMNS = {"mean rank": "Mean rank", "seconds": "Time (s)", "memory": "Memory (MB)"}
TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "−": "$-$", "×": r"$\times$", "∞": r"$\infty$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", **{c: "\\" + c for c in "&%$#_{}"},
}  # fmt: skip


def cell(symbol: str, value: float | None, *, convention: str = "haarmony") -> str:
    """A number as tables and figures show it: "4.823", "∞", "–" for none.

    Args:
        symbol: a metric, or "rank", "mean rank", "p", "seconds", "memory": sets how many decimals, so that a
            column lines up; more than five significant digits are never shown.
        value: the number; None and NaN are none.
        convention: whose units a metric has.

    Returns:
        Plain text, with a real minus sign. "<0.001" needs escaping in HTML.
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if symbol == "rank":
        return f"{value:g}"
    if symbol == "p" and value < 0.001:
        return "<0.001"
    exponent = math.floor(math.log10(abs(value))) if value else 0
    match symbol:
        case "seconds":
            decimals = 1 - exponent  # times span four decades: two digits of each
        case "memory":
            decimals = 0
        case "p":
            decimals = 3
        case _:
            metric = METRICS.get(symbol)
            decimals = min(DECIMALS.get(metric.unit_in(convention), 2) if metric else 2, 4 - exponent)
    decimals = max(decimals, 0)
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")  # + 0.0 turns −0.0 into 0.0


def ranked(results: Results, ranking: Ranking) -> list[Method]:
    """The methods, best mean rank first."""
    methods = {method.name: method for method in results.methods}
    return [methods[name] for name in ranking.mean.index]


def notes(results: Results, ranking: Ranking) -> str:
    """What a reader of the table must know, in sentences: data, convention, marks, pictures left out."""
    data, out = results.dataset, defaultdict(list)
    for symbol, n in ranking.left_out[list(results.metrics)].items():
        out[int(n)].append(symbol)
    text = (
        f"{data.pairs} {'pair' if data.pairs == 1 else 'pairs'} ({data.split}), {data.sizes}; "
        f"convention {results.convention}. Means over the pictures; ↑ higher is better, ↓ lower is. "
        "Best bold, second underlined; rows by mean rank. Time is the median a pair, memory the peak."
    )
    missing = ", ".join(f"{n} ({', '.join(symbols)})" for n, symbols in sorted(out.items()) if n)
    return f"{text} Pictures left out because a method has no value for them: {missing}." if missing else text


def images_csv(results: Results) -> str:
    """One line a method and picture: method, stem, then the metrics; empty where one is undefined."""
    frame = results.images[list(results.metrics)]
    return _csv(frame.rename_axis(["method", "stem"]))


def table_csv(results: Results, ranking: Ranking) -> str:
    """One line a method, by mean rank: method, title, mean_rank, five columns a metric, seconds, memory.

    A metric's columns are its symbol with _mean, _low, _high, _rank and _p; `Ranking` says what they are.
    """
    methods = ranked(results, ranking)
    columns = {"title": [m.title for m in methods], "mean_rank": ranking.mean_rank}
    for symbol in results.metrics:
        for part in ("mean", "low", "high", "rank", "p"):
            columns[f"{symbol}_{part}"] = getattr(ranking, part)[symbol]
    columns |= {key: [getattr(m, key) for m in methods] for key in ("seconds", "memory")}
    return _csv(DataFrame(columns, index=ranking.mean.index).rename_axis("method"))


def markdown(results: Results, ranking: Ranking) -> str:
    """The table in Markdown, its columns padded to line up as plain text, with `notes` below it."""
    rows = _rows(
        results, ranking, lambda text: re.sub(r"([\\`*_\[\]<|])", r"\\\1", text), "**%s**", "<u>%s</u>"
    )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = []
    for row in rows:
        numbers = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join([row[0].ljust(widths[0]), *numbers])} |")
    return "\n".join([*lines, "", notes(results, ranking), ""])


def latex(results: Results, ranking: Ranking) -> str:
    r"""The table as a LaTeX `table*` with caption and label; it needs the packages booktabs and graphicx."""
    head, *rows = (
        " & ".join(row) + r" \\" for row in _rows(results, ranking, _tex, r"\textbf{%s}", r"\underline{%s}")
    )
    columns = "l" + "r" * (len(results.metrics) + len(COLUMNS))
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"  \centering",
        rf"  \caption{{{_tex(notes(results, ranking))}}}",
        r"  \label{tab:haarmony}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{% shrinks a wide table, no other",
        rf"  \begin{{tabular}}{{{columns}}}",
        *(f"    {line}" for line in (r"\toprule", head, r"\midrule", *rows, r"\bottomrule")),
        r"  \end{tabular}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _rows(
    results: Results, ranking: Ranking, escape: Callable[[str], str], best: str, second: str
) -> list[list[str]]:
    """The header and one row a method, escaped; `best` and `second` mark a cell: "**%s**"."""
    arrows = {"higher": "↑", "lower": "↓"}
    heads = [f"{symbol} {arrows[METRICS[symbol].direction]}" for symbol in results.metrics]
    rows = [[escape(text) for text in ("Method", *heads, *COLUMNS.values())]]
    for method in ranked(results, ranking):
        row = [escape(method.title)]
        for symbol in results.metrics:
            mean = ranking.mean.loc[method.name, symbol]
            text = escape(cell(symbol, mean, convention=results.convention))
            marks = {best: ranking.best[symbol], second: ranking.second[symbol]}
            row.append(next((mark % text for mark, names in marks.items() if method.name in names), text))
        last = (ranking.mean_rank[method.name], method.seconds, method.memory)
        rows.append([*row, *(escape(cell(key, x)) for key, x in zip(COLUMNS, last, strict=True))])
    return rows


def _tex(text: str) -> str:
    return "".join(TEX.get(c, c) for c in text)


def _csv(frame: DataFrame) -> str:
    return frame.to_csv(lineterminator="\n")
