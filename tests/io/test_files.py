"""Files appear whole or not at all, also where two processes write one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from haarmony.io import remove_leftover, replacing

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other locks and links")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["f"])


def fail(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"ha")
        raise KeyboardInterrupt


def test_a_failure_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        fail(path)
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["f"])


@posix
def test_a_write_that_fails_names_the_file(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught, replacing(tmp_path / "f") as file:
            file.write(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.filename, names(tmp_path)) == (str(tmp_path / "f"), [])


@posix
@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_link_in_place_of_the_part_leads_nowhere(tmp_path, link):
    (tmp_path / "mine").write_bytes(b"mine")
    link(tmp_path / "mine", tmp_path / "f.part")
    with replacing(tmp_path / "f") as file:
        file.write(b"new")
    assert names(tmp_path) == ["f", "mine"]
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert not (tmp_path / "f").is_symlink()


@posix
def test_the_part_of_a_living_writer_stays(tmp_path):
    with replacing(tmp_path / "f") as file:
        remove_leftover(tmp_path / "f")
        assert names(tmp_path) == ["f.part"]
        file.write(b"new")
    (tmp_path / "f.part").write_bytes(b"ha")
    remove_leftover(tmp_path / "f")
    remove_leftover(tmp_path / "f")
    assert names(tmp_path) == ["f"]


@posix
def test_a_second_writer_waits_for_the_first(tmp_path):
    path = tmp_path / "f"

    def second() -> None:
        with replacing(path) as file:
            file.write(b"second")

    with replacing(path) as file:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        file.write(b"first")
    thread.join(10)
    assert (path.read_bytes(), names(tmp_path)) == (b"second", ["f"])


@posix
def test_processes_that_write_one_file_never_show_it_half(tmp_path):
    path = tmp_path / "f"
    code = """if True:
        import sys
        from pathlib import Path
        from haarmony.io import remove_leftover, replacing
        for i in range(60):
            remove_leftover(Path("f"))
            with replacing(Path("f")) as file:
                for _ in range(8):
                    file.write(sys.argv[1].encode() * 20000)
                    file.flush()
            assert Path("f").stat().st_size == 160000"""
    writers = [
        subprocess.Popen([sys.executable, "-c", code, letter], cwd=tmp_path, stderr=subprocess.PIPE)
        for letter in "abc"
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            content = path.read_bytes()
            assert (len(content), len(set(content))) == (160000, 1)
    for writer in writers:
        assert (writer.wait(), writer.communicate()[1]) == (0, b"")
    assert names(tmp_path) == ["f"]
