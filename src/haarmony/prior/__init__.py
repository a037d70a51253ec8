"""The fusion-knowledge prior Φ(P): a target x_0 for every training pair, where no ground truth exists.

Use::

    for progress in build(jobs.pairs(mri, pet).pairs, out):    # OUT/STEM.png and OUT/prior.json
        print(progress.stem, progress.entry.winner)
    x_0 = load(out, stem)
"""

from __future__ import annotations

from haarmony.prior.config import AscentConfig, SearchConfig
from haarmony.prior.record import Entry, Scored
from haarmony.prior.search import Progress, build, choose, load, read_luma

__all__ = [
    "AscentConfig",
    "Entry",
    "Progress",
    "Scored",
    "SearchConfig",
    "build",
    "choose",
    "load",
    "read_luma",
]
