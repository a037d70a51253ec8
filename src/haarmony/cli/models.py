"""`haarmony models`: what ships with the package."""

from __future__ import annotations

import typer


def models() -> None:
    """List the shipped models, with their scores on their validation sets."""
    from haarmony.weights import cards

    for name, card in cards().items():
        typer.echo(f"{name}: {card.title}")
