"""Splits, and what a pair is before it is fused."""

import json
from pathlib import Path

import numpy as np
import pytest

from haarmony.compare.dataset import survey, take, telling
from haarmony.io import write
from haarmony.jobs import Pair, pairs
from haarmony.metrics import en

PLACES = Path("mri"), Path("pet")


@pytest.fixture
def found(data):
    Path("splits.json").write_text(json.dumps({"harvard/X": {"train": ["p1"], "val": ["p3", "p2", "p9"]}}))
    return pairs(*PLACES).pairs


def test_all_pairs(found):
    assert take(found, None) == (list(found), "all pairs", [])


def test_a_split_takes_the_pairs_there_are(found):
    taken, name, missing = take(found, "splits.json:harvard/X/val")
    assert [pair.stem for pair in taken] == ["p2", "p3"]
    assert name == "val of harvard/X (splits.json), 1 of its 3 pairs missing"
    assert missing == ["p9"]
    assert take(found, "splits.json:harvard/X/train")[1:] == ("train of harvard/X (splits.json)", [])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("splits.json", "split 'splits.json' is not FILE:NAME/PART"),
        ("splits.json:val", "is not FILE:NAME/PART"),
        ("splits.json:harvard/X/test", "splits.json: has no split harvard/X/test; it has harvard/X/train"),
        ("mri/p1.png:x/y", "mri/p1.png: is no JSON"),
        ("list.json:x/y", "list.json: is no JSON of the form"),
        ("other.json:x/y", "other.json: no pair of the folders is in x/y"),
        ("nowhere.json:x/y", "nowhere.json"),
    ],
)  # fmt: skip
def test_splits_that_do_not_fit(found, split, message):
    Path("list.json").write_text("[1]")
    Path("other.json").write_text('{"x": {"y": ["q"]}}')
    with pytest.raises((ValueError, OSError), match=message):
        take(found, split)


def test_survey(found):
    write("mri/p2.png", np.zeros((44, 40), np.uint8))
    outcomes = {pair.stem: outcome for pair, outcome in survey(found)}
    first = outcomes["p1"]()
    assert first.size == (48, 44)
    pet = np.rint(np.asarray(_pixels("pet/p1.png"), float) @ [0.299, 0.587, 0.114]).astype(np.uint8)
    assert first.detail == pytest.approx(min(en(_pixels("mri/p1.png")), en(pet)))
    with pytest.raises(ValueError, match=r"mri/p2\.png with pet/p2\.png: the sources differ in size: 40×44"):
        outcomes["p2"]()
    third = outcomes["p3"]()
    assert telling([first, third]).detail == max(first.detail, third.detail)
    assert first.sources != third.sources
    assert [one().sources for _, one in survey([Pair(Path("mri/p1.png"), Path("pet/p1.png"))])] == [
        first.sources
    ]


def _pixels(path):
    from haarmony.io import read

    return read(path).pixels
