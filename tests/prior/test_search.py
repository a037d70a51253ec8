"""The targeted search: what it picks, and what it does not compute twice."""

import errno
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from haarmony import jobs
from haarmony.classical import CLASSICAL
from haarmony.io import read, write
from haarmony.metrics import score
from haarmony.prior import SearchConfig, build, choose, load

WEIGHTS = {"SSIM": 2.0, "VIF": 1.0, "Qabf": 3.0}
SMALL = SearchConfig(candidates=("average", "maximum", "laplacian"))
STEMS = ("one", "two", "three")


def luma8(seed, shape=(48, 56)):
    """A disc of tissue with texture in air, 8 bit."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    inside = np.hypot(y - shape[0] / 2, x - shape[1] / 2) < min(shape) / 2 - 3
    tissue = 0.45 + 0.25 * np.sin(x / (3 + seed % 5) + seed) * np.cos(y / 4) + 0.1 * rng.random(shape)
    return np.rint(255 * tissue * inside).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three pairs, grey, in A and B."""
    for i, stem in enumerate(STEMS):
        save(tmp_path / "A" / f"{stem}.png", luma8(i))
        save(tmp_path / "B" / f"{stem}.png", luma8(i + 10))
    return tmp_path


def save(path, pixels):
    path.parent.mkdir(exist_ok=True)
    write(path, pixels)


def run(folder, *, out="out", config=SMALL, workers=1, **options):
    """Run a search to its end: {stem: entry}, and how many candidates each pair had to have scored."""
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    progress = list(build(pairs, folder / out, config=config, workers=workers, **options))
    assert [p.done for p in progress] == [1, 2, 3]
    assert not [p.error for p in progress if p.error]
    return {p.stem: p.entry for p in progress}, {p.stem: p.scored for p in progress}


def files(out):
    return {path.name: path.read_bytes() for path in sorted(Path(out).iterdir())}


def fused(folder, stem, name):
    a, b = (read(folder / side / f"{stem}.png").pixels for side in "AB")
    return np.rint(255 * CLASSICAL[name].function(a / 255, b / 255)).astype(np.uint8)


def test_choose_takes_the_largest_weighted_sum():
    table = {"p": {"SSIM": 1.0, "VIF": 0.5}, "q": {"SSIM": 0.9, "VIF": 0.8}, "r": {"SSIM": 0.2, "VIF": 0.2}}
    assert choose(table, {"SSIM": 2.0, "VIF": 1.0}) == "q"  # 2.5, 2.6, 0.6
    assert choose(table, {"SSIM": 4.0, "VIF": 1.0}) == "p"  # 4.5, 4.4, 1.0
    assert choose(table, {"SSIM": -1.0}) == "r"
    assert choose(dict(reversed(table.items())), {"SSIM": 0.0}) == "r"  # of equals, the first


def test_choose_holds_function():
    table = {
        "hides": {"VIF": 3.0, "function": 0.2},
        "shows": {"VIF": 1.0, "function": 0.7},
        "half": {"VIF": 2.0, "function": 0.5},
    }
    assert choose(table, {"VIF": 1.0}) == "hides"
    assert choose(table, {"VIF": 1.0}, floor=0.5) == "half"
    assert choose(table, {"VIF": 1.0}, floor=0.501) == "shows"
    assert choose(table, {"VIF": 1.0}, floor=0.9) == "shows"  # none has as much: the one with the most


def test_choose_passes_over_undefined_metrics():
    table = {"p": {"VIF": float("nan")}, "q": {"VIF": -1.0}}
    assert choose(table, {"VIF": 1.0}) == "q"


