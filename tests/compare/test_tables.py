"""The text tables: numbers read back are the same, marks and escapes stand where they must."""

import dataclasses
import io
import math
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from haarmony.compare.ranking import rank
from haarmony.compare.results import Dataset, Method, Results
from haarmony.compare.tables import cell, images_csv, latex, markdown, notes, table_csv
from haarmony.metrics import METRICS

SYMBOLS = ("EN", "MSE", "PSNR", "SSIM")
VALUES = {
    "medical": [[5, 1200.26, 20, 0.7], [5.5, 1300.26, math.inf, 0.8]],
    "maximum": [[4, 1100.25, 21, 0.6], [4.0246, 1100.25, 22, math.nan]],
    "mine": [[3, 1500, 19, -0.2], [3.1, 1600, 20, -0.3]],
}
METHODS = (
    Method("medical", "Haarmony (medical)", "model", seconds=0.01234, memory=512.4),
    Method("maximum", "Maximum", "classical", seconds=0.00056),
    Method("mine", "my_method & co", "results"),
)


def results(titles=None):
    index = pd.MultiIndex.from_product([VALUES, ["01", "02"]])
    frame = pd.DataFrame(np.concatenate(list(VALUES.values())), index=index, columns=list(SYMBOLS))
    data = Dataset("MRI", "PET", "val of harvard/MRI-PET (splits.json)", 2, "256×256")
    methods = [
        dataclasses.replace(m, title=t)
        for m, t in zip(METHODS, titles or [m.title for m in METHODS], strict=True)
    ]
    return Results("haarmony", SYMBOLS, tuple(methods), frame, data, {})


def ranking(found):
    return rank(found.images, {symbol: METRICS[symbol].direction for symbol in SYMBOLS})


def read(text):
    """Cells as text: converting them later is exact, which pandas' own parser need not be."""
    return pd.read_csv(io.StringIO(text), dtype=str)


@pytest.mark.parametrize(
    ("symbol", "value", "text"),
    [
        ("EN", 4.82345, "4.823"),
        ("SD", 76.337, "76.34"),
        ("SSIM", 0.75126, "0.7513"),
        ("MSE", 1523.44, "1523.4"),
        ("MSE", 26.04, "26.0"),
        ("SSIM", 1234.5678, "1234.6"),
        ("SSIM", 123456.7, "123457"),
        ("SSIM", -0.25, "−0.2500"),
        ("SSIM", -0.000001, "0.0000"),
        ("SSIM", 0.0, "0.0000"),
        ("PSNR", math.inf, "∞"),
        ("PSNR", -math.inf, "−∞"),
        ("PSNR", np.float64("nan"), "–"),
        ("seconds", None, "–"),
        ("seconds", 0.00056, "0.00056"),
        ("seconds", 5.04, "5.0"),
        ("seconds", 123.4, "123"),
        ("memory", 512.4, "512"),
        ("rank", 1.0, "1"),
        ("rank", 2.5, "2.5"),
        ("mean rank", 7 / 3, "2.33"),
        ("p", 0.0004, "<0.001"),
        ("p", 0.0123, "0.012"),
        ("p", 1.0, "1.000"),
        ("unheard of", 1.234, "1.23"),
    ],
)
def test_numbers_are_shown_with_their_metrics_digits(symbol, value, text):
    assert cell(symbol, value) == text


def test_cell_has_the_decimals_of_the_conventions_unit():
    assert [cell("SF", 0.04567, convention=c) for c in ("cddfuse", "matlab")] == ["0.05", "0.0457"]
    assert [cell("MSE", 0.0123, convention=c) for c in ("cddfuse", "matlab")] == ["0.0", "0.0123"]
    assert cell("MI", 2.34567, convention="cddfuse") == "2.346"


def test_images_csv_reads_back_bit_for_bit():
    found = results()
    noise = np.random.default_rng(0).normal(size=found.images.shape)
    frame = found.images * noise
    text = images_csv(dataclasses.replace(found, images=frame, metrics=SYMBOLS[::-1]))
    head, first = text.splitlines()[:2]
    assert head == "method,stem,SSIM,PSNR,MSE,EN"
    assert first.startswith("medical,01,")
    assert text.splitlines()[4].startswith("maximum,02,,")  # an undefined value is empty
    back = read(text).set_index(["method", "stem"])[list(SYMBOLS)].astype(float)
    pd.testing.assert_frame_equal(back, frame.rename_axis(["method", "stem"]), check_exact=True)


