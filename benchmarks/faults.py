"""Kill folder runs at random moments, with and without room on the disk, and count what is lost.

    python benchmarks/faults.py [-n 100] [--pairs 400] [--seed 0]

Makes pairs of 64×64 of the phantom in a temporary folder and fuses them once undisturbed. Then a run of
`haarmony fuse A B -o OUT` with two workers is killed (SIGKILL, all its processes) after a random time, and
again, n times in all; a run that comes to its end starts over in a new folder. After every kill each PNG that
stands in OUT must be, byte for byte, the undisturbed run's, and none that stood before may be gone or made
again. Every fifth run may write a random number of bytes to a file (RLIMIT_FSIZE), the manifest's record too,
and is stopped in the middle of one as by a full disk.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from haarmony import phantom
from haarmony.cli import answer
from haarmony.io import write
from haarmony.manifest import sha256

LONGEST = 8.0
"""Seconds after which the latest kill comes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--number", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sources(options.pairs)
        assert run("whole").wait() == 0
        expected = {name: digest for name, (digest, _) in standing("whole").items()}
        killed = starved = checked = lost = 0
        attempt, before = 0, {}
        for number in range(options.number):
            limit = chance.randrange(1000, 60000) if number % 5 == 4 else None
            process = run(f"out{attempt}", limit=limit)
            starved += limit is not None
            try:
                process.wait(chance.uniform(0.5, LONGEST))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
            after = standing(f"out{attempt}")
            checked += len(after)
            lost += sum(expected.get(name) != digest for name, (digest, _) in after.items())
            lost += sum(after.get(name) != kept for name, kept in before.items())
            attempt, before = (attempt + 1, {}) if len(after) == len(expected) else (attempt, after)
        print("| runs | short of room | killed | outputs checked | lost or damaged |")
        print("|---:|---:|---:|---:|---:|")
        print(f"| {options.number} | {starved} | {killed} | {checked} | {lost} |")


def sources(pairs: int) -> None:
    """Folders mri and pet, of pairs no two of which are alike."""
    heads = [phantom.head(seed, 64).pair("PET", 32) for seed in range(-(-pairs // 64))]
    for k, name in enumerate(("mri", "pet")):
        Path(name).mkdir()
        for i in range(pairs):
            write(f"{name}/p{i:04}.png", np.roll(heads[i // 64][k], i % 64, axis=0))


def run(out: str, *, limit: int | None = None) -> subprocess.Popen[bytes]:
    """The command in a session of its own, so that all of its processes can be killed."""
    argv = [sys.executable, "-m", "haarmony", "fuse", "mri", "pet", "-o", out, "--workers", "2", "--quiet"]
    bound = None if limit is None else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.Popen(
        argv, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=bound
    )


def standing(out: str) -> dict[str, tuple[str, int]]:
    """Digest and time of every output that stands."""
    return {path.name: (sha256(path), path.stat().st_mtime_ns) for path in Path(out).glob("*.png")}


if __name__ == "__main__":
    sys.exit(answer(main))