def test_the_best_candidate_is_written(folder):
    """Every score, and with them the winner, is what the metrics say of the fused pictures themselves."""
    entries, _ = run(folder)
    record = json.loads((folder / "out" / "prior.json").read_text())
    assert list(record["pairs"]) == sorted(STEMS)
    assert record["settings"] == SMALL.model_dump(mode="json")
    for stem in STEMS:
        a, b = (read(folder / side / f"{stem}.png").pixels for side in "AB")
        totals = {}
        for name in SMALL.candidates:
            values = score(fused(folder, stem, name), a, b, convention="cddfuse", metrics=WEIGHTS)
            totals[name] = sum(weight * values[symbol] for symbol, weight in WEIGHTS.items())
            assert record["pairs"][stem]["candidates"][name]["score"] == pytest.approx(totals[name])
            assert record["pairs"][stem]["candidates"][name]["metrics"] == pytest.approx(values)
        winner = max(totals, key=totals.get)
        assert entries[stem].winner == record["pairs"][stem]["winner"] == winner
        assert entries[stem].score == pytest.approx(totals[winner])
        assert np.array_equal(read(folder / "out" / f"{stem}.png").pixels, fused(folder, stem, winner))


def test_load_gives_the_target(folder):
    entries, _ = run(folder)
    x_0 = load(folder / "out", "two")
    assert x_0.dtype == np.float32
    assert np.array_equal(np.rint(255 * x_0), fused(folder, "two", entries["two"].winner))
    with pytest.raises(FileNotFoundError, match=r"four\.png"):
        load(folder / "out", "four")


def test_a_planted_result_wins_where_it_is_best(folder):
    """Against the average alone: the maximum, planted for one pair as another method's result, and noise."""
    rng = np.random.default_rng(0)
    save(folder / "ours" / "two.png", fused(folder, "two", "maximum"))
    for stem in STEMS:
        save(folder / "noise" / f"{stem}.png", rng.integers(0, 256, (48, 56)).astype(np.uint8))
    config = SearchConfig(candidates=("average",))
    entries, scored = run(folder, config=config, folders={"ours": folder / "ours", "noise": folder / "noise"})
    assert {stem: entry.winner for stem, entry in entries.items()} == {
        "one": "average",
        "two": "ours",
        "three": "average",
    }
    assert scored == {"one": 2, "two": 3, "three": 2}
    assert set(entries["one"].candidates) == {"average", "noise"}
    assert np.array_equal(read(folder / "out" / "two.png").pixels, fused(folder, "two", "maximum"))
    record = json.loads((folder / "out" / "prior.json").read_text())
    assert record["folders"] == {"ours": str(folder / "ours"), "noise": str(folder / "noise")}


def test_results_lose_their_haze(folder):
    """Air is zero in the target, whatever a method left there, and it is scored so."""
    clean = fused(folder, "two", "maximum")
    save(folder / "hazy" / "two.png", np.where(clean == 0, 3, clean).astype(np.uint8))
    entries, _ = run(
        folder, config=SearchConfig(candidates=("average", "maximum")), folders={"hazy": folder / "hazy"}
    )
    scores = entries["two"].candidates
    assert scores["hazy"].score == pytest.approx(scores["maximum"].score)
    assert entries["two"].winner == "maximum"


@pytest.fixture
def functional(folder):
    """Pair "two" gets a coloured second source; the results in "hides" show nothing of any second source."""
    uptake = luma8(12).astype(float)
    save(folder / "B" / "two.png", np.rint(uptake[..., None] * [1.0, 0.8, 0.2]).astype(np.uint8))
    for stem in STEMS:
        save(folder / "hides" / f"{stem}.png", read(folder / "A" / f"{stem}.png").pixels)
    return folder


@pytest.mark.parametrize(("hold", "held"), [(None, ["two"]), (True, list(STEMS)), (False, [])])
def test_function_is_held_where_the_second_source_is_coloured(functional, hold, held):
    """By VIF alone the picture that hides b wins everywhere it is allowed to."""
    config = SearchConfig(candidates=("average", "maximum"), weights={"VIF": 1.0}, hold_function=hold)
    entries, _ = run(functional, config=config, folders={"hides": functional / "hides"})
    for stem, entry in entries.items():
        assert entry.function_held == (stem in held)
        hides, maximum = entry.candidates["hides"], entry.candidates["maximum"]
        assert hides.score > maximum.score
        assert (entry.winner == "hides") == hides.eligible == (stem not in held)
        if stem in held:
            assert hides.metrics["function"] < maximum.metrics["function"] - config.function_margin
            assert entry.candidates[entry.winner].eligible


