"""The page in a real Chromium against the real server: everything that it promises, one test each."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from e2e.browser import Person, missing, server
from PIL import Image

from haarmony.phantom import head

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
LOOKS = (Path(__file__).parent / "e2e" / "looks.js").read_text()
WEB = Path(__file__).parents[2] / "web"
FUSED = 90.0
"""Seconds that a fusion may take here: a busy machine is slow."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with server(tmp_path_factory.mktemp("server") / "log") as found:
        yield found


@pytest.fixture
def person(tmp_path):
    one = Person(tmp_path)
    yield one
    one.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """An MRI and a PET slice of a phantom as files, and as arrays."""
    folder = tmp_path_factory.mktemp("pair")
    mri, pet = head(seed=3).pair("PET", 16)
    for name, pixels in (("mri.png", mri), ("pet.png", pet)):
        Image.fromarray(pixels).save(folder / name)
    return folder / "mri.png", folder / "pet.png", mri, pet


def arrive(person: Person, address: str) -> None:
    person.driver.get(address)
    person.find('select[name="model"] option')


def drop(person: Person, pair, *, explain: bool = False) -> None:
    """Drop the pair and see that it fits."""
    person.drop(".welcome", pair[0], pair[1])
    person.find('[data-fit="yes"], [data-fit="apart"]')
    if not explain:
        person.click('input[name="explain"]')


def fuse(person: Person, *, steps: int | None = None) -> None:
    if steps is not None:
        person.pick('input[name="steps"]', steps)
    person.click('[data-do="fuse"]')
    person.find('.advance[data-state="done"]', within=FUSED)


def test_page_asks_nobody_else(person, address, pair):
    arrive(person, address)
    drop(person, pair)
    asked = [url for url in person.asked() if not url.startswith(("data:", "blob:", "chrome"))]
    assert len(asked) > 5
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}
    assert person.complaints() == []


def test_token_leaves_the_address_bar_and_lasts_over_a_reload(person, address):
    arrive(person, address)
    assert "token" not in person.driver.current_url
    person.driver.refresh()
    person.find('select[name="model"] option')


def test_without_its_token_the_page_says_what_to_do(person, address):
    person.driver.get(address.split("?")[0])
    assert "needs its key" in person.find(".no-token").text


def test_first_picture_after_dropping_a_pair_is_fast(person, address, pair):
    arrive(person, address)
    before = time.monotonic()
    person.drop(".welcome", pair[0], pair[1])
    person.until(lambda: len(person.all(".stage canvas")) == 2, "both pictures")
    taken = time.monotonic() - before
    print(f"first pictures after {taken:.2f} s")
    assert taken < 6  # 2 s on a quiet machine of two cores


def test_fuse_reads_and_saves(person, address, pair):
    arrive(person, address)
    person.js(
        """window.shifted = [];
        new PerformanceObserver((list) => shifted.push(...list.getEntries().filter((e) => !e.hadRecentInput)))
        .observe({type: "layout-shift", buffered: true})"""
    )
    drop(person, pair, explain=True)
    person.pick('input[name="seeds"]', 2)
    person.click('[data-do="fuse"]')
    # The sampler's pictures arrive in the fused pane while the bar advances.
    person.until(lambda: person.all('.advance[data-state="running"], .advance[data-state="done"]'), "a run")
    person.find(".pane-f canvas", within=FUSED)
    person.find('.advance[data-state="done"]', within=FUSED)
    names = [row.text for row in person.all("tbody th")]
    assert len(names) >= 5
    assert {cell.text.split()[-1] for cell in person.all("tbody td:last-child")} <= {"higher", "lower"}
    assert person.find("[data-warnings]")

    assert person.js("return shifted.reduce((sum, e) => sum + e.value, 0)") < 0.05
    plain = person.pixels(".pane-f canvas")
    for name in ("unsupported", "spread", "share_a", "share_b"):
        assert person.find(f'[data-overlay="{name}"] .legend').is_displayed()
    person.click('[data-overlay="share_a"] input[type="checkbox"]')
    person.until(lambda: person.pixels(".pane-f canvas") != plain, "the map over the picture")
    person.click('[data-overlay="share_a"] input[type="checkbox"]')
    person.until(lambda: person.pixels(".pane-f canvas") == plain, "the map gone")

    for name in ("fused.png", "figure.png", "manifest.json"):
        person.click(f'[data-file="{name}"]')
        assert person.saved(f"haarmony-{name}").stat().st_size > 0
    with Image.open(person.saved("haarmony-fused.png")) as fused:
        assert fused.size == (256, 256)
    manifest = person.saved("haarmony-manifest.json").read_text()
    assert "haarmony fuse" in manifest
    assert "/tmp/" not in manifest
    person.click('[data-file="all.zip"]')
    person.until(lambda: [*person.downloads.glob("*.zip")], "everything")
    with zipfile.ZipFile(person.saved(next(person.downloads.glob("*.zip")).name)) as everything:
        assert {Path(name).name for name in everything.namelist()} >= {
            "fused.png",
            "manifest.json",
            "spread.png",
        }
    assert person.complaints() == []


