"""The calls of /api and the page's own files; each call is one act of the store or of the runs.

Bodies are JSON but for uploads; what cannot be done is answered by `{"error": "one plain line"}`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import mimetypes
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

import haarmony
from haarmony import weights
from haarmony.app import uploads
from haarmony.app.fusing import Settings, fuser
from haarmony.app.problems import NO_MEMORY, Refused, told
from haarmony.app.runs import Run, Runs
from haarmony.app.security import Guard
from haarmony.app.store import Store
from haarmony.text import plain

PAGE = Path(__file__).parent / "page"
LARGEST_UPLOAD = 2**30
UPLOADS = 4
"""That may be on their way at once: a pair in each of two tabs."""
LARGEST_BODY = 2**16
"""Bytes of a JSON body."""
LOOK = 0.04
"""Seconds between two looks for new events."""

Body = TypeVar("Body", bound=BaseModel)


class _Pair(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    a: str
    b: str


class _Phantom(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    second: Literal["PET", "SPECT", "CT"]
    volume: bool = False
    seed: int = Field(42, ge=0, lt=2**63)


def make_app(
    folder: Path,
    *,
    token: str,
    port: Callable[[], int],
    largest_upload: int = LARGEST_UPLOAD,
    page: Path = PAGE,
    warm: bool = True,
) -> tuple[ASGIApp, Runs]:
    """The server as an ASGI application, and its runs, which its owner closes.

    Args:
        folder: The temporary folder; whoever made it removes it.
        token: What every call has to bring.
        port: Where it is to be found, once that is known.
        largest_upload: Bytes of a form.
        page: The folder of the built page.
        warm: Load the default model at once.
    """
    store = Store(folder)
    runs = Runs(folder, store, warm=warm)
    calls = _Calls(folder, store, runs, largest_upload)
    for kind, ending in (("text/javascript", ".js"), ("application/wasm", ".wasm")):
        mimetypes.add_type(kind, ending)  # which Windows may know as something else
    routes = [
        Route("/api/info", calls.info),
        Route("/api/sources", calls.add_source, methods=["POST"]),
        Route("/api/sources/{source}/{name}", calls.source_file),
        Route("/api/phantom", calls.phantom, methods=["POST"]),
        Route("/api/pair", calls.pair, methods=["POST"]),
        Route("/api/runs", calls.start, methods=["POST"]),
        Route("/api/runs/{run}", calls.run),
        Route("/api/runs/{run}/events", calls.events),
        Route("/api/runs/{run}/stop", calls.stop, methods=["POST"]),
        Route("/api/runs/{run}/files/{name}", calls.run_file),
        *_pages(page),
    ]
    problems: dict[Any, Any] = {
        Refused: lambda _, error: _error(str(error), error.status),
        HTTPException: lambda _, error: _error(error.detail, error.status_code),
        ClientDisconnect: lambda *_: Response(status_code=400),
        ValueError: lambda _, error: _error(told(error, folder), 400),
        OSError: lambda _, error: _error(told(error, folder), 507),
        MemoryError: lambda *_: _error(NO_MEMORY, 507),
        Exception: lambda *_: _error("something went wrong inside haarmony; the terminal says where", 500),
    }
    return Guard(Starlette(routes=routes, exception_handlers=problems), token=token, port=port), runs


def _pages(page: Path) -> list[Route | Mount]:
    def index(_: Request) -> Response:
        if (page / "index.html").is_file():
            return FileResponse(page / "index.html")
        return PlainTextResponse("haarmony: the page is not built here; its source is web/\n")

    def icon(_: Request) -> Response:
        if not (page / "favicon.svg").is_file():
            raise HTTPException(404, "not found")
        return FileResponse(page / "favicon.svg")

    routes: list[Route | Mount] = [Route("/", index), Route("/favicon.svg", icon)]
    if (page / "assets").is_dir():
        routes.append(Mount("/assets", StaticFiles(directory=page / "assets")))
    return routes


def _error(problem: str, status: int) -> JSONResponse:
    return JSONResponse({"error": plain(problem)}, status)


class _Calls:
    """The calls; what takes long is done in a thread of its own."""

    def __init__(self, folder: Path, store: Store, runs: Runs, largest_upload: int) -> None:
        self._folder, self._store, self._runs = folder, store, runs
        self._largest, self._uploading = largest_upload, 0

    async def info(self, _: Request) -> Response:
        """What there is to choose from."""
        models = [_told(card) for card in weights.cards(weights.ModelCard).values()]
        return JSONResponse(
            {
                "version": haarmony.__version__,
                "models": models,
                "register": importlib.util.find_spec("SimpleITK") is not None,
                "largest_upload": self._largest,
            }
        )

    async def add_source(self, request: Request) -> Response:
        """Take an upload in."""
        if self._uploading >= UPLOADS:
            raise Refused(f"{UPLOADS} uploads are on their way already; wait for one of them", 429)
        length = request.headers.get("content-length", "")
        self._uploading += 1
        try:
            upload = await uploads.receive(
                request.stream(),
                request.headers.get("content-type", ""),
                self._store.place(),
                most=self._largest,
                declared=int(length) if length.isdecimal() else None,
            )
            added = await run_in_threadpool(self._store.add, upload)
        finally:
            self._uploading -= 1
        return JSONResponse({"series": added} if isinstance(added, list) else added.about)

    async def source_file(self, request: Request) -> Response:
        """What the page shows of a source."""
        source, name = request.path_params["source"], request.path_params["name"]
        return FileResponse(await run_in_threadpool(self._store.shown, source, name))

    async def phantom(self, request: Request) -> Response:
        """A pair that nobody has to bring."""
        asked = await _body(request, _Phantom)
        make = self._store.phantom
        a, b = await run_in_threadpool(make, asked.second, volume=asked.volume, seed=asked.seed)
        return JSONResponse({"a": a.about, "b": b.about})

    async def pair(self, request: Request) -> Response:
        """Whether two sources go together."""
        asked = await _body(request, _Pair)
        return JSONResponse(await run_in_threadpool(self._store.pair, asked.a, asked.b))

    async def start(self, request: Request) -> Response:
        """Fuse two sources."""
        content = await _content(request)
        pair = _checked(_Pair, {key: content.pop(key, None) for key in ("a", "b")})
        settings = _checked(Settings, content)
        a, b = self._store.get(pair.a), self._store.get(pair.b)
        await run_in_threadpool(_check, settings, a.about["kind"], b.about["kind"])
        return JSONResponse({"id": self._runs.start(a, b, settings).id}, 202)

    async def run(self, request: Request) -> Response:
        """How a run stands."""
        return JSONResponse(self._runs.said(self._run(request)))

    async def stop(self, request: Request) -> Response:
        """End a run."""
        run = self._run(request)
        await run_in_threadpool(self._runs.stop, run)
        return JSONResponse(self._runs.said(run))

    async def events(self, request: Request) -> Response:
        """What is heard of a run, from some event on."""
        after = request.query_params.get("after", "0")
        if not after.isdecimal():
            raise Refused(f"after is the number of an event, not {after!r}")
        heard = self._heard(self._run(request), int(after))
        return StreamingResponse(heard, media_type="application/x-ndjson")

    async def _heard(self, run: Run, after: int) -> AsyncIterator[bytes]:
        while True:
            events, last = self._runs.heard(run, after)
            for event in events:
                yield json.dumps(event).encode() + b"\n"
                after = event["n"]
            if last:
                return
            await asyncio.sleep(LOOK)

    async def run_file(self, request: Request) -> Response:
        """A file that a run has left."""
        name = request.path_params["name"]
        path = await run_in_threadpool(self._runs.file, request.path_params["run"], name)
        return FileResponse(path, filename=name)

    def _run(self, request: Request) -> Run:
        return self._runs.get(request.path_params["run"])


def _told(card: weights.Card) -> dict[str, Any]:
    sampled = isinstance(card, weights.ModelCard) and not isinstance(card, weights.DifFusionCard)
    return {
        "name": card.name,
        "title": card.title,
        "description": card.description,
        "intended_use": card.intended_use,
        "limits": card.limits,
        "steps": card.diffusion.steps if sampled else None,  # type: ignore[attr-defined]
        "most_steps": card.diffusion.timesteps if sampled else None,  # type: ignore[attr-defined]
        "coloured": getattr(card, "coloured", None),
    }


def _check(settings: Settings, first: str, second: str) -> None:
    """Refuse, before a run is begun, what none could do.

    Raises:
        Refused: A model that is not shipped, or settings that it or the sources do not have.
    """
    shipped = weights.cards(weights.ModelCard)
    if settings.model not in shipped:  # the library takes paths, too; the page has none to give
        raise Refused(f"unknown model {settings.model!r}; there are {', '.join(shipped)}")
    if first == second == "picture" and settings.plane != "auto":
        raise Refused(f"planes ({settings.plane}) are of volumes; the sources are pictures")
    try:
        fuser(settings.model).check_steps(settings.steps)
    except ValueError as error:
        raise Refused(str(error)) from error


async def _content(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Refused(f"the body is larger than {LARGEST_BODY} bytes", 413)
    try:
        content = json.loads(bytes(body))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Refused("the body is no JSON object")
    return content


async def _body(request: Request, kind: type[Body]) -> Body:
    return _checked(kind, await _content(request))


def _checked(kind: type[Body], content: dict[str, Any]) -> Body:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}", 422) from error
