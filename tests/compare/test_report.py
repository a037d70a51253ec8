"""The report as a reader gets it: parsed, its cells compared with the ranking; it fetches nothing."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from comparisons import comparison, three
from PIL import Image

from haarmony.compare.ranking import rank
from haarmony.compare.report import render
from haarmony.compare.tables import cell
from haarmony.metrics import METRICS, Metric

NAN = np.nan
EMPTY = {"meta", "img", "source", "br"}  # elements that have no end


class Page(HTMLParser):
    """A page's elements; fails on an end that does not belong to the innermost open element."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"] and data.strip():
            self.texts.append(" ".join(data.split()))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def table(html, number=0):
    """A table's body, tags and all: [[cell, …], …], the row's heading first."""
    body = re.findall(r"<tbody>(.*?)</tbody>", html, re.S)[number]
    return [
        [re.sub(r"\s+", " ", x).strip() for x in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)]
        for row in re.findall(r"<tr.*?</tr>", body, re.S)
    ]


def title(heading):
    return re.sub(r"<.*?>", "", heading)


def addresses(page):
    found = [x[key] for x in page.all("img") + page.all("source") for key in ("src", "srcset") if key in x]
    assert all(x.startswith("data:image/") for x in found)
    return found


@pytest.fixture(scope="module")
def page():
    return render(*three())


def test_page_is_whole_and_loads_nothing(page):
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "iframe", "base", "object"} & {tag for tag, _ in parsed.elements}
    assert "http" not in page
    assert "@import" not in page
    assert "url(" not in page
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert sorted({x["href"] for x in parsed.all("a")}) == sorted(f"#{x}" for x in ids)
    assert len(ids) == len(set(ids))
    for address in addresses(parsed):
        file = base64.b64decode(address.partition("base64,")[2], validate=True)
        if "svg" in address[:20]:
            assert ElementTree.fromstring(file).tag.endswith("svg")
            assert not re.search(rb"(href|src)=\"(?!#)", file)
        else:
            Image.open(BytesIO(file)).verify()
    assert len(addresses(parsed)) == 2 * 4 + 3  # grid, bars, radar and costs in two widths, a metric's values
    assert page.count("<table>") == len(parsed.all("caption")) == 3
    assert all(x["scope"] in ("row", "col") for x in parsed.all("th"))
    assert all(len(x["alt"]) > 20 for x in parsed.all("img"))


def test_best_is_bold_second_underlined_and_the_rest_plain(page):
    _, ranking = three()
    rows = table(page)
    assert [title(row[0]) for row in rows] == ["OURS", "OTHER", "WORST"]
    for row, name in zip(rows, ["ours", "other", "worst"], strict=True):
        for text, symbol in zip(row[2:5], ["PSNR", "MSE", "SSIM"], strict=True):
            number = cell(symbol, ranking.mean.loc[name, symbol])
            place = ranking.rank.loc[name, symbol]
            assert text.startswith({1: f"<b>{number}</b>", 2: f"<u>{number}</u>", 3: number}[place])
            low, high = ranking.low.loc[name, symbol], ranking.high.loc[name, symbol]
            assert text.endswith(f"<small>{cell(symbol, low)} – {cell(symbol, high)}</small>")
    assert [row[1] for row in rows] == ["<b>1.33</b>", "<u>1.67</u>", "3.00"]
    assert [row[5:] for row in rows] == [["0.010", "–"]] * 3
    headings = re.findall(r'<th scope="col">(PSNR|MSE|SSIM) <abbr title="(\w+) is better">(.)</abbr>', page)
    assert headings[:3] == [("PSNR", "higher", "↑"), ("MSE", "lower", "↓"), ("SSIM", "higher", "↑")]


def test_mark_says_who_is_not_distinguishable_from_the_best():
    best = np.random.default_rng(3).normal(5, 1, 20)
    swing = np.tile([0.5, -0.49], 10)
    results, ranking = comparison({"EN": {"best": best, "near": best - swing, "far": best - 2 - swing}})
    assert list(ranking.mean.index) == ["best", "near", "far"]
    assert ranking.p.loc["near", "EN"] >= 0.05 > ranking.p.loc["far", "EN"]
    html = render(results, ranking)
    marks = {title(row[0]): row[2].count("≈") for row in table(html)}
    assert marks == {"BEST": 0, "NEAR": 1, "FAR": 0}
    assert f"p = {cell('p', ranking.p.loc['near', 'EN'])}" in table(html)[1][2]
    values = {title(row[0]): row[1] for row in table(html, 1)}
    assert values["BEST"] == "<b>best</b>"
    assert values["NEAR"] == cell("p", ranking.p.loc["near", "EN"])
    assert values["FAR"] == cell("p", ranking.p.loc["far", "EN"]).replace("<", "&lt;")


