"""A journal keeps every finished item, wherever the writing of the next was cut off."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys

import pytest
from pydantic import Field

from haarmony.journal import MAX_BYTES, MAX_LINE, Journal, Line

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other locks and limits")


class Item(Line):
    name: str
    values: dict[str, float] = Field(default_factory=dict)


ONE = Item(name="one", values={"VIF": 0.1 + 0.2, "SSIM": -math.inf})
TWO = Item(name="zwei\n“2”", values={"VIF": 1e-300})
THREE = Item(name="three")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "work.journal"


def write(path, *items):
    with Journal(path, Item) as journal:
        for item in items:
            journal.append(item)


def test_items_come_back_in_order(path):
    assert Journal(path, Item).read() == []
    write(path, ONE, TWO)
    write(path, THREE)
    assert Journal(path, Item).read() == [ONE, TWO, THREE]
    assert path.read_bytes().count(b"\n") == 3


def test_undefined_values_are_text(path):
    write(path, Item(name="n", values={"VIF": math.nan, "SD": math.inf}))
    assert path.read_bytes() == b'{"name":"n","values":{"VIF":"NaN","SD":"Infinity"}}\n'
    (item,) = Journal(path, Item).read()
    assert math.isnan(item.values["VIF"])
    assert item.values["SD"] == math.inf


def test_each_item_is_there_as_soon_as_it_is_appended(path):
    with Journal(path, Item) as journal:
        for n in range(1, 4):
            journal.append(ONE)
            assert len(Journal(path, Item).read()) == len(journal.read()) == n


def test_wherever_a_line_is_cut_off_the_others_stay(path):
    write(path, ONE, TWO)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = [ONE, TWO][: (cut >= first) + (cut == len(whole))]
        assert Journal(path, Item).read() == kept
        write(path, THREE)
        assert Journal(path, Item).read() == [*kept, THREE]


def test_damaged_lines_are_passed_over_with_a_warning(path, caplog):
    write(path, ONE)
    with open(path, "ab") as file:
        file.write(b'\x00\x00\xff\n{"name":"n","unit":"bit"}\n')
    write(path, TWO)
    assert Journal(path, Item).read() == [ONE, TWO]
    assert caplog.messages == [f"{path}: 2 lines are damaged or of another version"]


ENDLESS = """
import sys
from pathlib import Path
from haarmony.journal import Journal, Line

class Item(Line):
    name: str

with Journal(Path(sys.argv[1]), Item) as journal:
    print("open", flush=True)
    for n in range(10 ** 9):
        journal.append(Item(name=f"{n} " + 9999 * "x"))
"""


@posix
def test_a_killed_run_leaves_what_it_finished(path):
    for _ in range(3):
        run = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE)
        assert run.stdout.readline() == b"open\n"
        with pytest.raises(BlockingIOError, match=r"work\.journal: another run is at work on it"):
            Journal(path, Item).__enter__()
        while path.stat().st_size < 200_000:
            pass
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        run.stdout.close()
        write(path, ONE)
        *items, last = Journal(path, Item).read()
        assert len(items) >= 10
        assert [item.name for item in items] == [f"{n} {9999 * 'x'}" for n in range(len(items))]
        assert last == ONE
        path.unlink()


FULL = """
import resource, sys
from pathlib import Path
from haarmony.journal import Journal, Line

class Item(Line):
    name: str

with Journal(Path(sys.argv[1]), Item) as journal:
    journal.append(Item(name="one"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        journal.append(Item(name=200 * "x"))
    except OSError as error:
        print(error)
    print(Path(sys.argv[1]).stat().st_size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append(Item(name="two"))
    print(*(item.name for item in journal.read()))
"""


@posix
def test_an_item_for_which_there_is_no_room_leaves_no_part(path):
    """The system takes the first 84 of its bytes and refuses the others, as a disk does that runs full."""
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    error, size, names = run.stdout.splitlines()
    assert error.endswith(f"File too large: '{path}'")
    assert (int(size), names) == (len('{"name":"one"}\n'), "one two")


@posix
def test_one_run_at_a_time(path):
    with Journal(path, Item) as first:
        first.append(ONE)
        with pytest.raises(OSError, match=r"work\.journal: another run is at work on it; wait for it to end"):
            write(path, TWO)
    write(path, TWO)
    assert Journal(path, Item).read() == [ONE, TWO]


def test_a_removed_journal_begins_anew(path):
    with Journal(path, Item) as journal:
        journal.append(ONE)
        journal.remove()
        assert not path.exists()
    write(path, TWO)
    assert Journal(path, Item).read() == [TWO]


@posix
def test_a_journal_removed_while_another_run_opens_it_is_made_anew(path, monkeypatch):
    """The second run has opened the file, but not yet locked it, when the first removes it and ends."""
    import fcntl

    first, flock = Journal(path, Item).__enter__(), fcntl.flock

    def late(file, how):
        if path.exists() and not first._file.closed:
            first.remove()
            first.__exit__(None, None, None)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write(path, TWO)
    assert Journal(path, Item).read() == [TWO]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        write(tmp_path / "missing" / "work.journal", ONE)


@pytest.mark.parametrize(
    "content", [b"mine", b"mine\n", b'{"other":1}\n', b'{"values":{}}\nmine', b"\n", b"[" * 5000 + b"\n"]
)
def test_a_file_of_another_kind_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"work\.journal: is no record of ours and would be changed"):
        Journal(path, Item).__enter__()
    assert path.read_bytes() == content


@posix
def test_pipes_and_what_is_too_long_are_refused(path):
    os.mkfifo(path)
    for call in (Journal(path, Item).__enter__, Journal(path, Item).read):
        with pytest.raises(ValueError, match=r"work\.journal: is no regular file"):
            call()
    path.unlink()
    write(path, ONE)
    os.truncate(path, MAX_BYTES + 1)
    for call in (Journal(path, Item).__enter__, Journal(path, Item).read):
        with pytest.raises(ValueError, match=rf"is {MAX_BYTES + 1} bytes long, more than"):
            call()


def test_a_long_end_without_a_line_s_is_cut_off(path):
    write(path, ONE)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * (3 * MAX_LINE + 1))
    write(path, TWO)
    assert path.read_bytes().startswith(whole)
    assert Journal(path, Item).read() == [ONE, TWO]


def test_a_name_that_a_terminal_obeys_is_escaped_in_the_warning(tmp_path, caplog):
    path = tmp_path / "a\x1b[2J\nb"
    write(path, ONE)
    path.write_bytes(path.read_bytes() + b"damaged\n")
    Journal(path, Item).read()
    assert caplog.messages[0].isprintable()
