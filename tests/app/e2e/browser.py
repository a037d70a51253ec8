"""A person at the page: Debian's Chromium, driven through Selenium, and a server of its own."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
DRIVER = shutil.which("chromedriver") or "/usr/bin/chromedriver"
QUIET = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    " --disable-sync --no-first-run --hide-scrollbars --enable-unsafe-swiftshader"
).split()


def missing() -> str | None:
    """Why there can be no browser here; None where there can."""
    for name, path in (("chromium", CHROMIUM), ("chromium-driver", DRIVER)):
        if not Path(path).exists():
            return f"{name} is not installed"
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed"
    if importlib.util.find_spec("starlette") is None:
        return "the extra 'app' is not installed"
    return None


@contextmanager
def server(log: Path) -> Iterator[str]:
    """The address, with its token, of a `haarmony app` that ends with the block."""
    with log.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "haarmony", "app", "--no-browser", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line):
                    yield found[0]
                    break
            else:
                raise AssertionError(f"haarmony app printed no address: {log.read_text()}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            process.stdout.close()


class Person:
    """One window of a browser with a profile of its own."""

    def __init__(self, folder: Path, *, language: str = "en-US", flags: tuple[str, ...] = ()) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        self.downloads = folder / "downloads"
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*QUIET, f"--user-data-dir={folder / 'profile'}", f"--lang={language}", *flags):
            options.add_argument(flag)
        options.add_experimental_option(
            "prefs",
            {"intl.accept_languages": language, "download.default_directory": str(self.downloads)},
        )
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self.resize(1440, 900)

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()

    def resize(self, width: int, height: int) -> None:
        """Make the window so many CSS pixels large."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def cdp(self, command: str, **arguments: Any) -> Any:
        """Speak to Chromium itself."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, code: str, *arguments: Any) -> Any:
        """What JavaScript in the page returns."""
        return self.driver.execute_script(code, *arguments)

    def until(self, look: Callable[[], Any], what: str, *, within: float = 30) -> Any:
        """Wait until `look` finds something, and return that."""
        end = time.monotonic() + within
        while True:
            if found := look():
                return found
            if time.monotonic() > end:
                raise AssertionError(
                    f"not within {within} s: {what}\n{self.js('return document.body.innerText')}"
                )
            time.sleep(0.03)

    def find(self, css: str, *, within: float = 30) -> Any:
        """The first element, once it is there."""
        return self.until(lambda: self.all(css), css, within=within)[0]

    def all(self, css: str) -> list[Any]:
        """All elements there now."""
        return self.driver.find_elements("css selector", css)

    def text(self, css: str) -> str:
        """What an element says now."""
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def click(self, css: str) -> None:
        """Click an element, once it is there and enabled."""
        element = self.find(css)
        self.until(lambda: self.js("return !arguments[0].disabled", element), f"{css} enabled")
        self.js("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", element)

    def pick(self, css: str, value: str | float) -> None:
        """Choose an option, or move a slider."""
        self.js(
            """const [element, value] = arguments;
            Object.getOwnPropertyDescriptor(Object.getPrototypeOf(element), "value").set.call(element, value);
            for (const type of ["input", "change"])
                element.dispatchEvent(new Event(type, {bubbles: true}));""",
            self.find(css),
            str(value),
        )

    def choose(self, value: str) -> None:
        """One of the page's switches."""
        self.click(f'label[data-value="{value}"] input')

    def drop(self, css: str, *paths: Path) -> None:
        """Drop files or folders from the desk onto an element."""
        box = self.find(css).rect
        self.js("arguments[0].scrollIntoView({block: 'center'})", self.find(css))
        x, y = self.js(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + Math.min(b.height, innerHeight) / 2]",
            css,
        )
        assert box["width"] > 0
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.cdp("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def point(self, css: str, across: float, down: float) -> None:
        """Move the mouse over an element, to a place given as parts of its width and height."""
        x, y = self.at(css, across, down)
        self.cdp("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def wheel(self, css: str, delta: float, across: float = 0.5, down: float = 0.5) -> None:
        """Turn the wheel over an element."""
        x, y = self.at(css, across, down)
        self.cdp("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)

    def at(self, css: str, across: float, down: float) -> tuple[float, float]:
        """A place in an element, in the window's pixels."""
        x, y, width, height = self.js(
            "arguments[0].scrollIntoView({block: 'center'}); const b = arguments[0].getBoundingClientRect();"
            "return [b.x, b.y, b.width, b.height]",
            self.find(css),
        )
        return x + across * width, y + down * height

    def keys(self, css: str, *keys: str) -> None:
        """Press keys on an element."""
        self.js("arguments[0].focus()", self.find(css))
        self.driver.switch_to.active_element.send_keys(*keys)

    def pixels(self, css: str) -> str:
        """What a canvas shows, as a data URL: equal where the picture is."""
        self.find(css)
        self.js("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.js("return document.querySelector(arguments[0]).toDataURL()", css)

    def shot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.cdp("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Errors in the browser's console since the last call, those of a refused request apart."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]
        ]

    def asked(self) -> list[str]:
        """Addresses that the browser asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def saved(self, name: str) -> Path:
        """A file that the page saved, once it is whole."""
        path = self.downloads / name
        self.until(lambda: path.exists() and not [*self.downloads.glob("*.crdownload")], f"{name} saved")
        return path
