"""Folders that appear whole or not at all: what is another's is neither removed nor replaced nor moved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from haarmony.io.folders import MARK, check_folder, put_back, whole_folder


def foreign(folder):
    """Files that end in .ours are of the kind that is written."""
    return next((path.name for path in sorted(folder.iterdir()) if path.suffix != ".ours"), None)


def write(folder, content="new", *, overwrite=False, meanwhile=lambda: None):
    with whole_folder(folder, what="a test", foreign=foreign, overwrite=overwrite) as part:
        (part / "x.ours").write_text(content)
        meanwhile()


def tree(root):
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
    }


def file_in(folder, name="mine.txt"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("mine")


@pytest.mark.parametrize("exists", [False, True], ids=["new", "former"])
@pytest.mark.parametrize("name", ["out.part", "out.old.part"])
def test_folders_beside_it_that_are_another_s_stay(tmp_path, name, exists):
    if exists:
        write(tmp_path / "out", "former")
    file_in(tmp_path / name)
    before = tree(tmp_path)
    if name == "out.part" or exists:
        with pytest.raises(FileExistsError, match=f"{name}: is in the way and not Haarmony's; move it away"):
            write(tmp_path / "out", overwrite=True)
        assert tree(tmp_path) == before
    else:  # it is not needed
        write(tmp_path / "out")
        assert tree(tmp_path) == {**before, "out": "", "out/x.ours": "new"}


@pytest.mark.parametrize("name", ["out.part", "out.old.part"])
def test_links_and_files_beside_it_stay(tmp_path, name):
    write(tmp_path / "out", "former")
    file_in(tmp_path / "mine")
    (tmp_path / name).symlink_to("mine")
    with pytest.raises(FileExistsError, match="is in the way"):
        write(tmp_path / "out", overwrite=True)
    assert (tmp_path / name).is_symlink()
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match="is in the way"):
        write(tmp_path / "out", overwrite=True)
    assert (tmp_path / name).read_text() == "mine"


def test_a_finished_folder_is_never_called_what_unfinished_ones_are(tmp_path):
    with pytest.raises(ValueError, match=r"out\.part: names that end in \.part are for unfinished folders"):
        check_folder(tmp_path / "out.part", what="a test", foreign=foreign)


@pytest.mark.parametrize("name", ["x.ours", "mine.txt"])
def test_a_folder_that_appears_while_it_is_written_stays(tmp_path, name):
    out = tmp_path / "out"
    with pytest.raises(FileExistsError, match=r"out: exists already"):
        write(out, meanwhile=lambda: file_in(out, name))
    assert tree(tmp_path) == {"out": "", f"out/{name}": "mine"}


def test_a_foreign_file_that_appears_in_a_former_one_stays_with_it(tmp_path):
    out = tmp_path / "out"
    write(out, "former")
    with pytest.raises(FileExistsError, match=r"out: holds mine\.txt, which is not Haarmony's"):
        write(out, overwrite=True, meanwhile=lambda: file_in(out))
    assert tree(tmp_path) == {"out": "", "out/x.ours": "former", "out/mine.txt": "mine"}


def test_only_a_former_one_is_put_back(tmp_path):
    file_in(tmp_path / "out.old.part")
    put_back(tmp_path / "out", foreign=foreign)
    assert os.listdir(tmp_path) == ["out.old.part"]
    (tmp_path / "out.old.part/mine.txt").rename(tmp_path / "out.old.part/x.ours")
    put_back(tmp_path / "out", foreign=foreign)
    assert tree(tmp_path) == {"out": "", "out/x.ours": "mine"}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_folders import write
left = int(sys.argv[2])
def counted(event, arguments):
    global left
    if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "open"):
        left -= event != "open" or str(arguments[0]).startswith(sys.argv[1])
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(counted)
write(Path(sys.argv[1], "out"), overwrite=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_whenever_a_process_is_killed_the_next_one_has_its_way(tmp_path):
    done = False
    for moment in range(40):
        root = tmp_path / str(moment)
        root.mkdir()
        write(root / "out", "former")
        argv = [sys.executable, "-c", KILLED, root, str(moment), Path(__file__).parent]
        done = subprocess.run(argv).returncode == 0
        put_back(root / "out", foreign=foreign)
        assert tree(root / "out")["x.ours"] in ("former", "new")
        write(root / "out", "next", overwrite=True)
        assert tree(root) == {"out": "", "out/x.ours": "next"}
        if done:
            break
    assert done
    assert moment > 8


def test_the_mark_of_one_that_is_whole_already_goes(tmp_path):
    write(tmp_path / "out", "former")
    (tmp_path / "out" / MARK).touch()  # what a kill right after the last rename leaves
    write(tmp_path / "out", overwrite=True)
    assert tree(tmp_path) == {"out": "", "out/x.ours": "new"}
