"""An explanation as files in a folder of its own, whole or not at all.

    spread, unsupported, share_a, share_b    .png   16-bit grey maps of the fused picture's size, level
                                                    round(65535 · value / white); both shares' levels sum to
                                                    65535 where they are told and are 0 elsewhere
                                             .nii.gz   of volumes: the values, float32 on the fused one's grid
    NAME_overlay.png                                the map over the picture, labelled (`explain.overlay`)
    explain.json                                    figures, regions, settings (`explain.record`)

Scales are fixed (`explain.record`), so that pictures can be compared; explain.json says what 0 and 65535 are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from haarmony.explain import Explanation
from haarmony.explain.overlay import overlay
from haarmony.explain.record import MAPS, meaning, record
from haarmony.io import Picture, Volume, encode, folders, nifti
from haarmony.io.folders import check_folder, whole_folder
from haarmony.manifest import sha256_of

RECORD = "explain.json"
WHAT = "an explanation"
LARGEST = 2**24
"""Bytes of an explain.json that is read."""


class _Files(BaseModel):
    file: str
    overlay: str


class Head(BaseModel):
    """What the explain.json of every version says, and enough to know what lies in its folder."""

    haarmony: str
    seeds: list[int]
    maps: dict[str, _Files]

    @property
    def names(self) -> set[str]:
        """The files of the folder."""
        return {RECORD, *(name for one in self.maps.values() for name in (one.file, one.overlay))}


def save(explanation: Explanation, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write an explanation into a folder; arguments and errors are `Explanation.save`'s."""
    check(Path(folder), overwrite=overwrite)
    files = encoded(explanation)
    with placing(Path(folder), files, overwrite=overwrite):
        pass


def encoded(explanation: Explanation) -> dict[str, bytes]:
    """The bytes of all files by their names; equal explanations give equal bytes.

    Raises:
        ValueError: A volume that NIfTI cannot hold.
    """
    ending = ".nii.gz" if isinstance(explanation.fused, Volume) else ".png"
    files, named = {}, {}
    for name in MAPS:
        file, over = f"{name}{ending}", f"{name}_overlay.png"
        files[file] = _encoded_map(name, explanation)
        files[over] = encode(Path(over), Picture(overlay(name, explanation), (0, 255)))
        named[name] = file, sha256_of(files[file]), over
    text = record(explanation, files=named).model_dump_json(indent=1)
    text = re.sub(r'"(?:\\.|[^"\\])*"|\[[^][{}"]*\]', _on_one_line, text)
    files[RECORD] = f"{text}\n".encode()
    return files


def _encoded_map(name: str, of: Explanation) -> bytes:
    if isinstance(of.fused, Volume):
        buffer = BytesIO()
        nifti.write_values(buffer, getattr(of, name), of.fused, packed=True)
        return buffer.getvalue()
    return encode(Path(f"{name}.png"), Picture(levels(name, of), (0, 65535)))


def _on_one_line(found: re.Match[str]) -> str:
    """A list of numbers on one line; a string, which may look like one, as it is."""
    if found[0].startswith('"'):
        return found[0]
    return f"[{', '.join(found[0][1:-1].replace(',', ' ').split())}]"


def levels(name: str, of: Explanation) -> np.ndarray:
    """A map's 16-bit levels."""
    if name == "share_b":  # the rest, so that no rounding is left
        return np.where(of.told, 65535 - levels("share_a", of), 0).astype(np.uint16)
    unit = np.clip(getattr(of, name).astype(np.float64) / meaning(name, of).white, 0, 1)
    return np.round(unit * 65535).astype(np.uint16)


def check(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that no explanation can be put in, before any work is spent on it.

    Raises:
        OSError: It is a file, its parent is missing or closed, or it is not empty and may not be replaced,
            because `overwrite` is false or it holds anything but an explanation.
    """
    check_folder(folder, what=WHAT, foreign=_foreign, overwrite=overwrite)


@contextmanager
def placing(folder: Path, files: Mapping[str, bytes], *, overwrite: bool = False) -> Iterator[None]:
    """Put files in their folder when the block ends without an error: what goes with it is done in it.

    Raises:
        OSError: As for `check`, or there is no room: the message names the folder, `errno` is the system's,
            and the folder is as it was.
    """
    with whole_folder(folder, what=WHAT, foreign=_foreign, overwrite=overwrite) as part:
        try:
            for name, content in files.items():
                with open(part / name, "xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            named = type(error)(f"{folder}: cannot be written ({error.strerror or error})")
            named.errno = error.errno
            raise named from error
        yield


def put_back(folder: Path) -> None:
    """Put a former explanation back that a killed process had just put aside for its own."""
    folders.put_back(folder, foreign=_foreign)


def head(folder: Path) -> Head | None:
    """What the explain.json in a folder says; None where there is none of ours."""
    path = folder / RECORD
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return None
        return Head.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _foreign(folder: Path) -> str | None:
    found = head(folder)
    known = set() if found is None else found.names
    return next((path.name for path in sorted(folder.iterdir()) if path.name not in known), None)
