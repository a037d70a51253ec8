"""Volumes: how well fused slices follow one another, and what a pair of volumes costs, as one Markdown table.

    python benchmarks/volumes.py [DATA] [--size 256,256,160]

Slices fused one by one may flicker, though their sources do not. With mean |Δz| the mean difference of
neighbouring slices and mean |Δx| that of neighbouring pixels within one, the flicker is

    (mean |Δz| / mean |Δx| of the fused volume) / (the same of the sources' pixel-wise maximum),

of lumas: 1 where the fused volume changes along z as that maximum does. Each source's own ratio stands
beside it, since a fused volume that shows more of the rougher one is rougher without any flicker, and so does
the figure of their average, which cannot flicker: a maximum hides the noise of the darker source. The
phantom's heads have slices of 1 and of 3 mm, each with noise of its own; of DATA, where it is given, it is
every row of five numbers or more that follow one another in the validation split, all of one patient.
Memory is the peak of a process of its own that runs `haarmony fuse a.nii.gz b.nii.gz -o out.nii.gz` on int16
volumes of the size given (Linux).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

import numpy as np

from haarmony import Fuser, Volume, read
from haarmony.cli import answer
from haarmony.colour import to_luma
from haarmony.io import to_unit
from haarmony.phantom import head

PAIRS = {"CT": "T2", "PET": "T1", "SPECT": "T2"}
"""The MRI beside each."""
LEAST = 5
"""Slices in a row that are worth a figure."""
COMMAND = """
import sys
from haarmony.cli import main
code = main(["fuse", *sys.argv[1:], "-o", "out.nii.gz", "--overwrite", "--quiet"])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder of pairs with its splits.json")
    parser.add_argument("--model", default="medical")
    parser.add_argument("--size", default="256,256,160", help="of the volumes whose memory is measured")
    options = parser.parse_args()
    size = [int(n) for n in re.findall(r"\d+", options.size)]
    if len(size) != 3 or min(size) < 16:
        parser.error(f"argument --size: {options.size} is not I,J,K, each at least 16")
    patients = _patients(options.data) if options.data else []
    print(
        "| volume | slices | MRI | other | maximum | fused | flicker | average's |",
        "|---|" + 7 * "--:|",
        sep="\n",
    )
    fuser = Fuser(options.model)
    for second, first in PAIRS.items():
        for step in (1, 3):
            levels = range(-8 * step, 16 * step, step)
            a, b = (head(seed=42).slices(modality, levels) for modality in (first, second))
            _row(f"phantom {first} and {second}, {step} mm", fuser, a, b)
    for name, files in patients:
        a, b = (np.stack([read(path).pixels for path in paths]) for paths in zip(*files, strict=True))
        _row(name, fuser, a, b)
    print()
    print("| volumes | seconds | peak memory |", "|---|--:|--:|", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        _store(Path(folder), size)
        for label, second in (("one grid", "b.nii.gz"), ("the second resampled", "c.nii.gz")):
            seconds, peak = _command(folder, "a.nii.gz", second, "--model", options.model)
            print(f"| {' × '.join(map(str, size))}, {label} | {seconds:.0f} | {peak:.0f} MB |", flush=True)


def _row(name: str, fuser: Fuser, a: np.ndarray, b: np.ndarray) -> None:
    fused = to_unit(fuser(_volume(a), _volume(b)).voxels)
    lumas = [_luma(to_unit(np.moveaxis(x, 0, 2))) for x in (a, b)]
    maximum, average = np.maximum(*lumas), sum(lumas) / 2
    figures = [_roughness(x) for x in (*lumas, maximum, _luma(fused.swapaxes(0, 1)))]
    flicker = figures[3] / figures[2], _roughness(average) / figures[2]
    cells = [f"{figure:.3f}" for figure in (*figures, *flicker)]
    print("|", " | ".join([name, str(len(a)), *cells]), "|", flush=True)


def _volume(slices: np.ndarray) -> Volume:
    """Axial slices, (z, h, w) or (z, h, w, 3), as a volume: rows lead to the back, columns to the left."""
    voxels = np.moveaxis(slices, 0, 2).swapaxes(0, 1)
    return Volume(voxels, (0.0, 255.0), np.diag([-1.0, -1.0, 1.0, 1.0]))


def _luma(voxels: np.ndarray) -> np.ndarray:
    return voxels if voxels.ndim == 3 else np.stack([to_luma(x) for x in np.moveaxis(voxels, 2, 0)], axis=2)


def _roughness(x: np.ndarray) -> float:
    """Mean |Δz| over mean |Δx| of (h, w, z)."""
    return float(np.abs(np.diff(x, axis=2)).mean() / np.abs(np.diff(x, axis=1)).mean())


def _patients(data: Path) -> list[tuple[str, list[tuple[Path, Path]]]]:
    """Rows of slices whose numbers follow one another; without its last three digits, a stem is a patient."""
    found = []
    for name, split in json.loads((data / "splits.json").read_text()).items():
        second = name.split("/")[-1].removesuffix("-MRI")
        if name.endswith("-MRI"):
            stems = sorted(split["val"], key=int)
            for _, row in groupby(enumerate(stems), lambda item: (item[1][:-3], int(item[1]) - item[0])):
                numbers = [stem for _, stem in row]
                files = [tuple(data / name / kind / f"{n}.png" for kind in ("MRI", second)) for n in numbers]
                if len(numbers) >= LEAST:
                    found.append((f"MRI and {second}, {numbers[0]} to {numbers[-1]}", files))
    return found


def _store(folder: Path, size: list[int]) -> None:
    """int16 volumes of a head, its slices repeated: T2 as a, CT as b, and as c half a voxel further."""
    import nibabel as nib

    columns, rows, count = size
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    for name, modality, scale, shift in (("a", "T2", 4000, 0), ("b", "CT", 1, 0), ("c", "CT", 1, 0.5)):
        slices = scale * head(seed=42, size=(rows, columns)).volume(modality, range(-20, 60, 5))
        voxels = np.resize(slices, (count, rows, columns)).T.astype(np.int16)
        affine[:3, 3] = shift
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")


def _command(folder: str, *argv: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of `haarmony fuse` in a process of its own."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *argv], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:  # it has said why
        raise SystemExit(done.returncode)
    return time.perf_counter() - start, int(done.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    sys.exit(answer(main))
