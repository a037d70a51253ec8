"""What runs record of their outputs, and what a later run does with what stands there."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import haarmony
from haarmony import jobs, phantom
from haarmony.io import Picture, read, write
from haarmony.manifest import Entry, Manifest

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other links, signals and names")


def maximum(a: Picture, b: Picture) -> Picture:
    return Picture(np.maximum(a.pixels, b.pixels), a.value_range)


def mortal(a: Picture, b: Picture) -> Picture:
    """The maximum, but whoever finds the file DEATH takes it away and dies."""
    try:
        Path(os.environ["DEATH"]).unlink()
    except FileNotFoundError:
        return maximum(a, b)
    os.kill(os.getpid(), signal.SIGKILL)


def mortal_at_its_pair(a: Picture, b: Picture) -> Picture:
    """The maximum, but who is given the pair that DEATH names by its turn dies."""
    for name in os.listdir(os.environ["DEATH"]):
        if (a.pixels == np.roll(phantom.head(size=64).pair("CT", 32)[0], int(name[1:]), axis=0)).all():
            os.kill(os.getpid(), signal.SIGKILL)
    return maximum(a, b)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(out: Path) -> dict[str, dict[str, str]]:
    with open(out / "manifest.csv", newline="", encoding="utf-8") as file:
        return {row["stem"]: row for row in csv.DictReader(file)}


def places(out: Path) -> dict[str, tuple[int, int]]:
    """By which a file that was made again is told."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.png")}


def fill(folder: Path, stems: list[str]) -> list[jobs.Pair]:
    for source in ("a", "b"):
        (folder / source).mkdir()
    first, second = phantom.head(size=64).pair("CT", 32)
    for i, stem in enumerate(stems):
        write(folder / "a" / f"{stem}.png", np.roll(first, i, axis=0))
        write(folder / "b" / f"{stem}.png", np.roll(second, i, axis=1))
    return list(jobs.pairs(folder / "a", folder / "b").pairs)


def change(path: Path) -> None:
    write(path, 255 - read(path).pixels)


def test_every_pair_has_its_row(tmp_path):
    pairs, out = fill(tmp_path, ["p1", "p2", "p3"]), tmp_path / "out"
    out.mkdir()
    write(out / "p3.png", np.zeros((4, 4), np.uint8))
    pairs[1].b.write_bytes(b"no picture,\n")
    list(jobs.run(pairs, out, maximum))
    found = rows(out)
    assert list(found) == ["p1", "p2", "p3"]
    assert list(found["p1"]) == list(Entry.model_fields)
    assert 0 < float(found["p1"].pop("seconds")) < 60
    assert found["p1"] == {
        "stem": "p1",
        "a": str(pairs[0].a),
        "b": str(pairs[0].b),
        "a_sha256": sha256(pairs[0].a),
        "b_sha256": sha256(pairs[0].b),
        "out": "p1.png",
        "out_sha256": sha256(out / "p1.png"),
        "model": "maximum",
        "version": haarmony.__version__,
        "result": "fused",
        "values_a": "0,255",
        "values_b": "0,255",
        **dict.fromkeys(("card_sha256", "engine", "steps", "seed", "colour", "plane", "slices"), ""),
        **dict.fromkeys(("range_a", "range_b", "tile", "alignment", "transform_sha256", "error"), ""),
        "explanation_sha256": "",
    }
    failed, skipped = found["p2"], found["p3"]
    assert (failed["result"], failed["out_sha256"]) == ("failed", "")
    assert (failed["a_sha256"], failed["b_sha256"]) == (sha256(pairs[1].a), sha256(pairs[1].b))
    assert failed["error"].startswith(f"{pairs[1].b}: ")
    assert (skipped["result"], skipped["model"], skipped["a_sha256"]) == ("skipped", "", "")


def test_a_models_row_says_how_to_make_it_again(tmp_path):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    fusing = jobs.Fusing("medical", steps=2, seed=7, colour="grey")
    list(jobs.run(pairs, out, fusing))
    row = rows(out)["p1"]
    card = Path(haarmony.__file__).parent / "weights/medical/card.toml"
    keys = ("model", "card_sha256", "engine", "steps", "seed", "colour")
    assert [row[key] for key in keys] == ["medical", sha256(card), "onnx", "2", "7", "grey"]
    assert int(jobs.Fusing().settings().steps) == haarmony.Fuser().card.diffusion.steps
    before = places(out)
    assert [outcome.status for outcome in jobs.run(pairs, out, replace(fusing, threads=2))] == ["skipped"]
    assert places(out) == before
    (outcome,) = jobs.run(pairs, out, replace(fusing, seed=8))
    assert outcome.notes == (f"{out / 'p1.png'}: fused again, since seed: 7 → 8",)
    assert rows(out)["p1"]["seed"] == "8"