def test_pictures_are_read_together(person, address, pair):
    arrive(person, address)
    drop(person, pair)
    mri = pair[2]
    a, b = ".pane-a canvas", ".pane-b canvas"
    whole = person.pixels(b)
    # Values under the cursor, in both panes at once; by key, to be exact.
    person.keys(a, "\ue014")  # arrow right: from the middle to (129, 128)
    person.until(
        lambda: person.text(".pane-a .readout") == f"129, 128 · {mri[128, 129]}", "the value at the cursor"
    )
    assert person.text(".pane-b .readout").startswith("129, 128 · R ")
    # Zoom in one, and the other follows.
    person.wheel(a, -400)
    person.until(lambda: person.pixels(b) != whole, "the linked zoom")
    person.keys(a, "0")
    # Window and level, and a colour map of a grey source.
    person.point("h2", 0.5, 0.5)
    plain = person.pixels(a)
    person.pick('[data-look="a"] [data-slider="width"]', 60)
    person.until(lambda: person.pixels(a) != plain, "the window")
    person.pick('[data-look="a"] select', "inferno")
    coloured = """const c = document.querySelector(arguments[0]);
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return d.some((v, i) => i % 4 === 0 && Math.abs(v - d[i + 2]) > 40)"""
    person.until(lambda: person.js(coloured, a), "the colour map")
    # Swipe and blend of the two.
    person.choose("swipe")
    at = {}
    for share in (0, 1):
        person.pick('[data-slider="swipe"]', share)
        at[share] = person.pixels(".stage canvas")
    assert at[0] != at[1]
    person.choose("blend")
    for share in (0, 1):
        person.pick('[data-slider="blend"]', share)
        at[share] = person.pixels(".stage canvas")
    assert at[0] != at[1]


def test_wrong_files_leave_what_is_there(person, address, pair, tmp_path):
    arrive(person, address)
    drop(person, pair)
    (tmp_path / "notes.png").write_text("no picture")
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(small)
    person.drop('[data-slot="b"]', tmp_path / "notes.png")
    said = person.find('[data-slot="b"] .problem').text
    assert "notes.png" in said
    assert str(tmp_path) not in said
    assert "mri.png" in person.text('[data-slot="a"]')
    assert "pet.png" in person.text('[data-slot="b"]')
    assert person.find('[data-do="fuse"]').is_enabled()
    person.drop('[data-slot="b"]', small)
    person.find('[data-fit="no"]')
    assert "64" in person.text('[data-fit="no"]')
    assert not person.find('[data-do="fuse"]').is_enabled()
    person.drop('[data-slot="b"]', pair[1])
    person.find('[data-fit="yes"], [data-fit="apart"]')
    person.drop("#main", pair[0], pair[1], small)
    assert "two files or folders" in person.find(".message.bad").text
    assert person.complaints() == []


def test_a_run_stops(person, address, pair):
    arrive(person, address)
    drop(person, pair)
    person.pick('input[name="steps"]', 500)
    person.click('[data-do="fuse"]')
    person.find('progress[data-n]:not([data-n="0"])', within=FUSED)
    person.click('[data-do="stop"]')
    person.find('.advance[data-state="stopped"]')
    assert not person.all("[data-file]")
    fuse(person, steps=1)


def test_a_reload_goes_on_from_the_last_event(person, address, pair):
    arrive(person, address)
    drop(person, pair)
    person.pick('input[name="steps"]', 300)
    person.click('[data-do="fuse"]')

    def heard() -> int:
        return int(person.js("return document.querySelector('progress[data-n]')?.dataset.n ?? 0"))

    person.until(lambda: heard() >= 3, "three events", within=FUSED)
    before = heard()
    person.driver.refresh()
    person.until(lambda: heard() > 0, "an event after the reload", within=FUSED)
    assert heard() >= before
    assert "mri.png" in person.text('[data-slot="a"]')
    after = [int(url.split("after=")[1]) for url in person.asked() if "after=" in url]
    assert after[0] == 0
    assert after[-1] >= before - 1
    person.click('[data-do="stop"]')
    person.find('.advance[data-state="stopped"]')


def test_two_tabs_do_not_disturb_each_other(person, address, pair):
    arrive(person, address)
    drop(person, pair)
    first = person.driver.current_window_handle
    person.driver.switch_to.new_window("tab")
    person.resize(1440, 900)
    arrive(person, address)
    person.pick('[name="phantom-second"]', "CT")
    person.click('[data-do="phantom"]')
    person.find('[data-fit="yes"], [data-fit="apart"]')
    person.click('input[name="explain"]')
    person.pick('input[name="seed"]', 7)
    fuse(person)
    other = person.pixels(".pane-f canvas")
    person.driver.switch_to.window(first)
    assert "pet.png" in person.text('[data-slot="b"]')
    assert person.all('.advance[data-state="none"]')
    fuse(person)
    assert person.pixels(".pane-f canvas") != other


