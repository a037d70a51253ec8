"""The sources of this process: their files in its folder, what they hold, and what the page shows of them.

A source stays as its files; what it holds is read again where memory has no room for all. Of `MOST` sources
the oldest goes first that no unfinished run needs.
"""

from __future__ import annotations

import secrets
import shutil
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from haarmony import register, volumes
from haarmony.app import files, reading
from haarmony.app.problems import NO_MEMORY, Refused, told
from haarmony.app.reading import Reading
from haarmony.app.uploads import Upload
from haarmony.fuser import check_pair
from haarmony.io import Picture, Volume, write
from haarmony.phantom import head

MOST = 8
ROOM = 2**30
"""Bytes of pixels and voxels that are kept beyond those of the last two sources."""
DEPTHS = {np.dtype(np.uint8): "8 bit", np.dtype(np.uint16): "16 bit"}
HEIGHT = 16.0
"""Of the phantom's slice, in mm: all its lesions lie there."""
SIDE, HEIGHTS, APART = 128, tuple(float(z) for z in range(-24, 64, 4)), 4.0
"""Of the phantom's volume: pixels of a side, heights of its slices and what lies between them, in mm."""


@dataclass(eq=False)
class Source:
    """One source.

    Attributes:
        id: What the page calls it.
        name: What its user calls it.
        folder: Where all files of it lie.
        path: The file or the folder that is read.
        how: How.
        about: What the page is told.
        on: The id of the first source whose grid it is shown on.
        made: Whether it is a phantom, which its user has no file of.
    """

    id: str
    name: str
    folder: Path
    path: Path
    how: Reading
    about: dict[str, Any] = field(default_factory=dict)
    on: str | None = None
    made: bool = False


