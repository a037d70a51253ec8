"""Time and memory of fusing on this machine, in one run: `python benchmarks/speed.py [--threads 2]`.

Phantom pairs, default settings, the ONNX engine. Rows of a command start a new process for every sample, with
the start of Python and all reading and writing in it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from haarmony import Fuser, weights, write
from haarmony.cli import answer
from haarmony.engine import Engine
from haarmony.phantom import head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="medical")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for name in ("threads", "repeats"):
        if (number := getattr(options, name)) < 1:
            parser.error(f"argument --{name}: {number} is not above 0")
    weights.load_card(weights.find(options.model))
    print(f"{options.threads} threads on {os.cpu_count()} cores, medians of {options.repeats}")
    # A child's peak memory starts from its parent's, so the commands come while this one is small.
    _commands(options.model, options.repeats)

    fuser = Fuser(options.model, threads=options.threads)
    print(f"model {fuser.card.name}, {fuser.card.diffusion.steps} steps")
    timed = _Timed(fuser._engine)
    fuser._engine = timed
    seconds = {}
    for size in (256, 1024):
        a, b = head(seed=42, size=size).pair("PET", 16)
        fuser(a, b)
        timed.spent.clear()
        seconds[size] = _median(lambda a=a, b=b: fuser(a, b), options.repeats)
        print(f"{size}×{size} pair after loading: {seconds[size]:.3f} s (", end="")
        total = seconds[size] * options.repeats
        rest = 1 - sum(timed.spent.values()) / total
        shares = [f"{name} {100 * spent / total:.0f} %" for name, spent in timed.spent.items()]
        print(", ".join([*shares, f"all else {100 * rest:.0f} %"]) + ")")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory of this process so far: {peak:.0f} MB")
    print(f"1024×1024 costs {seconds[1024] / seconds[256]:.1f} times 256×256")


def _commands(model: str, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in zip(("mri", "pet"), head(seed=42).pair("PET", 16), strict=True):
            write(Path(folder) / f"{name}.png", picture)
        model = str(Path(model).resolve()) if Path(model).is_dir() else model
        haarmony = [sys.executable, "-m", "haarmony"]
        fuse = [*haarmony, "fuse", "mri.png", "pet.png", "-o", "fused.png", "--overwrite", "--model", model]
        for label, command in (("fuse, 256×256", fuse), ("--version", [*haarmony, "--version"])):
            samples = [_command(command, folder) for _ in range(repeats)]
            seconds = float(np.median([spent for spent, _ in samples]))
            print(f"command {label}: {seconds:.2f} s, {max(peak for _, peak in samples):.0f} MB")


class _Timed:
    """An engine that keeps account of the time that each network takes."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.spent = engine, dict[str, float]()

    def __getattr__(self, name: str) -> Callable[..., np.ndarray]:
        def timed(*arrays: np.ndarray) -> np.ndarray:
            start = time.perf_counter()
            result: np.ndarray = getattr(self.engine, name)(*arrays)
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - start
            return result

        return timed


def _median(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _command(command: list[str], folder: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of a command in a process of its own."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode > 0:  # it has said why
        raise SystemExit(process.returncode)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(answer(main))
