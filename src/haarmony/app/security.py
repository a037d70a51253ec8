"""Who may talk to the server, and what its answers tell a browser.

Other pages in the same browser, and names that somebody points at this machine, reach the port, too. So Host
and Origin must be the server's own, and every call of /api needs the token that the address was opened with.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "X-Haarmony-Token"
CALLS = "/api/"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "style-src 'self' 'unsafe-inline'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "connect-src 'self' blob: data:",
    )
)
ALWAYS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def new_token() -> str:
    """32 random bytes, URL-safe."""
    return secrets.token_urlsafe(32)


class Guard:
    """ASGI middleware around everything: refuses strangers with 403 and adds the headers of all answers."""

    def __init__(self, app: ASGIApp, *, token: str, port: Callable[[], int]) -> None:
        self._app, self._token, self._port = app, token.encode(), port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        path: str = scope["path"]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers[name] = value
                headers["Cache-Control"] = "no-store" if path.startswith(CALLS) else "no-cache"
            await send(message)

        problem = self._refused(path, Headers(scope=scope))
        if problem:
            await JSONResponse({"error": problem}, 403)(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _refused(self, path: str, headers: Headers) -> str:
        hosts = {f"{name}:{self._port()}" for name in ("127.0.0.1", "localhost")}
        if self._port() == 80:
            hosts |= {"127.0.0.1", "localhost"}  # a browser leaves that port out
        if len(named := headers.getlist("host")) != 1 or named[0].lower() not in hosts:
            return "this server answers only to its own address"
        if any(origin.lower().removeprefix("http://") not in hosts for origin in headers.getlist("origin")):
            return "this server does not answer other pages"
        given = headers.getlist(TOKEN)
        if path.startswith(CALLS) and not (
            len(given) == 1 and hmac.compare_digest(given[0].encode("latin-1"), self._token)
        ):
            return "the token of this session is missing or wrong; open the address that haarmony app printed"
        return ""
