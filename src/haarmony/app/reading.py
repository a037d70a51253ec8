"""A source: from the files of an upload to a picture or a volume, by the library's own readers.

A form's fields say how to read them, as the options of `haarmony fuse` do: a range of values, of a DICOM CT a
window, the number of a series. A window is kept as the range that it means, so that a command can repeat it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haarmony.app.problems import Refused
from haarmony.io import Picture, Volume, check_range, read
from haarmony.io.dicom import find_series, is_dicom, window_range
from haarmony.io.dicom_headers import about_of, begins, frames_of, is_image, read_header, reading, walk

FIELDS = ("series", "window", "range")


@dataclass(frozen=True)
class Reading:
    """How a source's files are read.

    Attributes:
        value_range: The values that are black and white, where asked for.
        series: Number or UID, where the files hold several.
    """

    value_range: tuple[float, float] | None = None
    series: str | None = None


def asked(fields: Mapping[str, str], path: Path) -> Reading:
    """The reading that a form's fields ask for.

    Raises:
        ValueError: They contradict each other or the files.
    """
    given = {name: value.strip() for name, value in fields.items() if value.strip()}
    if unknown := sorted(given.keys() - set(FIELDS)):
        raise Refused(f"unknown field {unknown[0]!r}; there are files, {', '.join(FIELDS)}")
    series, window, text = (given.get(name) for name in FIELDS)
    if window and text:
        raise Refused("got a value range and a window; give one of them")
    if (window or series) and not is_dicom(path):
        raise Refused(f"a {'window' if window else 'series'} is of DICOM; this is none")
    if window:
        scan = find_series(path, series=series)
        return Reading(window_range(window, modality=scan.about.modality), series)
    return Reading(_range(text) if text else None, series)


def _range(text: str) -> tuple[float, float]:
    try:
        lo, hi = (float(part) for part in text.split(","))
    except ValueError:
        raise Refused(f"{text!r} is no value range: it is LO,HI, two numbers") from None
    return check_range((lo, hi))


def content(path: Path, how: Reading) -> Picture | Volume:
    """What a source's files hold; errors are those of `haarmony.io.read`."""
    if is_dicom(path):
        return find_series(path, series=how.series).read(value_range=how.value_range)
    if path.is_dir():
        count = sum(len(files) for _, _, files in walk(path))
        raise ValueError(
            f"{path}: holds {count} files and none is DICOM; give one picture or volume a source"
        )
    return read(path, value_range=how.value_range)


def series_in(path: Path) -> list[dict[str, Any]]:
    """The DICOM series of a folder, in order of their numbers; those without a number of their own by UID."""
    found: dict[str, dict[str, Any]] = {}
    for file in [file for _, _, files in walk(path) for file in files if begins(file) == "dicom"]:
        try:
            header = read_header(file)
            if not is_image(header):
                continue
            with reading(file):
                about = about_of(header)
            one = found.setdefault(
                about.uid,
                {
                    "number": about.number,
                    "description": about.description,
                    "modality": about.modality,
                    "slices": 0,
                },
            )
            one["slices"] += len(frames_of(file, header))
        except ValueError:  # told by the reader, where the series is chosen
            continue
    numbers = [one["number"] for one in found.values()]
    for uid, one in found.items():
        if not one["number"].isdecimal() or numbers.count(one["number"]) > 1:
            one["number"] = uid
        else:
            one["number"] = int(one["number"])
    return sorted(found.values(), key=lambda one: (isinstance(one["number"], str), one["number"]))