def test_volumes_by_wheel_and_key(person, address):
    arrive(person, address)
    person.pick('[name="phantom-kind"]', "volume")
    person.click('[data-do="phantom"]')
    person.find('[data-fit="yes"], [data-fit="apart"]', within=FUSED)
    person.until(lambda: len(person.all(".volume canvas")) == 2, "two volumes")

    def place(pane: str) -> list[int]:
        at = person.text(f".pane-{pane} .readout").split(" · ")[0].split(", ")
        return [int(one) for one in at] if len(at) == 3 else []

    person.until(lambda: place("a") and place("b"), "where the cursor is", within=FUSED)
    start = place("a")
    person.keys(".pane-a canvas", "\ue013")  # arrow up
    person.until(lambda: place("a")[2] == start[2] + 1 and place("b") == place("a"), "the next slice in both")
    person.wheel(".pane-b canvas", 120)
    person.until(lambda: place("b")[2] != start[2] + 1 and place("b") == place("a"), "another slice in both")
    person.choose("sagittal")
    now = place("a")
    person.keys(".pane-a canvas", "\ue013")
    person.until(lambda: place("a")[0] != now[0] and place("a")[2] == now[2], "the next sagittal slice")
    person.choose("all")
    person.pick('[data-look="b"] select', "hot") if person.all('[data-look="b"] select') else None
    person.choose("swipe")
    person.until(lambda: " | " in person.text(".pane .readout"), "both values")
    assert person.complaints() == []


def test_a_misaligned_pair_is_aligned_before_and_after(person, address, pair, tmp_path):
    pytest.importorskip("SimpleITK")
    moved = np.roll(pair[3], (14, 10), (0, 1))
    Image.fromarray(moved).save(tmp_path / "moved.png")
    arrive(person, address)
    person.drop(".welcome", pair[0], tmp_path / "moved.png")
    person.find('[data-fit="apart"]')
    person.choose("rigid")
    person.click('input[name="explain"]')
    fuse(person)
    assert "Moved by" in person.text("[data-transform]")
    person.choose("align")
    person.until(lambda: len(person.all(".stages-align canvas")) == 2, "before and after")
    both = [f"figure:nth-child({k}) canvas" for k in (1, 2)]
    person.until(
        lambda: person.pixels(both[0]) != person.pixels(both[1]), "another picture after than before"
    )


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_every_width_language_and_theme_is_readable(tmp_path, address, pair, language, theme):
    person = Person(tmp_path, language=language)
    try:
        arrive(person, address)
        person.choose(theme)
        assert person.js("return document.documentElement.lang") == ("zh-CN" if language == "zh-CN" else "en")
        found = {}
        for stage in ("empty", "pair", "fused"):
            if stage == "pair":
                drop(person, pair)
            if stage == "fused":
                fuse(person)
            for width in (390, 900, 1440):
                person.resize(width, 900)
                found[stage, width] = person.js(LOOKS)
                person.shot(tmp_path / f"{stage}-{width}.png")
        wrong = {k: v for k, v in found.items() if v["poor"] or v["unnamed"] or v["wider"] > 0}
        assert wrong == {}
    finally:
        person.close()


def test_language_is_switched_and_kept(person, address):
    arrive(person, address)
    person.choose("zh")
    assert "科研工具" in person.text(".disclaimer")
    person.driver.refresh()
    person.until(lambda: "科研工具" in person.text(".disclaimer"), "Chinese after a reload")


def test_the_keyboard_reaches_everything(person, address):
    arrive(person, address)
    reached = set()
    for _ in range(40):
        person.driver.switch_to.active_element.send_keys("\ue004")  # tab
        name = person.js(
            "const e = document.activeElement; return e.name || e.dataset.do || e.getAttribute('aria-label')"
            " || e.textContent"
        )
        shown = person.js(
            "const e = document.activeElement.closest('.choice label') ?? document.activeElement;"
            "const { outlineStyle, outlineWidth } = getComputedStyle(e);"
            "return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2"
        )
        if person.js("return document.activeElement !== document.body"):
            assert shown, name
            reached.add(name)
    assert {"phantom", "model", "steps", "seed", "colour", "explain", "seeds"} <= reached


def test_a_foreign_host_gets_nothing(tmp_path, address):
    at = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", at.port)
    connection.request("GET", "/", headers={"Host": f"evil.test:{at.port}"})
    assert connection.getresponse().status == 403
    connection.close()
    person = Person(tmp_path, flags=("--host-resolver-rules=MAP evil.test 127.0.0.1",))
    try:
        person.driver.get(f"http://evil.test:{at.port}/?{at.query}")
        assert person.all("#page > *") == []
    finally:
        person.close()


def test_the_committed_page_is_what_its_source_builds():
    if shutil.which("npm") is None or not WEB.is_dir():
        pytest.skip("Node or the page's source is not here")
    done = subprocess.run(["bash", str(WEB / "check.sh")], capture_output=True, text=True, timeout=600)
    if "npm error" in done.stderr and "network" in done.stderr:
        pytest.skip("npm cannot reach its registry")
    assert done.returncode == 0, done.stdout + done.stderr
