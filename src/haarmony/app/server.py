"""The process: a socket on the loopback, the address, the browser, and an end that leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Thread
from time import sleep
from types import FrameType
from typing import Any

import uvicorn

from haarmony.app.folder import workspace
from haarmony.app.routes import make_app
from haarmony.app.runs import Runs
from haarmony.app.security import new_token

ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
GRACE = 3
"""Seconds that open calls have when the server ends."""


class _Ended(BaseException):
    """A signal to end, as an exception, so that everything is put away."""


def serve(*, port: int = 0, browser: bool = True, say: Callable[[str], object] = print) -> None:
    """Serve the page until Ctrl-C, SIGTERM or the terminal's end.

    Args:
        port: Where; 0 takes a free one.
        browser: Open it in the user's browser.
        say: Called with the address, one line.

    Raises:
        OSError: The port is taken.
    """
    runs: Runs | None = None
    with _ending_by_signals(), workspace() as folder, closing(_bound(port)) as bound:
        number = bound.getsockname()[1]
        token = new_token()
        app, runs = make_app(folder, token=token, port=lambda: number)
        server = _Server(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                ws="none",
                lifespan="off",
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=GRACE,
            ),
            runs.close,
        )
        address = f"http://127.0.0.1:{number}/?token={token}"
        say(f"{address}  (Ctrl-C ends it)")
        if browser:
            Thread(target=_open, args=(server, address), daemon=True).start()
        hangup: Any = getattr(signal, "SIGHUP", None)  # of a terminal that is closed; uvicorn has the others
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
            signal.signal(hangup, server.handle_exit)
        try:
            server.run(sockets=[bound])
        finally:
            runs.close()
    if runs is not None and runs.busy:  # in a step that nothing interrupts, and that crashes if Python ends
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(0)


class _Server(uvicorn.Server):
    """One that stops the runs first when it is to end, so that nobody is left listening to them."""

    def __init__(self, config: uvicorn.Config, close: Callable[[], None]) -> None:
        super().__init__(config)
        self._close = close

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._close()
        await super().shutdown(sockets)


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it would let two processes have one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.listen()  # who has read the address may call, and waits
    except OSError as error:
        bound.close()
        raise type(error)(
            f"port {port} cannot be used ({error.strerror}); --port 0 takes a free one"
        ) from error
    return bound


def _open(server: uvicorn.Server, address: str) -> None:
    while not server.started:
        sleep(0.02)
    webbrowser.open(address)


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """The block, which a signal to end leaves in order: uvicorn ends by it, then raises it once more."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    before: dict[Any, Any] = {}
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):  # nohup's, say
            before[number] = signal.signal(number, end)
    try:
        yield
    except _Ended:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
