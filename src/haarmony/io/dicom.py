"""DICOM in: a series of slices, or one file of one or many frames, as a volume.

Where a pixel lies is PS3.3 C.7.6.2.1.1, i the column, j the row and k the slice::

    P = S_0 + i Δ_i X + j Δ_j Y + k (S_last − S_0) / (K − 1)        LPS in mm

X, Y are Image Orientation, Δ_j, Δ_i Pixel Spacing and S Image Position; the affine is diag(−1, −1, 1, 1)
times that. Slices are in order along X × Y, whatever their names and numbers; a tilted gantry shears the
grid. What a pixel p means is ``Rescale Slope · p + Rescale Intercept``, of every slice its own.

A folder is read with all folders in it. `find_series` looks at headers alone, `Series.read` at the pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from haarmony.io.dicom_headers import (
    DECODERS,
    About,
    Frame,
    Layout,
    RefusedError,
    about_of,
    begins,
    check_size,
    frames_of,
    is_image,
    read_header,
    reading,
    walk,
)
from haarmony.io.guards import BoundedFile, plain
from haarmony.io.ranges import into_unit, measured
from haarmony.io.volume import Unit, Volume

WINDOWS = {"brain": (40, 80), "bone": (600, 2800), "soft": (50, 400), "lung": (-600, 1500)}
"""Centre and width in Hounsfield units: centre ± width / 2 are 0 and 1 (LINEAR_EXACT of PS3.3 C.11.2.1.3)."""

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Series:
    """One series, its slices in order along the normal.

    Attributes:
        path: What the user named.
        about: What the first file says of the series.
        frames: The slices.
        affine: (4, 4) from (column, row, slice) to RAS+ mm.
        placed: Whether the file says where the slices lie; else the affine is spacing alone.
        notes: What finding the series passed over.
    """

    path: Path
    about: About
    frames: tuple[Frame, ...]
    affine: np.ndarray
    placed: bool
    notes: tuple[str, ...] = ()

    def read(
        self, *, value_range: tuple[int | float, int | float] | None = None, window: str | None = None
    ) -> Volume:
        """The series as a volume; arguments and errors are `read_dicom`'s."""
        layout = self.frames[0].layout
        ends = _ends(self, value_range, window)
        plain = ends is None and all(
            (f.layout.bits, f.layout.signed, f.layout.padding, f.slope, f.intercept) == (8, False, None, 1, 0)
            for f in self.frames
        )
        colour = layout.samples == 3
        kind = np.uint16 if colour and layout.bits > 8 else np.uint8 if colour or plain else np.float32
        shape = (len(self.frames), layout.rows, layout.columns) + ((3,) if colour else ())
        voxels = np.empty(shape, kind)
        for k, pixels in _pixels(self.frames):
            frame = self.frames[k]
            if kind != np.float32:
                voxels[k] = pixels
                continue
            with np.errstate(over="ignore"):
                voxels[k] = frame.slope * pixels.astype(np.float64) + frame.intercept
            if not np.isfinite(voxels[k]).all():
                raise ValueError(
                    f"{frame.path}: its rescale slope {frame.slope:g} and intercept {frame.intercept:g} carry"
                    " its values beyond all numbers; export it again"
                )
            if frame.layout.padding is not None:
                first, last = frame.layout.padding
                voxels[k][(pixels >= first) & (pixels <= last)] = np.nan
        inverted, notes = layout.photometric == "MONOCHROME1", list(self.notes)
        if kind == np.float32:
            low, high = ends or _extremes(voxels, self.path)
            why = "as asked" if ends else "the smallest and the largest of the series"
            if ends is None and self.about.modality == "CT":
                why += f"; windows for a CT: {', '.join(WINDOWS)} or centre/width"
            notes.append(f"values from {low:.7g} to {high:.7g} shown from black to white ({why})")
            for k, values in enumerate(voxels):
                voxels[k] = into_unit(values, (low, high))
            if inverted:
                np.subtract(1, voxels, out=voxels)
            padded = np.isnan(voxels)
            if padded.any():
                voxels[padded] = 0
                notes.append(f"{padded.mean():.1%} of the voxels are padding, taken as black")
        else:
            low, high = 0.0, float(2 ** (8 * np.dtype(kind).itemsize) - 1)
            if inverted:
                np.invert(voxels, out=voxels)
        if inverted:
            low, high = high, low
            notes.append("inverted, because the file stores white as its least value")
        axes = (2, 1, 0, 3) if colour else (2, 1, 0)
        unit: Unit = "mm" if self.frames[0].spacing is not None else "unknown"
        return Volume(
            voxels.transpose(axes), (low, high), self.affine, unit, dict(self.about.metadata), tuple(notes)
        )