def test_bytes_do_not_depend_on_threads(tmp_path):
    a, b = phantom.head(size=(80, 144)).pair("PET", 64)
    unit = [x.astype(np.float32) / np.float32(255) for x in (a, b)]
    one, two = (haarmony.Fuser(threads=threads)(*unit, steps=2) for threads in (1, 2))
    assert one.dtype == np.float32
    assert one.tobytes() == two.tobytes()


def test_workers_make_the_same_bytes(tmp_path):
    pairs = fill(tmp_path, ["p1", "p2", "p3"])
    fusing = jobs.Fusing(steps=2, threads=1)
    list(jobs.run(pairs, tmp_path / "one", fusing))
    outcomes = list(jobs.run(pairs, tmp_path / "two", fusing, workers=2))
    assert [outcome.status for outcome in outcomes] == ["fused"] * 3
    for stem in ("p1", "p2", "p3"):
        assert sha256(tmp_path / f"one/{stem}.png") == sha256(tmp_path / f"two/{stem}.png")
        one, two = rows(tmp_path / "one")[stem], rows(tmp_path / "two")[stem]
        assert one | {"seconds": ""} == two | {"seconds": ""}


def test_what_was_made_of_other_sources_is_made_again(tmp_path):
    pairs, out = fill(tmp_path, ["p1", "p2", "p3"]), tmp_path / "out"
    list(jobs.run(pairs, out, maximum))
    before = places(out)
    change(pairs[1].b)
    skipped, last, redone = jobs.run(pairs, out, maximum)
    assert [outcome.status for outcome in (skipped, last, redone)] == ["skipped", "skipped", "fused"]
    assert redone.notes == (f"{out / 'p2.png'}: fused again, since {pairs[1].b} has changed",)
    after = places(out)
    assert {name for name in after if after[name] != before[name]} == {"p2.png"}
    np.testing.assert_array_equal(
        read(out / "p2.png").pixels, np.maximum(read(pairs[1].a).pixels, read(pairs[1].b).pixels)
    )
    assert rows(out)["p2"]["b_sha256"] == sha256(pairs[1].b)


def test_sources_that_have_moved_are_the_same(tmp_path):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    list(jobs.run(pairs, out, maximum))
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    moved = jobs.pairs(tmp_path / "elsewhere", tmp_path / "b").pairs
    assert [outcome.status for outcome in jobs.run(moved, out, maximum)] == ["skipped"]
    assert rows(out)["p1"]["a"] == str(tmp_path / "elsewhere/p1.png")


def test_what_another_hand_made_stays_whatever_changes(tmp_path):
    pairs, out = fill(tmp_path, ["p1", "p2"]), tmp_path / "out"
    list(jobs.run(pairs, out, maximum))
    change(out / "p1.png")
    (out / "p2.png").unlink()
    (out / "p2.png").symlink_to(pairs[1].a)
    for pair in pairs:
        change(pair.b)
    before, source = places(out), pairs[1].a.read_bytes()
    for outcome in jobs.run(pairs, out, maximum):
        assert outcome.status == "skipped"
        assert outcome.notes == (
            f"{outcome.out}: is no file that the manifest knows, so it stays; --overwrite replaces it",
        )
    assert places(out) == before
    assert [row["result"] for row in rows(out).values()] == ["skipped", "skipped"]
    assert [x.status for x in jobs.run(pairs, out, maximum, overwrite=True)] == ["fused", "fused"]
    assert not (out / "p2.png").is_symlink()
    assert pairs[1].a.read_bytes() == source
    assert rows(out)["p2"]["out_sha256"] == sha256(out / "p2.png")