def test_those_who_share_the_best_mean_are_all_bold_and_none_is_marked():
    results, ranking = comparison({"EN": {"a": [1, 2, 3], "b": [3, 2, 1], "c": [0, 0, 0]}})
    cells = {title(row[0]): row[2] for row in table(render(results, ranking))}
    assert cells["A"].startswith("<b>2.000</b><small>")
    assert cells["B"].startswith("<b>2.000</b><small>")
    assert cells["C"].startswith("<u>0.000</u><abbr")


@pytest.mark.parametrize(("convention", "unit"), [("haarmony", "bit"), ("cddfuse", "nat")])
def test_units_are_the_conventions(convention, unit):
    html = render(*comparison({"MI": {"a": [1, 2], "b": [2, 3]}}, convention=convention))
    assert f"<small>{unit}</small></th>" in html
    (definition,) = table(html, 2)
    assert definition[3] == unit


def test_what_a_user_wrote_is_text_not_markup():
    name = '<b>x</b> & "y"\''
    results, _ = three()
    data = replace(results.dataset, a="<script>alert(1)</script>", split="<i>val</i>")
    changed = replace(
        results,
        methods=tuple(replace(m, title=name) if m.name == "other" else m for m in results.methods),
        dataset=data,
        provenance={"Command": "a <b> 'c'", "<u>": "<img src=x>"},
        failures=("p9.png: <b>broken</b>",),
        examples=(replace(results.examples[0], stem=name),),
    )
    parsed = Page(render(changed, three()[1]))
    assert {"script", "i"} & {tag for tag, attrs in parsed.elements if not attrs} == set()
    for text in (
        name,
        "<script>alert(1)</script>",
        "a <b> 'c'",
        "<img src=x>",
        "p9.png: <b>broken</b>",
        "<u>",
    ):
        assert any(text in found for found in parsed.texts), text
    assert any(name in x["alt"] for x in parsed.all("img"))


def test_page_says_what_was_compared_and_with_what(page):
    texts = " ".join(Page(page).texts)
    for text in (
        "3 image fusion methods compared on 8 pairs", "val of brains, 8 pairs", "48×48 pixels",
        "haarmony benchmark --a mri", "1 & 2", "Nothing: every method’s result could be scored",
        METRICS["SSIM"].source, METRICS["SSIM"].name,
        "PSNR is divided by 16", "not independent", "Figure 5.", "−1 to 1", "0 to ∞",
    ):  # fmt: skip
        assert text in texts, text
    assert "Figure 6." not in texts


def test_one_method_one_picture_one_metric():
    results, ranking = comparison({"PSNR": {"only": [20.0]}}, pictures=())
    html = render(results, ranking)
    assert table(html)[0][2] == "<b>20.00</b>"  # no interval of one picture
    texts = " ".join(Page(html).texts)
    assert "1 image fusion method on 1 pair" in texts
    assert "Radar" not in html
    assert 'id="pictures"' not in html
    assert 'href="#pictures"' not in html


def test_metric_that_no_picture_has_and_methods_that_were_not_run():
    results, _ = three()
    images = results.images.assign(SSIM=NAN)
    ranking = rank(images, {s: METRICS[s].direction for s in results.metrics}, resamples=50)
    methods = tuple(replace(m, kind="results", seconds=None) for m in results.methods)
    html = render(replace(results, images=images, methods=methods), ranking)
    assert table(html)[0][4] == "–"
    assert all(len(row) == 5 for row in table(html))  # neither time nor memory
    assert "Not measured: all results were made elsewhere." in html
    Page(html)


def test_many_metrics_of_many_methods_with_long_names(monkeypatch):
    values = {}
    rng = np.random.default_rng(0)
    for i in range(17):  # a radar of more than 16 metrics is labelled otherwise
        values[f"M{i}"] = {f"{'method with a long name':36}{j:04}": rng.normal(j, 5, 2) for j in range(12)}
        monkeypatch.setitem(
            METRICS, f"M{i}", Metric(METRICS["EN"].function, "made up", "", (0.0, 1.0), "here")
        )
    results, ranking = comparison(values, pictures=())
    html = render(results, ranking)
    rows = table(html)
    assert len(rows) == 12
    assert {len(row) for row in rows} == {17 + 4}
    assert {len(title(row[0])) for row in rows} == {40 - 36 + len("method with a long name") + 1}
    assert len(addresses(Page(html))) == 6 + 17