def read_dicom(
    path: str | os.PathLike[str],
    *,
    value_range: tuple[int | float, int | float] | None = None,
    window: str | None = None,
    series: str | int | None = None,
) -> Volume:
    """Read a DICOM series as a volume.

    Args:
        path: A file of one or many frames, of which only itself is read, or a folder, read with all folders
            in it; links to folders are not followed.
        value_range: The values, rescaled, that 0.0 and 1.0 shall stand for; what lies outside is cut.
        window: The same as a name of `WINDOWS`, for CT alone, or as centre and width, "40/80".
        series: Series Number or Series Instance UID, where a folder holds several.

    Returns:
        Grey: float32 (I, J, K) between the window's ends or, without one, the whole volume's minimum and
        maximum; 8-bit values without a rescale stay uint8. RGB: (I, J, K, 3) uint8 or uint16. The first axis
        runs along the rows, the third along the normal. MONOCHROME1 is inverted: its `value_range` falls.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        OSError: If it cannot be opened.
        ValueError: If it holds no DICOM image, several series and none was chosen, slices that make no
            regular grid, more than `MAX_VOXELS`, or, in the series that is read, pixels of a kind or
            compression that is not. One line: the path, the problem, what to do.
    """
    return find_series(path, series=series).read(value_range=value_range, window=window)


def window_range(window: str, *, modality: str = "CT") -> tuple[float, float]:
    """The values at both ends of a window: a name of `WINDOWS`, or centre and width as "40/80".

    Raises:
        ValueError: If it is neither, the width is not positive, or a name stands against what is no CT.
    """
    if window in WINDOWS:
        if modality != "CT":
            raise ValueError(f"the window '{window}' is for CT, not {modality or 'an unknown modality'}")
        centre, width = map(float, WINDOWS[window])
    else:
        try:
            centre, width = map(float, window.split("/"))
        except ValueError:
            centre = width = np.nan
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        raise ValueError(f"no window '{window}': choose {', '.join(WINDOWS)}, or centre/width as in 40/80")
    return centre - width / 2, centre + width / 2


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file is DICOM, by its content, or a folder a DICOM series and no folder of pictures.

    A folder is one if a file in it is DICOM; where none is and no picture or volume either, the folders in it
    count.
    """
    path = Path(path)
    if not path.is_dir():
        return begins(path) == "dicom"
    for _, names, files in walk(path):
        kinds = {begins(file) for file in files}
        if "dicom" in kinds:
            return True
        if "picture" in kinds:
            names.clear()
    return False


def find_series(path: str | os.PathLike[str], *, series: str | int | None = None) -> Series:
    """The series of a file or a folder, from the headers alone; arguments and errors are `read_dicom`'s."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    found: dict[str, _Found] = {}
    passed, stray, twice, seen = [], [], 0, set()
    for file in [path] if not path.is_dir() else [file for _, _, files in walk(path) for file in files]:
        described = _described(file)
        if described is None:
            passed.append(file)
            continue
        about, frames, problem = described
        if about is None or (problem and not about.uid):
            stray.append(problem)
            continue
        one = found.setdefault(about.uid, _Found(about))
        one.about = one.about.joined(about)
        if problem:
            one.unread.append(problem)
            continue
        # Some anonymisers give all slices one UID: a copy lies in the same place, too.
        copy = (about.uid, frames[0].uid, frames[0].position, len(frames))
        if frames[0].uid and copy in seen:
            twice += 1
            continue
        seen.add(copy)
        one.frames.extend(frames)
    notes = []
    if passed and path.is_dir():
        more = ", …" if len(passed) > 3 else ""
        names = ", ".join(sorted(file.name for file in passed)[:3])
        notes.append(f"files that are no DICOM image passed over: {len(passed)} ({names}{more})")
    if twice:
        notes.append(f"copies of slices passed over: {twice}")
    if stray:
        if not found:
            raise ValueError(stray[0])
        if series is None and len(found) == 1:
            (only,) = found.values()
            name = plain(only.about.number or only.about.uid)
            raise ValueError(f"{stray[0]}; or name the series, {name}, that is read without it")
        notes.append(f"files that cannot be read passed over: {len(stray)} ({stray[0]})")
    if not found:
        raise ValueError(f"{path}: holds no DICOM image; name a file or a folder that does")
    chosen = _chosen(path, list(found.values()), None if series is None else str(series))
    if chosen.unread:
        raise ValueError(chosen.unread[0])
    if chosen.about.burned_in == "YES":
        notes.append("says that words are burnt into its pixels; look before you share")
    ordered, affine, placed, more_notes = _arranged(path, chosen.frames)
    return Series(path, chosen.about, ordered, affine, placed, (*notes, *more_notes))


