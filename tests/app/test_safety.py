"""Who is refused, what an upload may be, and that nothing of the disk is told or served."""

from __future__ import annotations

import asyncio
import string

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from haarmony import write

pytest.importorskip("starlette", reason="the extra 'app' is not installed")

from conftest import PORT, TOKEN
from haarmony.app.problems import Refused, told
from haarmony.app.security import new_token
from haarmony.app.uploads import LONGEST, receive, safe_name

HERE = f"127.0.0.1:{PORT}"
STRANGE = "../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/shadow", "C:\\boot.ini", "a/../../b.png"


@pytest.fixture
def picture(tmp_path):
    write(tmp_path / "picture.png", np.arange(400, dtype=np.uint16).astype(np.uint8).reshape(20, 20))
    return tmp_path / "picture.png"


def left(caller):
    return [path for path in (caller.folder / "sources").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": f"evil.test:{PORT}"},
        {"Host": "127.0.0.1"},
        {"Host": f"127.0.0.1:{PORT + 1}"},
        {"Host": f"127.0.0.1.evil.test:{PORT}"},
        {"Origin": "http://evil.test"},
        {"Origin": f"https://{HERE}"},
        {"Origin": f"http://localhost:{PORT + 1}"},
        {"Origin": "null"},
        {"Origin": "http://"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/assets/theme.js", "/favicon.svg", "/api/info"])
def test_strangers_get_nothing(caller, headers, path):
    answer = caller.client.get(path, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", [HERE, f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
def test_the_page_itself_is_answered(caller, host):
    headers = {"Host": host, "Origin": f"http://{host.lower()}"}
    assert caller.client.get("/api/info", headers=headers).status_code == 200


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "ÿ"])
def test_every_call_needs_the_token(caller, token):
    for method, path in (
        ("get", "info"), ("post", "sources"), ("post", "phantom"), ("post", "pair"), ("post", "runs"),
        ("get", "runs/x"), ("get", "runs/x/events"), ("post", "runs/x/stop"), ("get", "nothing"),
        ("get", "sources/x/picture.png"), ("get", "runs/x/files/fused.png"),
    ):  # fmt: skip
        request = caller.client.build_request(method, f"/api/{path}")
        others = [pair for pair in request.headers.raw if pair[0].lower() != b"x-haarmony-token"]
        given = [] if token is None else [(b"x-haarmony-token", token.encode("latin-1"))]
        request.headers = type(request.headers)([*others, *given])
        answer = caller.client.send(request)
        assert answer.status_code == 403, path
        assert "token" in answer.json()["error"]


def test_tokens_are_long_and_never_the_same():
    made = {new_token() for _ in range(20)}
    assert len(made) == 20
    assert {len(token) for token in made} == {43}
    assert set("".join(made)) <= set(string.ascii_letters + string.digits + "-_")


def test_every_answer_has_the_headers(caller, picture):
    source = caller.upload(picture)
    for path, kept in (
        ("/", "no-cache"), ("/api/info", "no-store"), ("/api/nothing", "no-store"), ("/nothing", "no-cache"),
        (f"/api/sources/{source['id']}/picture.png", "no-store"),
    ):  # fmt: skip
        headers = caller.client.get(path).headers
        assert headers["cache-control"] == kept
        assert headers["content-security-policy"] == (
            "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
            "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self' blob: data:"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_is_served_where_it_is(serving, tmp_path):
    page = tmp_path / "page"
    nowhere = serving("first", page=page)
    assert nowhere.client.get("/").text.startswith("haarmony: the page is not built")
    assert nowhere.client.get("/assets/a.js").status_code == 404
    assert nowhere.client.get("/favicon.svg").status_code == 404
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>")
    (page / "assets" / "a.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    there = serving("second", page=page).client
    assert there.get("/", headers={"X-Haarmony-Token": ""}).text == "<!doctype html>"
    assert there.get("/assets/a.js").headers["content-type"].startswith("text/javascript")
    for path in ("/assets/../index.html", "/assets/%2e%2e/%2e%2e/secret.txt", "/secret.txt", "/index.html"):
        assert there.get(path).status_code == 404
    assert there.post("/").status_code == 405


@pytest.mark.parametrize("strange", ["..", "../sources", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "x", ""])
def test_ids_and_names_lead_nowhere(caller, picture, strange):
    made = caller.upload(picture)["id"]
    for path in (
        f"/api/sources/{strange}/picture.png", f"/api/sources/{made}/{strange}",
        f"/api/sources/{made}/files", f"/api/sources/{made}/volume.nii.gz",
        f"/api/runs/{strange}", f"/api/runs/{strange}/files/fused.png", f"/api/runs/{strange}/events",
    ):  # fmt: skip
        answer = caller.client.get(path)
        assert answer.status_code in (404, 405), path
        assert str(caller.folder) not in answer.text


def test_a_run_serves_its_own_files_alone(caller):
    made = caller.post("phantom", {"second": "CT", "volume": False, "seed": 0})
    run = caller.fuse(made["a"], made["b"], steps=1)
    (caller.folder / "runs" / run["id"] / "other.txt").write_text("secret")
    for name in ("other.txt", "..%2F..%2Falive", "fused.tif", "explain.json"):
        assert caller.client.get(f"/api/runs/{run['id']}/files/{name}").status_code == 404


@pytest.mark.parametrize("name", STRANGE)
def test_names_of_uploads_lead_nowhere(caller, picture, name):
    source = caller.upload((name, picture.read_bytes()))
    assert "/" not in source["name"]
    assert source["name"] == safe_name(name)
    (file,) = left(caller)
    assert file.name == source["name"]
    assert file.parent == caller.folder / "sources" / source["id"] / "files"


@given(st.text())
@example("\ud800.png")
@example("." * 300)
@example("a" * 300 + ".nii.gz")
@example("con\0.png")
@example("…/…")
def test_any_name_becomes_a_files(name):
    safe = safe_name(name)
    assert 0 < len(safe) <= LONGEST
    assert safe not in (".", "..")
    assert not set(safe) & set('/\\\0\n<>:"|?*')
    assert not safe.startswith(".")
    assert safe.encode()
    assert safe_name(safe) == safe


def test_names_keep_their_endings():
    assert safe_name("a" * 300 + ".nii.gz").endswith("a.nii.gz")
    assert safe_name("scan 1/MR über.dcm") == "MR über.dcm"


def test_wrong_files_are_refused_by_their_names(caller, picture, tmp_path):
    broken = picture.read_bytes()[:60]
    for sent, says in (
        ([("notes.png", b"no picture")], "notes.png: is no PNG"),
        ([("cut.png", broken)], "cut.png: is damaged or unfinished"),
        ([("empty.png", b"")], "empty.png: is an empty file"),
        ([("bad.nii.gz", b"\x1f\x8b" + bytes(40))], "bad.nii.gz: "),
        ([("two/a.png", broken), ("two/b.png", broken)], "two: holds 2 files and none is DICOM"),
        ([("scan.dcm", bytes(128) + b"DICM" + bytes(40))], "scan.dcm: "),
        ([("scans/1", bytes(128) + b"DICM" + bytes(40)), ("scans/2", b"")], "scans: holds no DICOM image"),
    ):
        error = caller.upload(*sent, status=400)["error"]
        assert error.startswith(says), error
        assert str(caller.folder) not in error
        assert "\n" not in error
        assert left(caller) == []
    assert "is of DICOM" in caller.upload(picture, status=400, window="brain")["error"]
    assert "unknown field 'colour'" in caller.upload(picture, status=400, colour="x")["error"]


def test_an_upload_above_the_limit_is_refused(serving, picture):
    caller = serving(largest_upload=5000)
    caller.upload(picture)
    before = len(left(caller))
    assert "larger than" in caller.upload(("a.png", bytes(6000)), status=413)["error"]
    assert len(left(caller)) == before

    def unknown():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(100):
            yield bytes(1000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = caller.client.post("/api/sources", content=unknown(), headers=headers)
    assert answer.status_code == 413
    assert len(left(caller)) == before
    assert sorted((caller.folder / "sources").iterdir()) == [left(caller)[0].parent.parent]


FORM = "multipart/form-data; boundary=x"
FILE = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\nab'
TEXT = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n%s\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FORM),
        (b"--x--\r\n", FORM),
        (b"--y\r\n\r\n", FORM),
        (b"{}", "application/json"),
        (b"", "multipart/form-data"),
        (FILE % b"files", FORM),
        (FILE % b"other" + b"\r\n--x--\r\n", FORM),
        (TEXT % bytes(2000), FORM),
        (TEXT % b"no file", FORM),
    ],
)
def test_what_is_no_upload_is_refused(caller, body, kind):
    answer = caller.client.post("/api/sources", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert not any((caller.folder / "sources").iterdir())


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path):
    async def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc'
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(
            receive(chunks(), "multipart/form-data; boundary=x", tmp_path / "s" / "files", most=10**6)
        )
    assert not (tmp_path / "s").exists()


def test_bodies_are_checked(caller, picture):
    source = caller.upload(picture)["id"]
    asked = {"a": source, "b": source, "model": "medical"}
    for change, status, says in (
        ({"model": "nothing"}, 400, "unknown model 'nothing'"),
        ({"model": str(caller.folder)}, 400, "unknown model"),
        ({"steps": 0}, 422, "steps: "),
        ({"steps": 10**6}, 400, "steps must be in 1"),
        (
            {"model": "dif-fusion", "steps": 3},
            400,
            "the model 'dif-fusion' does not sample: it takes no steps",
        ),
        ({"steps": "3"}, 422, "steps: "),
        ({"seed": -1}, 422, "seed: "),
        ({"colour": "red"}, 422, "colour: "),
        ({"seeds": 1}, 422, "seeds: "),
        ({"seeds": 1000}, 422, "seeds: "),
        ({"register": "auto"}, 422, "register: "),
        ({"plane": "axial"}, 400, "planes (axial) are of volumes"),
        ({"a": 3}, 422, "a: "),
        ({"a": "x"}, 404, "this source is not here any more"),
        ({"tile": 3}, 422, "tile: "),
    ):
        error = caller.post("runs", asked | change, status)["error"]
        assert error.startswith(says), error
    for content in (b"", b"[]", b"{", b"\xff", b"[" * 50_000):
        answer = caller.client.post("/api/pair", content=content)
        assert (answer.status_code, answer.json()["error"]) == (400, "the body is no JSON object")
    answer = caller.client.post("/api/pair", content=b" " * 70_000)
    assert answer.status_code == 413
    assert caller.post("phantom", {"second": "MRI"}, 422)["error"].startswith("second: ")
    assert not (caller.folder / "runs" / "x").exists()


def test_errors_name_no_place(tmp_path):
    folder = tmp_path / "w"
    path = folder / "sources" / "1a" / "files"
    for text, expected in (
        (f"{path}: holds no DICOM image", "scan: holds no DICOM image"),
        (f"{path}/also-3/IM1: is damaged", "IM1: is damaged"),
        (f"seen: ({path}/IM2: is cut)", "seen: (IM2: is cut)"),
        (f"{folder}/sources/2b/files/b.png: is black", "b.png: is black"),
        (OSError(28, "No space left", f"{folder}/runs/x/fused.png"), "fused.png: no space left"),
        (MemoryError(), "scan: not enough memory for files or settings of this size"),
        ("two\nlines", "two lines"),
    ):  # fmt: skip
        assert told(text, folder, path, "scan") == expected
    assert issubclass(Refused, ValueError)