def test_the_margin_is_below_the_maximum_even_when_that_is_no_candidate(functional):
    folders = {"hides": functional / "hides"}
    strict = SearchConfig(candidates=("average",), weights={"VIF": 1.0})
    entries, _ = run(functional, config=strict, folders=folders)
    assert entries["two"].winner == "average"
    assert not entries["two"].candidates["maximum"].eligible
    lenient = strict.model_copy(update={"function_margin": 2.0})
    entries, scored = run(functional, config=lenient, folders=folders)
    assert entries["two"].winner == "hides"
    assert not any(scored.values())


def test_a_second_run_computes_nothing(folder):
    first, scored = run(folder)
    assert scored == dict.fromkeys(STEMS, 3)
    before = files(folder / "out")
    times = {path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("*.png")}
    second, scored = run(folder)
    assert scored == dict.fromkeys(STEMS, 0)
    assert second == first
    assert files(folder / "out") == before
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("*.png")} == times
    assert set(before) == {"prior.json", *(f"{stem}.png" for stem in STEMS)}


def test_new_weights_choose_anew_without_scoring(folder):
    run(folder)
    entries, scored = run(folder, config=SMALL.model_copy(update={"weights": {"VIF": -1.0}}))
    assert scored == dict.fromkeys(STEMS, 0)
    for stem, entry in entries.items():
        worst = min(entry.candidates, key=lambda name: entry.candidates[name].metrics["VIF"])
        assert entry.winner == worst
        assert np.array_equal(read(folder / "out" / f"{stem}.png").pixels, fused(folder, stem, worst))


def test_only_what_is_new_is_scored(folder):
    run(folder)
    _, scored = run(folder, config=SMALL.model_copy(update={"candidates": (*SMALL.candidates, "pca")}))
    assert scored == dict.fromkeys(STEMS, 1)
    _, scored = run(folder, config=SMALL.model_copy(update={"weights": {"SSIM": 1.0, "SCD": 1.0}}))
    assert scored == dict.fromkeys(STEMS, 3)  # SCD is
    _, scored = run(folder, config=SMALL.model_copy(update={"convention": "haarmony"}))
    assert scored == dict.fromkeys(STEMS, 3)
    run(folder)
    save(folder / "A" / "two.png", luma8(77))
    entries, scored = run(folder)
    assert scored == {"one": 0, "two": 3, "three": 0}
    assert np.array_equal(load(folder / "out", "two") * 255, fused(folder, "two", entries["two"].winner))
    for n in (30, 31):
        save(folder / "ours" / "one.png", luma8(n))
        _, scored = run(folder, folders={"ours": folder / "ours"})
        assert scored == {"one": 1, "two": 0, "three": 0}


def test_lost_and_changed_targets_are_written_again(folder):
    run(folder)
    before = files(folder / "out")
    (folder / "out" / "one.png").unlink()
    (folder / "out" / "two.png").write_bytes(b"")
    (folder / "out" / "three.png.part").write_bytes(b"unfinished")
    _, scored = run(folder, overwrite=True)
    assert scored == dict.fromkeys(STEMS, 0)
    assert files(folder / "out") == before


def test_pictures_that_no_search_made_stay(folder):
    out, pairs = folder / "out", jobs.pairs(folder / "A", folder / "B").pairs
    out.mkdir()
    save(out / "two.png", luma8(7))
    mine = files(out)
    errors = {p.stem: p.error for p in build(pairs, out, config=SMALL, workers=1)}
    assert str(errors["two"]).endswith("two.png: is no target that a search made; --overwrite replaces it")
    assert (errors["one"], errors["three"]) == (None, None)
    assert files(out)["two.png"] == mine["two.png"]
    run(folder, overwrite=True)
    assert files(out)["two.png"] != mine["two.png"]
    (out / "prior.json").unlink()  # what a search would make again is its own
    run(folder)


def test_a_record_that_no_search_wrote_stays(folder):
    (folder / "out").mkdir()
    for text in ("mine", '{"pairs": []}', "[1]"):
        (folder / "out" / "prior.json").write_text(text)
        with pytest.raises(ValueError, match=r"prior\.json: is no record of ours and would be replaced"):
            run(folder)
        assert os.listdir(folder / "out") == ["prior.json"]
        assert (folder / "out" / "prior.json").read_text() == text
    run(folder, overwrite=True)


