"""Measure alignment: pairs moved on purpose, how near they are brought back, and whether that is noticed.

    python benchmarks/registration.py [DATA] [--sets harvard/CT-MRI,…] [-n 40] [--shift 15] [--turn 8]
    python benchmarks/registration.py -n 0 --volumes 5

DATA holds the folders and the splits.json that the recipes name; without it only phantoms are tried. The
second source of every pair (of DATA: of the validation split) is moved by a shift of up to 15 pixels and a
turn of up to 8°, then found again by `haarmony.register.find`. The error is the mean distance, over the head
(where the first source is not black), between where things are put and where they belong. A phantom's place
is known; other pairs were aligned by their makers, so belonging has two meanings:

    from the pose found    that of the pair as it came, which `find` is asked for, too: what moving it cost
    from the pair as it came    its makers' alignment taken for the truth, which of phantoms it is

`look` is asked about each pair as it came (a false alarm where it says anything) and moved.

Volumes are phantoms', slices of 128×128 pixels of 1.8 mm and as thick as the row says. Each pair is
registered as it lies and moved, by up to 10 mm in any direction and up to 8° about any axis. The error is the
mean distance over the head in mm, its part along z that through the planes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from haarmony import register
from haarmony.cli import answer
from haarmony.colour import to_luma
from haarmony.io import Picture, Volume, read_picture, to_unit
from haarmony.phantom import head

SETS = "harvard/CT-MRI,harvard/PET-MRI,harvard/SPECT-MRI"
THICK = [(first, second) for first in (1, 3) for second in (("CT", 1), ("PET", 4), ("SPECT", 5))]
"""How thick T1's slices are in mm, and which other scan has slices of what."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder of pairs with its splits.json")
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("-n", "--number", type=int, default=40, help="pairs of a set, evenly chosen")
    parser.add_argument("--volumes", type=int, default=5, help="pairs of volumes a row")
    parser.add_argument("--shift", type=float, default=15, help="pixels, at most")
    parser.add_argument("--turn", type=float, default=8, help="degrees, at most")
    parser.add_argument("--kind", choices=("rigid", "affine"), default="rigid")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    if options.number:
        of_pictures(options)
    if options.volumes:
        of_volumes(options)


def of_pictures(options: argparse.Namespace) -> None:
    print("| pairs | from the pose found | nine of ten | from the pair as it came | noticed | false alarms |")
    print("|---|---:|---:|---:|---:|---:|")
    tried = {f"phantom MRI-{second}": phantoms(second, options.number) for second in ("CT", "PET", "SPECT")}
    if options.data is not None:
        tried |= {name: pairs(options.data, name, options.number) for name in options.sets.split(",")}
    for name, sources in tried.items():
        rng, rows = np.random.default_rng(options.seed), []
        for a, b in sources:
            centre = (np.array(a.pixels.shape[:2]) - 1) / 2
            length, towards = options.shift * rng.random() ** 0.5, rng.uniform(0, 2 * np.pi)
            shift = length * np.array([np.cos(towards), np.sin(towards)])
            moved_by = register.turned(centre, rng.uniform(-options.turn, options.turn), shift)
            by = register.Transform(moved_by, centre, "rigid", 1.0, 1.0)
            moved = register.apply(replace(b, pixels=to_unit(b.pixels)), by)
            unmoved, found = (register.find(a, x, options.kind).matrix for x in (b, moved))
            inside = np.argwhere(to_luma(to_unit(a.pixels)) > 0.05)[::7]
            rows.append(
                (
                    apart(by.matrix @ found, unmoved, inside),
                    apart(by.matrix @ found, np.eye(3), inside),
                    register.look(a, moved) is not None,
                    register.look(a, b) is not None,
                )
            )
        to_found, to_given, noticed, alarms = np.array(rows, float).T
        print(
            f"| {name}, {len(rows)} | {np.median(to_found):.2f} px | {np.quantile(to_found, 0.9):.2f} px "
            f"| {np.median(to_given):.2f} px | {noticed.mean():.0%} | {alarms.mean():.0%} |",
            flush=True,
        )