@dataclass
class _Found:
    """A series, as far as its files have been seen."""

    about: About
    frames: list[Frame] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """A line for each file of it that is not read."""

    def listed(self, path: Path, numbers: Sequence[str]) -> str:
        """It by number, where no other has that, else by UID, and what tells it from others."""
        about = self.about
        says = f"{about.modality or 'no modality'}, {about.description!r}, slices: {len(self.frames)}"
        if self.unread:
            says += f", not read: {len(self.unread)}, {self.unread[0].removeprefix(f'{path}{os.sep}')}"
        return f"{about.number if numbers.count(about.number) == 1 and about.number else about.uid} ({says})"


def _described(file: Path) -> tuple[About | None, list[Frame], str] | None:
    """The series of a file, if it can be told, its slices, and why it is not read; None of no DICOM image."""
    about = None
    if begins(file) != "dicom":
        return None
    try:
        header = read_header(file)
        with reading(file):
            if not is_image(header):
                return None
            about = about_of(header)
            return about, frames_of(file, header), ""
    except ValueError as error:
        return about, [], str(error)


def _chosen(path: Path, found: list[_Found], series: str | None) -> _Found:
    """The series asked for, or the only one."""
    if series is None and len(found) == 1:
        return found[0]
    matching = [one for one in found if series is not None and series in (one.about.number, one.about.uid)]
    if len(matching) == 1:
        return matching[0]
    found = sorted(found, key=lambda one: (len(one.about.number), one.about.number))
    numbers = [one.about.number for one in found]
    entries = [one.listed(path, numbers) for one in found[:12]]
    entries += [f"{len(found) - 12} more"] * (len(found) > 12)
    problem = f"holds {len(found)} series; choose one (--series-a, --series-b; in Python series=)"
    if series is not None:
        problem = f"{len(matching) or 'no'} series {series!r} in it; there are"
    raise ValueError(f"{path}: {problem}: {plain(', '.join(entries))}")


def _arranged(path: Path, frames: list[Frame]) -> tuple[tuple[Frame, ...], np.ndarray, bool, tuple[str, ...]]:
    """The slices in order, their affine, whether the file says where they lie, and notes."""
    first, count = frames[0], len(frames)
    for name, key in (
        ("sizes", lambda f: f"{f.layout.columns}×{f.layout.rows}"),
        ("pixel kinds", lambda f: f.layout.photometric),
        ("bits a sample", lambda f: f.layout.samples == 3 and f.layout.bits),
        ("pixel spacings", lambda f: f.spacing and tuple(round(s, 4) for s in f.spacing)),
    ):
        kinds = list(dict.fromkeys(key(frame) for frame in frames))
        if len(kinds) > 1:
            raise ValueError(
                f"{path}: its slices have different {name} ({kinds[0]}, {kinds[1]}); keep one kind"
            )
    try:
        check_size(first.layout.columns, first.layout.rows, count, first.layout.samples)
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from None
    rows, columns = first.spacing or (1.0, 1.0)
    axes = np.eye(4)
    if any(f.position is None or f.orientation is None for f in frames):
        if count > 1:
            raise ValueError(
                f"{path}: its {count} slices do not say where they lie (a film, screenshots?); read one alone"
            )
        axes[:3, :3] = np.diag([columns, rows, first.thickness])
        return tuple(frames), TO_RAS @ axes, False, ("says not where it lies; placed at the origin",)
    orientation = np.array([f.orientation for f in frames])
    if np.abs(orientation - orientation[0]).max() > 1e-3:
        raise ValueError(f"{path}: its slices lie in different directions (a localiser?); keep parallel ones")
    x, y = orientation[0].reshape(2, 3)
    if max(abs(x @ x - 1), abs(y @ y - 1), abs(x @ y)) > 1e-2:
        raise ValueError(
            f"{path}: its orientation {orientation[0].tolist()} is no two perpendicular directions"
        )
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    normal = np.cross(x, y)
    positions = np.array([f.position for f in frames])
    order = np.argsort(positions @ normal, kind="stable")
    frames, positions = [frames[k] for k in order], positions[order]
    step, notes = first.thickness * normal, []
    if count > 1:
        _check_gaps(path, np.diff(positions @ normal), positions @ normal)
        step = (positions[-1] - positions[0]) / (count - 1)
        grid = positions[0] + np.arange(count)[:, None] * step
        off = np.linalg.norm(positions - grid, axis=1)
        if off.max() > 0.1 * float(step @ normal) + 1e-3:
            raise ValueError(
                f"{path}: its slices stray from the line through them by {off.max():.3g} mm; resample them"
            )
        tilt = np.degrees(np.arccos(min(1.0, float(step @ normal / np.linalg.norm(step)))))
        if tilt > 0.5:
            notes.append(f"slices are sheared by {tilt:.1f}° (a tilted gantry), which the affine holds")
    axes[:3] = np.column_stack([x * columns, y * rows, step, positions[0]])
    return tuple(frames), TO_RAS @ axes, True, tuple(notes)


