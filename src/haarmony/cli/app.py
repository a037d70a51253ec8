"""`haarmony app`: a page to look at a pair, fuse it and save the result, served to this machine alone."""

from __future__ import annotations

from typing import Annotated

import typer

from haarmony.cli.messages import show


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to serve it; 0: on a free port.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Look at pairs, align and fuse them in the browser.

    Prints the page's address and opens it. The page is served to this machine alone, under
    a token that the address holds; what it is given lies in a temporary folder and is gone
    when Ctrl-C ends it. Needs the extra 'app'.
    """
    from haarmony.app import serve as run

    run(port=port, browser=not no_browser, say=show)
