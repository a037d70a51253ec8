"""The local server behind `haarmony app`: a page's calls in, the library's answers out.

    security   token, Host and Origin, and what all answers say to a browser
    folder     the temporary folder: removed at the end, and of dead processes at the next start
    uploads    a form's files to disk, under a limit, with names that are safe
    store      sources: their files, what they hold, and what the page shows of them
    runs       fusings in their order: one thread, events, stopping
    fusing     one run: read, aligned, fused or explained, scored, written
    files      what a run leaves: pictures, maps, figure, manifest, archive
    routes     the calls, each one act of the parts above
    server     the socket, the browser and the end

Everything lives in this process's memory and in one temporary folder; nothing of it outlives the process, and
only what was given an id here is ever served. Needs the extra `app`.
"""

from __future__ import annotations

from haarmony.app.routes import make_app
from haarmony.app.server import serve

__all__ = ["make_app", "serve"]
