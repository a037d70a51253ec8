"""What the documentation says holds: links lead somewhere, code prints what stands below it, tables agree."""

from __future__ import annotations

import contextlib
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest

from haarmony.metrics import CONVENTIONS, METRICS, score
from haarmony.phantom import head

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of docs/metrics.md, without its first two lines."""
    section = METRICS_PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)#]+)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("name", ["metrics", "explain"])
def test_the_code_on_a_page_prints_what_stands_below_it(name, tmp_path, monkeypatch):
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == text.count("```python") > 0
    names: dict[str, object] = {}
    for code, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"docs/{name}.md", "exec"), names)
        assert printed.getvalue() == expected


def test_the_table_of_all_metrics_is_that_of_the_code():
    def bound(x: float) -> str:
        return f"{x:g}".replace("inf", "∞").replace("-", "−")

    expected = []
    for symbol, metric in METRICS.items():
        span = " to ".join(map(bound, metric.range))
        expected.append(
            [symbol, metric.name, metric.direction, span, metric.unit or "–", str(metric.smallest)]
        )
    assert rows("All metrics") == expected


def test_the_table_of_conventions_names_all_metrics_that_part():
    a, pet = head(seed=42).pair("PET", 16)
    f = np.maximum(a, (pet @ [0.299, 0.587, 0.114]).round().astype(np.uint8)) // 2  # nowhere 255
    values = {convention: score(f, a, pet, convention=convention) for convention in CONVENTIONS}
    named = {row[0]: row[1:4] for row in rows("Where the three conventions part")}
    assert set(named) <= set(METRICS)
    for symbol in METRICS:
        there = [float(values[c][symbol]) if symbol in values[c] else math.nan for c in CONVENTIONS]
        assert (len({f"{value:.6g}" for value in there}) > 1) == (symbol in named), symbol
        if symbol in named:
            assert [cell == "–" for cell in named[symbol]] == [math.isnan(value) for value in there]


def test_every_metric_has_its_paragraph():
    section = METRICS_PAGE.split("\n## Metric by metric\n")[1].split("\n## ")[0]
    heads = [line for line in section.splitlines() if line.startswith("- **")]
    described = [symbol for line in heads for symbol in re.findall(r"\*\*(.+?)\*\*", line)]
    assert sorted(described) == sorted(METRICS)


def test_what_the_method_page_points_at_is_there():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    code = [
        (f"src/haarmony/{file}", name.split(".")[-1])
        for file, names in re.findall(r"`([\w/]+\.py): ([\w., ]+)`", text)
        for name in names.split(", ")
    ]
    assert min(len(tests), len(code)) > 40
    missing = [
        f"{file}: {name}"
        for file, name in [*tests, *code]
        if not re.search(rf"^ *(?:(?:def|class) )?{name}\b", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    ]
    assert not missing