@pytest.mark.parametrize(
    "damage", [lambda text: text[: len(text) // 2], lambda text: text[:20] + b"\xff\x00", lambda text: b""]
)
def test_a_damaged_record_is_not_used(folder, damage, caplog):
    run(folder)
    before, record = files(folder / "out"), folder / "out" / "prior.json"
    record.write_bytes(damage(record.read_bytes()))
    _, scored = run(folder)
    assert scored == dict.fromkeys(STEMS, 3)
    assert files(folder / "out") == before
    assert str(record) in caplog.text


def test_a_killed_run_loses_nothing(folder):
    """What stands on disk after two pairs, and half a line more, is all that the next run starts from."""
    out, left = folder / "out", folder / "left"
    search = build(jobs.pairs(folder / "A", folder / "B").pairs, out, config=SMALL, workers=1)
    finished = {next(search).stem, next(search).stem}
    shutil.copytree(out, left)
    search.close()
    assert not (left / "prior.json").exists()
    with open(left / "prior.journal", "a") as journal:
        journal.write('{"stem": "thr')
    _, scored = run(folder, out="left")
    assert {stem for stem, count in scored.items() if count == 0} == finished
    run(folder)
    assert files(left) == files(out)


def test_a_stopped_run_keeps_what_earlier_ones_found(folder):
    run(folder)
    search = build(
        jobs.pairs(folder / "A", folder / "B").pairs,
        folder / "out",
        config=SearchConfig(candidates=("pca",)),
        workers=1,
    )
    next(search)
    search.close()
    _, scored = run(folder)
    assert sorted(scored.values()) == [0, 0, 3]


def test_other_pairs_stay_only_under_the_same_settings(folder):
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    out = folder / "out"
    list(build(pairs[:1], out, config=SMALL, workers=1))
    list(build(pairs[1:2], out, config=SMALL, workers=1))
    assert list(json.loads((out / "prior.json").read_text())["pairs"]) == [pairs[0].stem, pairs[1].stem]
    list(build(pairs[1:2], out, config=SearchConfig(candidates=("pca",)), workers=1))
    assert list(json.loads((out / "prior.json").read_text())["pairs"]) == [pairs[1].stem]


def test_results_depend_on_neither_workers_nor_order(folder):
    run(folder)
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    progress = list(build(pairs[::-1], folder / "parallel", config=SMALL, workers=2))
    assert {p.stem for p in progress} == set(STEMS)
    assert files(folder / "parallel") == files(folder / "out")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_pair_is_named_and_stops_no_other(folder, workers):
    run(folder)
    (folder / "B" / "one.png").write_text("no picture")
    save(folder / "A" / "two.png", luma8(1, (40, 56)))
    save(folder / "ours" / "three.png", luma8(1, (48, 55)))
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    errors = {p.stem: p.error for p in build(pairs, folder / "out", config=SMALL, workers=workers)}
    assert str(folder / "B" / "one.png") in str(errors["one"])
    for part in (folder / "A" / "two.png", folder / "B" / "two.png", "56×40", "56×48"):
        assert str(part) in str(errors["two"])
    assert errors["three"] is None
    assert list(json.loads((folder / "out" / "prior.json").read_text())["pairs"]) == ["three"]
    errors = {
        p.stem: p.error
        for p in build(
            pairs, folder / "out", config=SMALL, folders={"ours": folder / "ours"}, workers=workers
        )
    }
    assert f"{folder / 'ours' / 'three.png'}: is 55×48, its sources are 56×48" in str(errors["three"])


def test_pictures_too_small_for_a_metric_are_named(folder):
    for side in "AB":
        save(folder / side / "one.png", luma8(1, (16, 16)))
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    errors = {p.stem: str(p.error) for p in build(pairs, folder / "out", config=SMALL, workers=1) if p.error}
    assert list(errors) == ["one"]
    assert str(folder / "A" / "one.png") in errors["one"]
    assert "16×16" in errors["one"]


def test_bad_calls_are_refused_before_any_work(folder):
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    out = folder / "out"
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        build(pairs, out, workers=0)
    with pytest.raises(ValueError, match="no pairs"):
        build([], out)
    with pytest.raises(ValueError, match="share a stem"):
        build([pairs[0], pairs[0]], out)
    with pytest.raises(ValueError, match="no candidates"):
        build(pairs, out, config=SearchConfig(candidates=()))
    with pytest.raises(ValueError, match="'maximum' is a classical fuser"):
        build(pairs, out, folders={"maximum": folder / "A"})
    save(folder / "elsewhere" / "four.png", luma8(0))
    with pytest.raises(ValueError, match=r"elsewhere: no picture is named like one of the pairs"):
        build(pairs, out, folders={"other": folder / "elsewhere"})
    with pytest.raises(OSError, match="missing"):
        build(pairs, out, folders={"other": folder / "missing"})
    assert not out.exists()


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"candidates": ("avarage",)}, "unknown classical fuser 'avarage'; known are average, maximum"),
        ({"weights": {"VIV": 1}}, "unknown metric 'VIV'; known are"),
        ({"weights": {}}, "at least 1 item"),
        ({"convention": "matlab"}, "'cddfuse' or 'haarmony'"),
        ({"function_margin": -1}, "greater than or equal to 0"),
        ({"margin": 1}, "Extra inputs are not permitted"),
    ],
)
def test_bad_settings_are_refused(setting, problem):
    with pytest.raises(ValidationError, match=problem):
        SearchConfig(**setting)