def of_volumes(options: argparse.Namespace) -> None:
    print("| volumes | off before | median | largest | along z | as they lie | CPU seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for thick, (second, other) in THICK:
        rng, rows = np.random.default_rng(options.seed), []
        for seed in range(1, options.volumes + 1):
            a, b = scan(seed, "T1", thick), scan(seed, second, other)
            by = moving(rng)
            inside = np.argwhere(a.voxels > 0.05)[::37]
            at = a.affine[:3, :3] @ inside.T + a.affine[:3, 3:]
            start = time.process_time()
            found = register.find(a, replace(b, affine=by @ b.affine), options.kind).matrix
            took = time.process_time() - start
            still = register.find(a, b, options.kind).matrix
            apart = [
                (x - y)[:3, :3] @ at + (x - y)[:3, 3:]
                for x, y in ((by, np.eye(4)), (found, by), (still, np.eye(4)))
            ]
            before, after, lies = (np.linalg.norm(d, axis=0).mean() for d in apart)
            rows.append((before, after, np.abs(apart[1][2]).mean(), lies, took))
        before, after, along, lies, took = np.array(rows).T
        print(
            f"| T1 {thick} mm, {second} {other} mm, {len(rows)} | {np.median(before):.1f} mm "
            f"| {np.median(after):.2f} mm | {after.max():.2f} mm | {np.median(along):.2f} mm "
            f"| {np.median(lies):.2f} mm | {np.median(took):.1f} |",
            flush=True,
        )


def scan(seed: int, modality: str, thick: float) -> Volume:
    """A head's slices, the lowest of thick ones somewhat higher, so that no two grids are the same."""
    of, low = head(seed, 128), -40 + thick / 2
    values = of.volume(modality, np.arange(low, 78, thick).tolist()).transpose(2, 1, 0)
    affine = np.diag([of.spacing, -of.spacing, thick, 1.0])
    affine[:3, 3] = -63.5 * of.spacing, -14 + 63.5 * of.spacing, low
    darkest, brightest = float(values.min()), float(values.max())
    return Volume((values - darkest) / (brightest - darkest), (darkest, brightest), affine)


def moving(rng: np.random.Generator) -> np.ndarray:
    """A shift of up to 10 mm and a turn of up to 8°, each in any direction, about the head's middle."""
    (axis, towards), middle = rng.standard_normal((2, 3)), np.array([0, -14, 18])
    turn = np.radians(8) * rng.random() * axis / np.linalg.norm(axis)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    shift = 10 * rng.random() ** (1 / 3) * towards / np.linalg.norm(towards)
    matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
    return matrix


def pairs(data: Path, name: str, number: int) -> list[tuple[Picture, Picture]]:
    """Validation pairs of a set, the visible or MRI first; evenly chosen."""
    split = json.loads((data / "splits.json").read_text())[name]["val"]
    first, second = sorted((path.name for path in (data / name).iterdir() if path.is_dir()), key=order)
    chosen = [split[i] for i in np.unique(np.linspace(0, len(split) - 1, number).astype(int))]
    return [
        tuple(read_picture(next((data / name / of).glob(f"{stem}.*"))) for of in (first, second))
        for stem in chosen
    ]


def phantoms(second: str, number: int) -> list[tuple[Picture, Picture]]:
    """Pairs of heads 0, 1, …, each at four heights."""
    found = []
    for i in range(number):
        a, b = head(seed=i // 4).pair(second, 16 * (i % 4))
        found.append((Picture(a, (0.0, 255.0)), Picture(b, (0.0, 255.0))))
    return found


def order(folder: str) -> bool:
    return folder not in ("MRI", "visible")


def apart(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> float:
    """Mean distance between where two matrices put the points."""
    return float(np.linalg.norm((points @ (x - y)[:2, :2].T) + (x - y)[:2, 2], axis=1).mean())


if __name__ == "__main__":
    sys.exit(answer(main))
