"""A server without a socket, and what a page would ask of it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))  # DICOM for tests

PORT, TOKEN = 4321, "the-token-of-this-test"


class Caller:
    """A page that knows the token."""

    def __init__(self, client, runs, folder):
        self.client, self.runs, self.folder = client, runs, folder

    def get(self, path, status=200):
        answer = self.client.get(f"/api/{path}")
        assert answer.status_code == status, answer.text
        return answer

    def json(self, path):
        return self.get(path).json()

    def post(self, path, body, status=200):
        answer = self.client.post(f"/api/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, *files, status=200, **fields):
        """Files are paths, or (name, content)."""
        parts = [(one.name, one.read_bytes()) if isinstance(one, Path) else one for one in files]
        sent = [("files", (name, content, "application/octet-stream")) for name, content in parts]
        answer = self.client.post("/api/sources", files=sent, data=fields)
        assert answer.status_code == status, answer.text
        return answer.json()

    def start(self, a, b, **settings):
        asked = {"model": "medical", "steps": None, "seed": 42, "colour": "auto", "plane": "auto"}
        asked |= {"register": "none", "explain": False, "seeds": 2} | settings
        return self.post("runs", {"a": a["id"], "b": b["id"], **asked}, 202)["id"]

    def events(self, run, after=0):
        lines = self.get(f"runs/{run}/events?after={after}").text.splitlines()
        return [json.loads(line) for line in lines]

    def fuse(self, a, b, **settings):
        """The run when it has ended."""
        run = self.start(a, b, **settings)
        self.events(run)
        return self.json(f"runs/{run}")

    def file(self, run, name):
        return self.get(f"runs/{run['id']}/files/{name}").content

    def until(self, look, within=60):
        end = time.monotonic() + within
        while not look():
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def serving(tmp_path):
    """Makes callers of servers of their own."""
    testclient = pytest.importorskip("starlette.testclient", reason="the extra 'app' is not installed")
    from haarmony.app import make_app

    made = []

    def serve(name="server", **options):
        folder = tmp_path / name
        folder.mkdir()
        app, runs = make_app(folder, token=TOKEN, port=lambda: PORT, warm=False, **options)
        client = testclient.TestClient(
            app, base_url=f"http://127.0.0.1:{PORT}", headers={"X-Haarmony-Token": TOKEN}
        )
        made.append(runs)
        return Caller(client, runs, folder)

    yield serve
    for runs in made:
        runs.close()


@pytest.fixture
def caller(serving):
    return serving()