def test_table_csv_reads_back_bit_for_bit():
    found = results()
    ranks = ranking(found)
    text = table_csv(found, ranks)
    assert "\r" not in text
    back = read(text).set_index("method")
    parts = [f"{s}_{part}" for s in SYMBOLS for part in ("mean", "low", "high", "rank", "p")]
    assert list(back) == ["title", "mean_rank", *parts, "seconds", "memory"]
    assert list(back.index) == list(ranks.mean_rank.index) == ["medical", "maximum", "mine"]
    assert list(back.pop("title")) == ["Haarmony (medical)", "Maximum", "my_method & co"]
    back = back.astype(float)
    for symbol in SYMBOLS:
        for part in ("mean", "low", "high", "rank", "p"):
            ours = getattr(ranks, part)[symbol].to_numpy()
            np.testing.assert_array_equal(back[f"{symbol}_{part}"], ours)
    np.testing.assert_array_equal(back["mean_rank"], ranks.mean_rank)
    np.testing.assert_array_equal(back["seconds"], [0.01234, 0.00056, np.nan])
    np.testing.assert_array_equal(back["memory"], [512.4, np.nan, np.nan])
    assert back.loc["medical", "PSNR_mean"] == np.inf


def test_markdown_marks_the_best_and_lines_up():
    found = results(["Haarmony (medical)", "Maximum", "my_method | <co>"])
    head, rule, *rows, blank, note = markdown(found, ranking(found)).splitlines()
    assert len({len(line) for line in (head, rule, *rows)}) == 1
    assert re.split(r" *\| *", head)[1:-1] == [
        *("Method", "EN ↑", "MSE ↓", "PSNR ↑", "SSIM ↑"),
        *("Mean rank", "Time (s)", "Memory (MB)"),
    ]
    assert re.fullmatch(r"\| -+ \|( -+: \|){7}", rule)
    cells = [re.split(r" *(?<!\\)\| *", row)[1:-1] for row in rows]
    assert cells == [
        ["Haarmony (medical)", "**5.250**", "<u>1250.3</u>", "**∞**", "**0.7000**", "1.25", "0.012", "512"],
        ["Maximum", "<u>4.012</u>", "**1100.2**", "<u>21.50</u>", "<u>0.6000</u>", "1.75", "0.00056", "–"],
        [r"my\_method \| \<co>", "3.050", "1550.0", "19.50", "−0.2000", "3.00", "–", "–"],
    ]
    assert blank == ""
    assert note == notes(found, ranking(found))


def test_notes_name_data_convention_and_what_is_left_out():
    found = results()
    text = notes(found, ranking(found))
    assert text.startswith("2 pairs (val of harvard/MRI-PET (splits.json)), 256×256; convention haarmony. ")
    assert text.endswith(" Pictures left out because a method has no value for them: 1 (SSIM).")
    one = dataclasses.replace(found, dataset=dataclasses.replace(found.dataset, pairs=1))
    assert notes(one, ranking(one)).startswith("1 pair (")
    whole = dataclasses.replace(found, images=found.images.fillna(0))
    assert "left out" not in notes(whole, ranking(whole))


def test_latex_escapes_titles_and_marks_the_best():
    text = latex(found := results(), ranking(found))
    rows = text.split("\\midrule\n")[1].split("    \\bottomrule")[0].splitlines()
    assert [row.strip() for row in rows] == [
        r"Haarmony (medical) & \textbf{5.250} & \underline{1250.3} & \textbf{$\infty$} & \textbf{0.7000} "
        r"& 1.25 & 0.012 & 512 \\",
        r"Maximum & \underline{4.012} & \textbf{1100.2} & \underline{21.50} & \underline{0.6000} "
        r"& 1.75 & 0.00056 & -- \\",
        r"my\_method \& co & 3.050 & 1550.0 & 19.50 & $-$0.2000 & 3.00 & -- & -- \\",
    ]
    head = text.split("\\toprule\n")[1].split("\n")[0].strip()
    assert head.startswith(
        r"Method & EN $\uparrow$ & MSE $\downarrow$ & PSNR $\uparrow$ & SSIM $\uparrow$ & Mean"
    )
    assert r"\begin{tabular}{lrrrrrrr}" in text
    assert r"256$\times$256; convention haarmony" in text


def test_latex_is_sound_whatever_the_titles():
    found = results([r"50 % of $x$ #1 {~^\}", "a<b>c|d", "my_method & co"])
    text = latex(found, ranking(found))
    assert r"50 \% of \$x\$ \#1 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}" in text
    assert r"a\textless{}b\textgreater{}c\textbar{}d" in text
    body = re.sub(r"(?<!\\)%.*", "", text)  # without comments
    bare = re.sub(r"\\[^a-zA-Z]", "", body)  # and without escaped characters
    depth = np.cumsum([(c == "{") - (c == "}") for c in bare])
    assert depth.min() == 0 == depth[-1]
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(.*?)\}", body) == re.findall(r"\\end\{(.*?)\}", body)[::-1]
    rows = [line for line in bare.splitlines() if "&" in line]
    assert [row.count("&") for row in rows] == [7] * 4
    assert not re.search(r"[#_^~]", bare)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    found = results([r"50 % of $x$ #1 {~^\}", "a<b>c|d", "my_method & co"])
    packages = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    tmp_path.joinpath("x.tex").write_text(
        f"{packages}\n{latex(found, ranking(found))}\\end{{document}}\n", "utf-8"
    )
    subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"], cwd=tmp_path, check=True
    )
    assert tmp_path.joinpath("x.pdf").stat().st_size > 1000
