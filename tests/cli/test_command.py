"""The command as a process, and how it ends: exit codes, plain lines, tracebacks for program errors only."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import haarmony
from haarmony import cli, jobs
from haarmony.cli.train import seconds
from haarmony.io import read, write

COMMAND = Path(sys.executable).with_name("haarmony")


def command(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *argv], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def without(module: str, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in an environment that lacks a package."""
    code = f"import sys; sys.modules[{module!r}] = None; from haarmony.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "start", [[COMMAND], [sys.executable, "-m", "haarmony"]], ids=["haarmony", "python -m"]
)
def test_version(start):
    done = subprocess.run([*start, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"haarmony {haarmony.__version__}\n", "")


def test_fuse_writes_the_file_and_nothing_else(here, model):
    done = command("fuse", "mri.png", "pet.png", "-o", "fused.png", "--model", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fused.png: fused in ")
    assert read("fused.png").pixels.shape == (20, 18, 3)
    assert sorted(os.listdir()) == ["fused.png", "mri", "mri.png", "pet", "pet.png"]


def test_a_problem_is_one_line_and_code_2(here):
    done = command("fuse", "mri.png", "none.png", "-o", "fused.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "haarmony: none.png: there is no such file or folder\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["fuse"], "Missing argument 'A'."),
        (["fuse", "a.png", "b.png"], "Missing option '--out'"),
        (["fuse", "a.png", "b.png", "-o", "c.png", "--colour", "red"], "'--colour'"),
        (["fuse", "a.png", "b.png", "-o", "c.png", "--engine", "tpu"], "'--engine'"),
        (["fuse", "a.png", "b.png", "-o", "c.png", "--steps", "0"], "'--steps'"),
        (["fuse", "a.png", "b.png", "-o", "c.png", "--steps", "two"], "'--steps'"),
        (["fuse", "a.png", "b.png", "-o", "c.png", "--seed", "-1"], "'--seed'"),
        (["fuse", "a.png", "b.png", "-o", "c.png", "--sharp"], "--sharp"),
        (["fuse", "a.png", "b.png", "c.png", "-o", "d.png"], "c.png"),
        (["train", "r.toml", "--max-time", "soon"], "'soon' is no duration"),
        (["blend"], "'blend'"),
        (["--verbose"], "--verbose"),
    ],
)
def test_wrong_usage(run, argv, says):
    code, out, err = run(*argv)
    assert (code, out, len(err)) == (2, [], 2)
    assert err[0].startswith("haarmony: ")
    assert says in err[0]
    name = " ".join(["haarmony", *(word for word in argv[:1] if word in ("fuse", "train"))])
    assert err[1] == f"Try '{name} --help'."


def test_no_command_shows_the_commands(run):
    code, out, err = run()
    assert (code, err) == (0, [])
    assert all(
        any(line.startswith(f"  {name} ") for line in out) for name in ("fuse", "demo", "models", "train")
    )


def test_an_interruption_is_one_line_and_code_130(here, model):
    for i in range(400):
        for folder, channels in (("mri", ()), ("pet", (3,))):
            write(f"{folder}/n{i}.png", np.full((96, 96, *channels), i % 256, np.uint8))
    argv = [COMMAND, "fuse", "mri", "pet", "-o", "out", "--model", model]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert re.match(r"\[1/403\] n\d fused in ", process.stderr.readline())  # whichever worker is first
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "ending with what is begun; Ctrl-C again ends at once" in err
    assert err.splitlines()[-1] == "haarmony: interrupted"
    assert "Traceback" not in err
    pictures = list(Path("out").glob("*.png"))
    assert 1 <= len(pictures) < 403
    assert len(os.listdir("out")) == len(pictures) + 2  # the manifest's
    with open("out/manifest.csv", newline="", encoding="utf-8") as file:
        rows = {row["out"]: row["result"] for row in csv.DictReader(file)}
    assert rows == {picture.name: "fused" for picture in pictures}  # all that was begun
    for picture in pictures:
        assert read(picture).pixels.shape == (96, 96)


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_work_goes_on_where_nobody_listens(here, model, closed):
    line = f'exec "$0" fuse mri pet -o out --model "$1" {closed}'
    done = subprocess.run(["sh", "-c", line, COMMAND, model], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("", "out: 3 fused, 0 skipped, 0 failed\n")
    assert sorted(os.listdir("out")) == ["manifest.csv", "manifest.jsonl", "p1.png", "p2.png", "p3.png"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, cli.typer.Abort])
def test_both_ways_to_interrupt(run, monkeypatch, raised):
    def interrupted(*args: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr(jobs, "check", interrupted)
    assert run("fuse", "a.png", "b.png", "-o", "c.png") == (130, [], ["haarmony: interrupted"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("several\n  lines"), "haarmony: several lines"),
        (ValueError(), "haarmony: ValueError"),
        (PermissionError(13, "Permission denied", "out"), "haarmony: out: permission denied"),
        (PermissionError(13, "Permission denied", "o\nut"), "haarmony: o ut: permission denied"),
        (OSError(28, "No space left on device"), "haarmony: no space left on device"),
        (ValueError("\x1b[31m.png"), "haarmony: \\x1b[31m.png"),
        (MemoryError(), "haarmony: not enough memory for pictures or settings of this size"),
    ],
)
def test_errors_for_the_user_are_one_line(run, monkeypatch, error, line):
    def refuse(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "check", refuse)
    assert run("fuse", "a.png", "b.png", "-o", "c.png") == (2, [], [line])


@pytest.mark.parametrize(
    "error", [TypeError, KeyError, AssertionError, ModuleNotFoundError("gone", name="haarmony.x")]
)
def test_mistakes_in_the_program_keep_their_traceback(monkeypatch, error):
    def broken(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "check", broken)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        cli.main(["fuse", "a.png", "b.png", "-o", "c.png"])


@pytest.mark.parametrize(
    "argv",
    [
        ["fuse", "mri.png", "pet.png", "-o", "out.png", "--engine", "torch"],
        ["train", "recipe.toml"],
        ["export", "run/best", "-o", "model"],
    ],
    ids=lambda argv: argv[0],
)
def test_a_missing_extra_is_one_line_that_names_it(here, model, argv):
    if argv[0] == "fuse":
        argv = [*argv, "--model", str(model)]
    done = without("torch", *argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'haarmony: torch is not installed: pip install "haarmony[train]"\n'
    assert not Path("out.png").exists()


def test_a_cluster_without_ray_is_one_line_too(here, model):
    done = without("ray", "fuse", "mri", "pet", "-o", "out", "--ray", "auto", "--model", str(model))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'haarmony: ray is not installed: pip install "haarmony[cluster]"\n'
    assert not Path("out").exists()


@pytest.mark.parametrize(("text", "value"), [("90m", 5400), ("1.5h", 5400), ("30s", 30), (" 2h ", 7200)])
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "90", "m", "-1m", "0m", "90 minutes", "1h30m"])
def test_what_is_no_duration(text):
    with pytest.raises(cli.typer.BadParameter, match="is no duration"):
        seconds(text)


def test_nothing_is_downloaded(tmp_path):
    """With every socket refused, the commands that load models do what they do."""
    script = """
import socket, sys
def refuse(*arguments, **options):
    raise SystemExit("a socket was opened")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from haarmony.cli import main
for argv in (["models"], ["demo", "-o", "demo"], ["generate", "-n", "1", "--steps", "1", "-o", "out.png"]):
    assert main(argv) == 0, argv
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").exists()
