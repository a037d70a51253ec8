"""Where an output and the transform it was made by stand."""

from __future__ import annotations

from pathlib import Path

from haarmony.jobs.pairing import stem_of


def transform_of(out: Path) -> Path:
    """Where the transform of an output is saved: STEM.transform.json beside it."""
    return out.with_name(f"{stem_of(out)}.transform.json")