class Store:
    """All sources; its methods may be called from any thread."""

    def __init__(self, folder: Path, *, most: int = MOST, room: int = ROOM) -> None:
        self.folder, self._most, self._room = folder / "sources", most, room
        self.folder.mkdir()
        self.needed: Callable[[], Collection[str]] = tuple
        """The ids of the sources that unfinished runs need."""
        self._sources: OrderedDict[str, Source] = OrderedDict()
        self._kept: OrderedDict[str, Picture | Volume] = OrderedDict()
        self._lock, self._work = RLock(), RLock()  # over the tables, and over pixels: one volume at a time

    def place(self) -> Path:
        """A folder, not yet made, for a new source's files; its parent is the source's."""
        return self.folder / secrets.token_hex(8) / "files"

    def add(self, upload: Upload) -> Source | list[dict[str, Any]]:
        """A source of an upload's files, or the DICOM series in them of which one has to be chosen.

        Raises:
            Refused: They cannot be read; the files are gone.
        """
        home = upload.folder.parent
        try:
            how = reading.asked(upload.fields, upload.path)
            source = Source(home.name, upload.name, home, upload.path, how)
            try:
                return self._opened(source)
            except ValueError:
                several = [] if how.series or not upload.path.is_dir() else reading.series_in(upload.path)
                if len(several) < 2:
                    raise
                shutil.rmtree(home, ignore_errors=True)
                return several
        except (ValueError, OSError, MemoryError) as error:
            shutil.rmtree(home, ignore_errors=True)
            if isinstance(error, Refused):
                raise
            raise Refused(told(error, self.folder, upload.path, upload.name)) from error

    def phantom(self, second: str, *, volume: bool, seed: int) -> tuple[Source, Source]:
        """Two sources of a head that nobody has: an MRI and what `second` says."""
        first = "T1" if second == "PET" else "T2"
        pair: Any = _phantom_volumes(second, seed) if volume else head(seed).pair(second, HEIGHT)
        sources = []
        for modality, content in zip((first, second), pair, strict=True):
            name = f"phantom-{modality}.{'nii.gz' if volume else 'png'}"
            place = self.place()
            place.mkdir(parents=True)
            write(place / name, content)
            home = place.parent
            sources.append(self._opened(Source(home.name, name, home, place / name, Reading(), made=True)))
        return sources[0], sources[1]

    def _opened(self, source: Source) -> Source:
        with self._work:
            content = reading.content(source.path, source.how)
        source.about = self._about(source, content)
        with self._lock:
            self._make_room()
            self._sources[source.id] = source
            self._keep(source.id, content)
        return source

    def _make_room(self) -> None:
        needed = self.needed()
        while len(self._sources) >= self._most:
            oldest = next((key for key in self._sources if key not in needed), None)
            if oldest is None:
                raise Refused(f"all {self._most} sources wait to be fused; let that end, or stop it", 409)
            gone = self._sources.pop(oldest)
            self._kept.pop(oldest, None)
            shutil.rmtree(gone.folder, ignore_errors=True)

    def get(self, key: str) -> Source:
        """The source of that id.

        Raises:
            Refused: There is none, or none any more.
        """
        with self._lock:
            if key not in self._sources:
                raise Refused("this source is not here any more; open it again", 404)
            return self._sources[key]

    def content(self, source: Source) -> Picture | Volume:
        """What a source holds."""
        with self._work:
            with self._lock:
                content = self._kept.get(source.id)
            if content is None:
                content = reading.content(source.path, source.how)
            with self._lock:
                if source.id in self._sources:
                    self._keep(source.id, content)
            return content

    def _keep(self, key: str, content: Picture | Volume) -> None:
        self._kept[key] = content
        self._kept.move_to_end(key)
        while len(self._kept) > 2 and sum(map(_bytes, self._kept.values())) > self._room:
            self._kept.popitem(last=False)

    def told(self, text: object, source: Source) -> str:
        """A line about a source as its user may read it."""
        return told(text, self.folder, source.path, source.name)

    def _about(self, source: Source, content: Picture | Volume) -> dict[str, Any]:
        volume = isinstance(content, Volume)
        values = content.voxels if isinstance(content, Volume) else content.pixels
        return {
            "id": source.id,
            "name": source.name,
            "kind": "volume" if volume else "picture",
            "shape": list(values.shape[: 3 if volume else 2]),
            "colour": values.ndim == (4 if volume else 3),
            "depth": DEPTHS.get(values.dtype, "float"),
            "values": [float(value) for value in content.value_range],
            "spacing": _in_mm(content),
            "unit": content.metadata.get("values"),
            "notes": [self.told(note, source) for note in content.notes],
        }

    def pair(self, first: str, second: str) -> dict[str, Any]:
        """Whether two sources go together; of volumes the second is from now on shown on the first's grid."""
        answer: dict[str, Any] = {"fits": False, "problem": None, "misaligned": None, "plane": None}
        a, b = self.get(first), self.get(second)
        with self._work:
            try:
                x, y = self.content(a), self.content(b)
                if isinstance(x, Volume) and isinstance(y, Volume):
                    answer["plane"] = volumes.plane_of(x)
                    self._put_on_grid(a, x, b, y, plane=answer["plane"])
                elif isinstance(x, Picture) and isinstance(y, Picture):
                    check_pair(x.pixels, y.pixels)
                else:
                    raise ValueError("one source is a volume, the other a picture; give two of a kind")
                seen = register.look(x, y)
            except (ValueError, OSError, MemoryError) as error:
                line = NO_MEMORY if isinstance(error, MemoryError) else self.told(error, b)
                return {**answer, "plane": None, "problem": line}
        if seen is not None:
            answer["misaligned"] = {
                "shift": seen.shift,
                "unit": seen.unit,
                "turn": seen.turn,
                "nmi": seen.before,
                "nmi_there": seen.after,
            }
        return {**answer, "fits": True}

    def _put_on_grid(self, a: Source, x: Volume, b: Source, y: Volume, *, plane: str) -> None:
        there, moved = volumes.aligned(x, y, plane=plane)
        check_pair(*(volumes.upright(one.voxels, one.affine, plane)[:, :, 0] for one in (there, moved)))
        if b.on == a.id:
            return
        if b.on is not None:
            (b.folder / _grid_name(b.on)).unlink(missing_ok=True)
        (b.folder / _grid_name(a.id)).write_bytes(files.displayed(moved))
        b.on = a.id

    def shown(self, key: str, name: str) -> Path:
        """The file that the page shows of a source: picture.png or volume.nii.gz.

        Raises:
            Refused: There is none of that name.
        """
        source = self.get(key)
        kind = {"picture.png": Picture, "volume.nii.gz": Volume}.get(name)
        with self._work:
            if source.on is not None and name == "volume.nii.gz":
                return source.folder / _grid_name(source.on)
            path = source.folder / f"shown.{name}"
            if path.exists() and kind is not None:
                return path
            content = self.content(source)
            if kind is None or not isinstance(content, kind):
                raise Refused(f"a {source.about['kind']} has no {name}", 404)
            if isinstance(content, Picture):
                path.write_bytes(files.preview(content.pixels))
            else:
                path.write_bytes(files.displayed(content))
            return path


def _grid_name(first: str) -> str:
    return f"shown.on-{first}.nii.gz"


def _bytes(content: Picture | Volume) -> int:
    return (content.voxels if isinstance(content, Volume) else content.pixels).nbytes


def _in_mm(content: Picture | Volume) -> list[float] | None:
    if isinstance(content, Picture):
        return None if content.spacing is None else [float(length) for length in content.spacing]
    if content.unit == "unknown":
        return None
    return [volumes.MILLIMETRES[content.unit] * length for length in content.spacing]


def _phantom_volumes(second: str, seed: int) -> tuple[Volume, Volume]:
    """Both modalities as volumes; their voxels lead to the left, to the back and up."""
    anatomy = head(seed, SIDE)
    slices = [anatomy.pair(second, z) for z in HEIGHTS]
    step = anatomy.spacing
    affine = np.diag([-step, -step, APART, 1.0])
    affine[:3, 3] = step * (SIDE - 1) / 2, step * (SIDE - 1) / 2, HEIGHTS[0]
    pair: list[Volume] = []
    for modality in (0, 1):
        voxels = np.stack([both[modality].swapaxes(0, 1) for both in slices], axis=2)
        pair.append(Volume(voxels, (0.0, 255.0), affine))
    return pair[0], pair[1]
