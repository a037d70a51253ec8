"""Fuse files: one pair, or two folders whose files pair up by their stem.

    pairing    which files make a pair, and what cannot work
    fusing     one pair: read, aligned, fused; `Fusing`, what all pairs of a run share
    placing    an output and its transform put in their places, in step
    explaining explanations beside the results
    folder     folder runs: what is to be done, by whom, and what became of it

A job is a pair of source files and the file it makes. It is done without a look at the other jobs, so an
output's bytes depend on its own sources, model, steps and seed alone; a job that fails leaves its output as
it was and stops no other.
"""

from haarmony.jobs import explaining
from haarmony.jobs.folder import PER_WORKER, Outcome, remove_leftovers, run
from haarmony.jobs.fusing import Fuse, Fused, Fusing, Range, Ranges, fitting, fuse_file, fuse_pair
from haarmony.jobs.pairing import SUFFIXES, Pair, Pairs, by_stem, check, check_apart, pairs, transform_of

__all__ = [
    "PER_WORKER",
    "SUFFIXES",
    "Fuse",
    "Fused",
    "Fusing",
    "Outcome",
    "Pair",
    "Pairs",
    "Range",
    "Ranges",
    "by_stem",
    "check",
    "check_apart",
    "explaining",
    "fitting",
    "fuse_file",
    "fuse_pair",
    "pairs",
    "remove_leftovers",
    "run",
    "transform_of",
]
