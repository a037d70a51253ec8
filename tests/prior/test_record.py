"""The files of a search as their first version wrote them: what once was found stays found."""

from __future__ import annotations

import math

import pytest

from haarmony.journal import Journal
from haarmony.prior.record import JOURNAL, RECORD, Entry, Record, Scored, load_known

SCORED = '{"key":"k","metrics":{"VIF":"NaN","SSIM":1.25},"score":"-Infinity","eligible":true}'
ENTRY = (
    '{"stem":"p1","winner":"pca","score":2.5,"function_held":false,"candidates":{"pca":'
    + SCORED
    + '},"sources":"s","settings":"t","picture":"p"}'
)
PAIRS = f'"p1":{ENTRY},"p2":{ENTRY.replace("p1", "p2")}'
OLD = '{"settings":{"convention":"cddfuse"},"folders":{},"pairs":{' + PAIRS + "}}"


def test_an_old_record_and_journal_are_read(tmp_path):
    (tmp_path / RECORD).write_text(OLD)
    newer = ENTRY.replace('"score":2.5', '"score":3.5')
    (tmp_path / JOURNAL).write_text(f"{newer}\n{ENTRY.replace('p1', 'p3')}\n{ENTRY[:50]}")
    known = load_known(tmp_path, Journal(tmp_path / JOURNAL, Entry))
    assert {stem: entry.score for stem, entry in known.items()} == {"p1": 3.5, "p2": 2.5, "p3": 2.5}
    scored = known["p2"].candidates["pca"]
    assert (scored.score, scored.metrics["SSIM"]) == (-math.inf, 1.25)
    assert math.isnan(scored.metrics["VIF"])


def test_the_record_is_written_as_it_was(tmp_path):
    scored = Scored(key="k", metrics={"VIF": math.nan, "SSIM": 1.25}, score=-math.inf, eligible=True)
    entry = Entry(
        stem="p1",
        winner="pca",
        score=2.5,
        function_held=False,
        candidates={"pca": scored},
        sources="s",
        settings="t",
        picture="p",
    )
    pairs = {"p2": entry.model_copy(update={"stem": "p2"}), "p1": entry}
    record = Record(settings={"convention": "cddfuse"}, folders={}, pairs=pairs)
    record.save(tmp_path)
    text = (tmp_path / RECORD).read_text()
    assert "".join(text.split()) == OLD
    assert text.startswith('{\n "settings": {\n  "convention"')
    with Journal(tmp_path / JOURNAL, Entry) as journal:
        journal.append(entry)
    assert (tmp_path / JOURNAL).read_text() == f"{ENTRY}\n"


@pytest.mark.parametrize("text", ["", "{}", OLD.replace('"key"', '"keys"')])
def test_a_record_of_another_kind_counts_for_nothing(tmp_path, caplog, text):
    (tmp_path / RECORD).write_text(text)
    assert load_known(tmp_path, Journal(tmp_path / JOURNAL, Entry)) == {}
    assert caplog.messages == [
        f"{tmp_path / RECORD} is damaged or of another version: every pair is searched again"
    ]
