"""`haarmony models`: what ships with the package."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import typer

from haarmony.cli.messages import table

if TYPE_CHECKING:
    from haarmony.weights import Card


def models() -> None:
    """List the shipped models: use, limits, validation scores."""
    from haarmony.weights import DifFusionCard, DiffusionCard, cards

    for name, card in cards().items():
        size = f"{card.parameters / 1e6:.2f} million parameters"
        if isinstance(card, DifFusionCard):
            size = f"features at t = {', '.join(map(str, card.features_at))}, {size}"
        elif isinstance(card, DiffusionCard):
            size = f"{card.diffusion.steps} steps, {size}"
        typer.echo(f"{name}: {card.title} ({size})")
        for label, text in (
            ("for", card.intended_use),
            ("limits", card.limits),
            ("trained on", card.training_data),
        ):
            typer.echo(fill(f"{label}: {text}", 100, initial_indent="  ", subsequent_indent="    "))
        typer.echo("\n".join(f"  {line}" for line in table(_scores(card))))


def _scores(card: Card) -> list[list[str]]:
    """A row a validation set, a column a metric."""
    metrics = list(dict.fromkeys(metric for scores in card.scores.values() for metric in scores))
    cells = (
        [name, *(f"{scores[m]:.3f}" if m in scores else "" for m in metrics)]
        for name, scores in card.scores.items()
    )
    return [["validation", *metrics], *cells]