@posix
@pytest.mark.parametrize("target", ["mine.png", "nowhere.png"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path, target):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    out.mkdir()
    (tmp_path / "mine.png").write_bytes(b"mine")
    (out / "p1.png").symlink_to(tmp_path / target)
    assert [outcome.status for outcome in jobs.run(pairs, out, maximum)] == ["skipped"]
    assert (out / "p1.png").is_symlink()
    assert [outcome.status for outcome in jobs.run(pairs, out, maximum, overwrite=True)] == ["fused"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "mine.png", "out"]
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    assert read(out / "p1.png").pixels.shape == (64, 64)


def test_a_file_that_appears_during_the_run_stays(tmp_path):
    pairs, out = fill(tmp_path, ["p1", "p2"]), tmp_path / "out"
    outcomes = jobs.run(pairs, out, maximum)
    assert next(outcomes).status == "fused"
    (out / "p2.png").write_bytes(b"mine")
    assert next(outcomes).status == "skipped"
    assert (out / "p2.png").read_bytes() == b"mine"


@posix
@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
def test_a_manifest_that_is_none_is_refused(tmp_path, name):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    out.mkdir()
    (tmp_path / "mine").write_bytes(b"patient,age\n")
    (out / name).symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match=f"{name}: is a link"):
        list(jobs.run(pairs, out, maximum))
    (out / name).unlink()
    (out / "manifest.csv").write_bytes(b"patient,age\n")
    with pytest.raises(ValueError, match=r"manifest\.csv: is no manifest of ours"):
        list(jobs.run(pairs, out, maximum))
    assert os.listdir(out) == ["manifest.csv"]
    assert (tmp_path / "mine").read_bytes() == (out / "manifest.csv").read_bytes() == b"patient,age\n"


def another_version(out: Path, change) -> None:
    """Make the manifest what another version might have written, by a change of its rows."""
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        change(line)
    (out / "manifest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with open(out / "manifest.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]), extrasaction="ignore")
        table.writeheader()
        table.writerows(lines)


def test_a_manifest_with_more_columns_is_read_by_name_and_keeps_them(tmp_path):
    pairs, out = fill(tmp_path, ["p1", "p2", "p3"]), tmp_path / "out"
    list(jobs.run(pairs[:2], out, maximum))
    before = places(out)

    def change(line):
        items = [("grain", 3), *reversed(line.items())]
        line.clear()
        line.update(items)

    another_version(out, change)
    assert [x.status for x in jobs.run(pairs, out, maximum)] == ["skipped", "skipped", "fused"]
    assert {name: places(out)[name] for name in before} == before
    assert [row["grain"] for row in rows(out).values()] == ["3", "3", ""]


def test_what_an_older_version_did_not_record_is_unknown(tmp_path):
    """It stays where nobody asks for that setting, and is made again, with a note, where somebody does."""
    pairs, out = fill(tmp_path, ["p1", "p2"]), tmp_path / "out"
    fusing = jobs.Fusing("medical", steps=1)
    list(jobs.run(pairs, out, fusing))

    def change(line):
        for name in ("tile", "alignment", "transform_sha256", "plane"):
            del line[name]

    another_version(out, change)
    before = places(out)
    assert [x.status for x in jobs.run(pairs, out, fusing)] == ["skipped", "skipped"]
    assert places(out) == before
    outcomes = list(jobs.run(pairs, out, replace(fusing, tile=0)))
    assert [x.notes for x in outcomes] == [
        (f"{out / name}: fused again, since tile: unknown → 0",) for name in ("p1.png", "p2.png")
    ]
    another_version(out, lambda line: line.pop("a_sha256"))
    (outcome,) = jobs.run(pairs[:1], out, replace(fusing, tile=0))
    assert outcome.notes == (f"{out / 'p1.png'}: fused again, since {pairs[0].a} may have changed",)


@pytest.mark.parametrize(
    "content", [b"", b"stem,a,b\r\n", b'"' + bytes(1 << 18), b"\xff\0\n", b"stem;a;b;out"]
)
def test_a_table_that_lacks_what_every_version_has_is_refused(tmp_path, content):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    out.mkdir()
    (out / "manifest.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.csv: is no manifest of ours"):
        list(jobs.run(pairs, out, maximum))
    assert (out / "manifest.csv").read_bytes() == content


def test_a_record_of_another_kind_is_refused_and_left_as_it_is(tmp_path):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    out.mkdir()
    (out / "manifest.jsonl").write_bytes(b'{"file": "mine.nii"}\nhalf')
    with pytest.raises(ValueError, match=r"manifest\.jsonl: is no record of ours and would be changed"):
        list(jobs.run(pairs, out, maximum, overwrite=True))
    assert os.listdir(out) == ["manifest.jsonl"]
    assert (out / "manifest.jsonl").read_bytes() == b'{"file": "mine.nii"}\nhalf'