def _check_gaps(path: Path, gaps: np.ndarray, heights: np.ndarray) -> None:
    """Refuse slices that share a place, miss or stand unevenly; heights along the normal in mm."""
    shared = int((gaps <= 1e-4).sum())
    if shared:
        raise ValueError(
            f"{path}: slices that share another's place: {shared} (phases, echoes?); keep one of each"
        )
    usual = float(np.median(gaps))
    grid = heights[0] + np.arange(len(heights)) * (heights[-1] - heights[0]) / len(gaps)
    if np.abs(heights - grid).max() <= 0.1 * usual + 1e-3:
        return
    times = np.rint(gaps / usual)
    if np.abs(gaps / usual - times).max() <= 0.1:
        k = int(np.argmax(times))
        raise ValueError(
            f"{path}: slices are missing: {int((times - 1).sum())}, the first between {heights[k]:.4g} and "
            f"{heights[k + 1]:.4g} mm along the normal; add them"
        )
    raise ValueError(
        f"{path}: its slices stand {gaps.min():.4g} to {gaps.max():.4g} mm apart; resample them evenly first"
    )


def _ends(
    series: Series, value_range: tuple[int | float, int | float] | None, window: str | None
) -> tuple[float, float] | None:
    """The values asked for as 0 and 1."""
    if value_range is None and window is None:
        return None
    if value_range is not None and window is not None:
        raise ValueError(f"{series.path}: got a value range and a window; give one of them")
    if series.frames[0].layout.samples == 3:
        raise ValueError(f"{series.path}: is in colour, which takes no value range and no window")
    try:
        low, high = window_range(window, modality=series.about.modality) if window else value_range or (0, 0)
    except ValueError as error:
        raise ValueError(f"{series.path}: {error}") from None
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"{series.path}: the value range must rise, not {low:g} to {high:g}")
    return float(low), float(high)


def _extremes(voxels: np.ndarray, path: Path) -> tuple[float, float]:
    """Minimum and maximum of what is no padding; a step of 1 where they are one."""
    low, high = float(np.fmin.reduce(voxels, axis=None)), float(np.fmax.reduce(voxels, axis=None))
    if np.isnan(low):
        raise ValueError(f"{path}: every pixel is padding")
    return measured(low, high)


def _pixels(frames: Sequence[Frame]) -> Iterator[tuple[int, np.ndarray]]:
    """(k, stored pixels (rows, columns[, 3])) of every slice, one file after the other."""
    files: dict[Path, list[int]] = {}
    for k, frame in enumerate(frames):
        files.setdefault(frame.path, []).append(k)
    for path, places in files.items():
        at = {frames[k].number: k for k in places}
        decoded = _decoded(path, frames[places[0]].layout)
        for number in range(1, len(at) + 1):
            with reading(path):
                pixels = next(decoded, None)
                layout = frames[places[0]].layout
                if pixels is None or pixels.shape[:2] != (layout.rows, layout.columns):
                    raise ValueError("a frame is missing")
            yield at[number], pixels


def _decoded(path: Path, layout: Layout) -> Iterator[np.ndarray]:
    from pydicom import dcmread
    from pydicom.encaps import generate_frames
    from pydicom.pixels.utils import iter_pixels

    plugin = DECODERS[layout.syntax]
    if not plugin:
        with BoundedFile(path) as file:
            yield from iter_pixels(file)
        return
    with BoundedFile(path) as file:
        dataset = dcmread(file)
    if plugin != "pydicom":
        for frame in generate_frames(dataset.PixelData, number_of_frames=layout.frames):
            columns, rows, samples = _size(frame, plugin)
            if (columns, rows, samples) != (layout.columns, layout.rows, layout.samples):
                # decoding has no other bound
                raise ValueError(f"a frame has {columns} × {rows} pixels of {samples} samples")
    yield from iter_pixels(dataset, decoding_plugin=plugin)


def _size(frame: bytes, plugin: str) -> tuple[int, int, int]:
    """Columns, rows and samples a pixel that a compressed frame unpacks to, by its own header."""
    if plugin == "pyjpegls":
        from _CharLS import read_header as read_frame_header

        told = read_frame_header(frame)
        return told["width"], told["height"], told["components"]
    import io

    from PIL import Image

    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
        return (*image.size, len(image.getbands()))