def test_colour_and_depth_of_the_sources_do_not_matter(folder):
    """Grey as RGB and 8 bit as 16 bit are the same luma."""
    run(folder)
    for side in "AB":
        grey = read(folder / side / "one.png").pixels
        save(folder / side / "one.png", np.repeat(grey[..., None], 3, axis=2))
        grey = read(folder / side / "two.png").pixels
        save(folder / side / "two.png", grey.astype(np.uint16) * 257)
    _, scored = run(folder)
    assert scored == dict.fromkeys(STEMS, 0)


def test_real_pairs(shared, tmp_path):
    """MRI with SPECT: the target keeps the tracer as well as the maximum does and scores no less."""
    root = shared / "data/harvard/SPECT-MRI"
    pairs = jobs.pairs(root / "MRI", root / "SPECT").pairs[::100]
    for progress in build(pairs, tmp_path, workers=1):
        entry = progress.entry
        assert entry.function_held
        maximum, winner = entry.candidates["maximum"], entry.candidates[entry.winner]
        assert winner.metrics["function"] >= maximum.metrics["function"] - 0.02
        assert winner.score >= maximum.score


def test_a_second_run_on_the_same_folder_is_refused(folder):
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    first = build(pairs, folder / "out", config=SMALL, workers=1)
    next(first)
    with pytest.raises(OSError, match=r"prior\.journal: another run is at work on it; wait for it to end"):
        next(build(pairs, folder / "out", config=SMALL, workers=1))
    assert len(list(first)) == 2
    assert set(run(folder)[1].values()) == {0}


def test_a_killed_worker_fails_one_pair_and_its_record_stays_out(folder):
    """Both workers are killed while the first result is looked at; what they had is done by a later run."""
    pairs = jobs.pairs(folder / "A", folder / "B").pairs
    search = build(pairs, folder / "out", config=SMALL, workers=2)
    progress = [next(search)]
    for worker in multiprocessing.active_children():
        worker.kill()
    progress += search
    assert {p.stem for p in progress} == set(STEMS)
    failed = {p.stem for p in progress if p.error}
    assert failed
    assert all("the worker process died" in str(p.error) for p in progress if p.error)
    kept = json.loads((folder / "out" / "prior.json").read_text())["pairs"]
    assert kept.keys() == set(STEMS) - failed
    _, scored = run(folder)
    assert {stem for stem, count in scored.items() if count} == failed


def test_a_full_disk_leaves_the_record_it_had(folder, monkeypatch):
    run(folder)
    before = files(folder / "out")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(folder)
    monkeypatch.undo()
    (folder / "out/prior.journal").unlink()
    assert files(folder / "out") == before