@posix
@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
def test_a_pipe_in_the_place_of_the_manifest_is_refused(tmp_path, name):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / name)
    with pytest.raises(ValueError, match=f"{name}: is no regular file"):
        list(jobs.run(pairs, out, maximum))


@pytest.mark.parametrize("left", [b"", None], ids=["emptied", "removed"])
def test_what_the_table_knows_counts_where_the_record_is_lost(tmp_path, left):
    pairs, out = fill(tmp_path, ["p1", "p2"]), tmp_path / "out"
    fusing = jobs.Fusing("medical", steps=1, seed=7)
    list(jobs.run(pairs, out, fusing))
    before, table = places(out), (out / "manifest.csv").read_bytes()
    (out / "manifest.jsonl").unlink() if left is None else (out / "manifest.jsonl").write_bytes(left)
    for _ in range(2):
        assert [x.status for x in jobs.run(pairs, out, fusing)] == ["skipped", "skipped"]
        assert (places(out), (out / "manifest.csv").read_bytes()) == (before, table)
    (outcome,) = jobs.run(pairs[:1], out, replace(fusing, seed=8))
    assert outcome.notes == (f"{out / 'p1.png'}: fused again, since seed: 7 → 8",)
    assert rows(out)["p2"]["seed"] == "7"
    write(out / "p2.png", np.zeros((4, 4), np.uint8))  # another's
    assert [x.status for x in jobs.run(pairs[1:], out, fusing)] == ["skipped"]
    assert read(out / "p2.png").pixels.shape == (4, 4)


@posix
def test_one_run_at_a_time(tmp_path):
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    out.mkdir()
    with (
        Manifest(out),
        pytest.raises(BlockingIOError, match=r"manifest\.jsonl: another run is at work on it"),
    ):
        list(jobs.run(pairs, out, maximum))
    assert [outcome.status for outcome in jobs.run(pairs, out, maximum)] == ["fused"]


@posix
def test_wild_names_come_back_from_the_table(tmp_path):
    stems = ["comma, comma", 'the "best"', "two\nlines", "=1+1", "ärger", "r\rr", os.fsdecode(b"\xff")]
    pairs, out = fill(tmp_path, stems), tmp_path / "out"
    assert {outcome.status for outcome in jobs.run(pairs, out, maximum, workers=2)} == {"fused"}
    found = rows(out)
    assert found.keys() == {*stems[:-1], "\\udcff"}
    for stem in stems[:-1]:
        assert found[stem]["out"] == f"{stem}.png"
        assert found[stem]["a"] == str(tmp_path / "a" / f"{stem}.png")
        assert found[stem]["out_sha256"] == sha256(out / f"{stem}.png")
    before = places(out)
    assert {outcome.status for outcome in jobs.run(pairs, out, maximum)} == {"skipped"}
    assert places(out) == before


@posix
def test_a_pair_whose_worker_is_killed_is_tried_once_more(tmp_path, monkeypatch):
    death = tmp_path / "death"
    monkeypatch.setenv("DEATH", str(death))
    pairs, out = fill(tmp_path, [f"p{i}" for i in range(6)]), tmp_path / "out"
    list(jobs.run(pairs, tmp_path / "unbroken", mortal))
    death.touch()
    outcomes = list(jobs.run(pairs, out, mortal, workers=2))
    assert [outcome.status for outcome in outcomes] == 6 * ["fused"]
    *others, last = outcomes
    note = f"{last.out}: was tried twice, since the worker process died at it"
    assert (last.notes, {outcome.notes for outcome in others}) == ((note,), {()})
    for pair in pairs:
        assert sha256(out / f"{pair.stem}.png") == sha256(tmp_path / f"unbroken/{pair.stem}.png")


