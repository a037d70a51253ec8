"""`haarmony app` as a process: its address, its end, and what it leaves, which is nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

from haarmony import cli

if importlib.util.find_spec("starlette") is None:
    pytest.skip("the extra 'app' is not installed", allow_module_level=True)

from haarmony.app import folder as folders

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{43}) ")


@pytest.fixture
def temporary(tmp_path):
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@contextmanager
def running(temporary, *argv):
    """A process, its port and its token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "haarmony", "app", "--no-browser", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        line = process.stdout.readline()
        found = ADDRESS.match(line)
        assert found, line + process.stderr.read()
        yield process, int(found[1]), found[2]
    finally:
        process.kill()
        process.communicate()


def asked(port, token, path, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}", headers={"X-Haarmony-Token": token}
    )
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data, timeout=120) as answer:
        return answer.read()


def gone(temporary, within=10):
    end = time.monotonic() + within
    while [*temporary.glob("haarmony-app-*")]:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_it_ends_in_mid_run_and_leaves_nothing(temporary, number):
    with running(temporary) as (process, port, token):
        made = json.loads(asked(port, token, "phantom", {"second": "PET", "volume": False, "seed": 0}))
        (folder,) = temporary.glob("haarmony-app-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        settings = {"a": made["a"]["id"], "b": made["b"]["id"], "model": "medical", "steps": 900}
        run = json.loads(asked(port, token, "runs", settings))["id"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/runs/{run}/events", headers={"X-Haarmony-Token": token}
        )
        with urllib.request.urlopen(request, timeout=60) as heard:
            assert json.loads(heard.readline())["type"] == "step"
            process.send_signal(getattr(signal, number))
            *_, last = heard.read().splitlines()
        assert json.loads(last)["type"] == "stopped"
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")
    gone(temporary, within=0.1)


def test_it_ends_in_what_nothing_interrupts(temporary):
    with running(temporary) as (process, port, token):
        made = json.loads(asked(port, token, "phantom", {"second": "PET", "volume": False, "seed": 0}))
        settings = {"a": made["a"]["id"], "b": made["b"]["id"], "model": "medical", "steps": 100}
        run = json.loads(asked(port, token, "runs", settings | {"explain": True, "seeds": 64}))["id"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/runs/{run}/events", headers={"X-Haarmony-Token": token}
        )
        with urllib.request.urlopen(request, timeout=120) as heard:
            while json.loads(heard.readline())["done"] < 100:
                pass
            process.terminate()
            assert json.loads(heard.readline())["type"] == "stopped"
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 0
    gone(temporary, within=0.1)


def test_what_a_killed_process_left_goes_at_the_next_start(temporary):
    with running(temporary) as (process, *_):
        (dead,) = temporary.glob("haarmony-app-*")
        process.kill()
        process.wait()
    assert dead.exists()
    (temporary / "haarmony-app-file").write_text("somebody's")
    with running(temporary) as (first, *_):
        assert not dead.exists()
        (alive,) = (path for path in temporary.glob("haarmony-app-*") if path.is_dir())
        with running(temporary) as (second, *_):  # leaves the first's alone
            assert alive.exists()
            second.terminate()
            second.wait(20)
        assert alive.exists()
        first.terminate()
        first.wait(20)
    assert [path.name for path in temporary.glob("haarmony-app-*")] == ["haarmony-app-file"]


def test_folders_that_are_young_or_led_elsewhere_stay(temporary, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    young, old = temporary / "haarmony-app-young", temporary / "haarmony-app-old"
    other = tmp_path / "other"
    for folder in (young, old, other):
        folder.mkdir()
    (other / "alive").touch()
    os.utime(old, (0, 0))
    (temporary / "haarmony-app-link").symlink_to(other)
    folders.remove_dead()
    assert young.exists()
    assert not old.exists()
    assert (other / "alive").exists()


def test_a_port_is_taken_or_refused(temporary, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert cli.main(["app", "--no-browser", "--port", str(port)]) == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err
    with running(temporary, "--port", "0") as (_, found, token):
        assert found != port
        assert json.loads(asked(found, token, "info"))["version"]
        with socket.socket() as outside:
            outside.settimeout(2)
            assert outside.connect_ex((_own_address(), found)) != 0


def _own_address():
    """An address of this machine that is not the loopback; one that leads nowhere where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "192.0.2.1"


def test_the_browser_is_opened_once_the_page_is_there(monkeypatch, temporary):
    from haarmony.app import server

    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    opened, said = [], []

    def look(address):
        opened.append(address)
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.status == 200
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(server.webbrowser, "open", look)
    before = signal.getsignal(signal.SIGTERM)
    server.serve(say=said.append)
    assert said[0].split()[0] == opened[0]
    assert signal.getsignal(signal.SIGTERM) == before
    gone(temporary, within=0.1)


def test_without_the_extra_it_is_named(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("haarmony.app", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    assert cli.main(["app", "--no-browser"]) == 2
    assert 'pip install "haarmony[app]"' in capsys.readouterr().err


def test_fusing_a_small_pair_is_quick_to_begin(temporary):
    with running(temporary) as (_, port, token):
        start = time.monotonic()
        made = json.loads(asked(port, token, "phantom", {"second": "PET", "volume": False, "seed": 0}))
        settings = {"a": made["a"]["id"], "b": made["b"]["id"], "model": "medical"}
        run = json.loads(asked(port, token, "runs", settings))["id"]
        *_, last = asked(port, token, f"runs/{run}/events").splitlines()
        took = time.monotonic() - start
        assert json.loads(last)["type"] == "done"
        assert np.isfinite(took)
        print(f"from a phantom to its fused picture in {took:.2f} s")
        assert took < 20  # 2 s on two quiet cores