@posix
def test_a_worker_that_is_killed_twice_costs_its_pair_alone_and_the_next_run_makes_it(tmp_path, monkeypatch):
    death = tmp_path / "death"
    monkeypatch.setenv("DEATH", str(death))
    pairs, out = fill(tmp_path, [f"p{i}" for i in range(6)]), tmp_path / "out"
    list(jobs.run(pairs, tmp_path / "unbroken", mortal))
    death.mkdir()
    (death / "p3").touch()
    outcomes = list(jobs.run(pairs, out, mortal_at_its_pair, workers=2))
    assert sorted(outcome.status for outcome in outcomes) == ["failed"] + 5 * ["fused"]
    (lost,) = (outcome for outcome in outcomes if outcome.error)
    assert lost.pair.stem == "p3"
    assert str(lost.error) == "the worker process died at it: killed, or out of memory"
    row = rows(out)[lost.pair.stem]
    assert (row["result"], row["error"]) == ("failed", str(lost.error))
    assert sorted(os.listdir(out)) == sorted(
        ["manifest.csv", "manifest.jsonl", *(x.out.name for x in outcomes if x is not lost)]
    )
    before = places(out)
    (death / "p3").unlink()
    again = list(jobs.run(pairs, out, mortal_at_its_pair, workers=2))
    assert [x.pair for x in again if x.status == "fused"] == [lost.pair]
    assert {name: place for name, place in places(out).items() if name in before} == before
    for pair in pairs:
        assert sha256(out / f"{pair.stem}.png") == sha256(tmp_path / f"unbroken/{pair.stem}.png")
        assert rows(out)[pair.stem]["result"] == "fused"


def test_an_output_that_was_recorded_but_not_put_in_its_place(tmp_path):
    """As when the machine is switched off between the two: the record knows both files, so either is ours."""
    pairs, out = fill(tmp_path, ["p1"]), tmp_path / "out"
    list(jobs.run(pairs, out, maximum))
    first = (out / "p1.png").read_bytes()
    change(pairs[0].a)
    list(jobs.run(pairs, out, maximum))
    second = (out / "p1.png").read_bytes()
    (out / "p1.png").write_bytes(first)
    assert [outcome.status for outcome in jobs.run(pairs, out, maximum)] == ["fused"]
    assert (out / "p1.png").read_bytes() == second != first
    (out / "p1.png").unlink()
    assert [outcome.status for outcome in jobs.run(pairs, out, maximum)] == ["fused"]
    assert (out / "p1.png").read_bytes() == second


@posix
def test_a_full_disk_fails_the_pairs_that_are_left_and_leaves_nothing_half(tmp_path):
    """The record takes two lines, pictures as much as they need; then there is no room for either."""
    import resource

    pairs, out = fill(tmp_path, [f"p{i}" for i in range(6)]), tmp_path / "out"
    for i, pair in enumerate(pairs):
        write(pair.a, np.full((64, 64), i, np.uint8))
        write(pair.b, np.full((64, 64), 9, np.uint8))
    list(jobs.run(pairs, tmp_path / "unbroken", maximum))
    room = (tmp_path / "unbroken/manifest.jsonl").stat().st_size // 6 * 5 // 2
    sizes = {path.stem: path.stat().st_size for path in (tmp_path / "unbroken").glob("*.png")}
    assert max(sizes.values()) < room
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    done: list[jobs.Outcome] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            done.extend(jobs.run(pairs, out, maximum))  # raises once all are done
        stands = sorted(os.listdir(out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [outcome.status for outcome in done] == 2 * ["fused"] + 4 * ["failed"]
    problem = f"[Errno {errno.EFBIG}] File too large: '{out / 'manifest.jsonl'}'"
    assert {str(outcome.error) for outcome in done[2:]} == {problem}
    assert caught.value.filename == str(out / "manifest.csv")
    assert stands == ["manifest.jsonl", "p0.png", "p1.png"]
    kept = places(out)
    statuses = [outcome.status for outcome in jobs.run(pairs, out, maximum)]
    assert statuses == 2 * ["skipped"] + 4 * ["fused"]
    assert {name: places(out)[name] for name in kept} == kept
    for pair in pairs:
        assert sha256(out / f"{pair.stem}.png") == sha256(tmp_path / f"unbroken/{pair.stem}.png")
        assert rows(out)[pair.stem]["result"] == "fused"


def test_a_run_that_is_asked_to_stop_ends_with_what_is_begun(tmp_path):
    pairs, out = fill(tmp_path, ["p1", "p2", "p3"]), tmp_path / "out"
    done: list[jobs.Outcome] = []
    done.extend(jobs.run(pairs, out, maximum, stop=lambda: len(list(out.glob("*.png"))) == 2))
    assert [outcome.pair.stem for outcome in done] == ["p1", "p2"] == list(rows(out))
