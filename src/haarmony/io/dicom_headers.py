"""What DICOM files say of their slices: how pixels are stored, where they lie, what their values mean.

Headers alone are read, and of them only what is used here: no name, no date.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from haarmony.io.guards import BoundedFile, plain
from haarmony.io.nifti import ending as volume_ending
from haarmony.io.volume import MAX_VOXELS

MAX_FRAMES = 2**15
JPEG = "1.2.840.10008.1.2.4.50"  # baseline
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
DECODERS = {  # transfer syntax: who decodes it; the native ones need nobody
    "1.2.840.10008.1.2": "",
    "1.2.840.10008.1.2.1": "",
    "1.2.840.10008.1.2.2": "",
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
    JPEG: "pillow",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
}
if find_spec("jpeg_ls") is not None:  # its wheels lag behind new Pythons
    DECODERS |= {"1.2.840.10008.1.2.4.80": "pyjpegls", JPEG_LS_NEAR: "pyjpegls"}
DEFLATED = "1.2.840.10008.1.2.1.99"
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"GIF8")
_TAGS = """
SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID Modality SeriesNumber
SeriesDescription ImageType BurnedInAnnotation LossyImageCompression Units Rows Columns NumberOfFrames
SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit PixelRepresentation
PixelPaddingValue PixelPaddingRangeLimit ModalityLUTSequence RescaleSlope RescaleIntercept RescaleType
WindowCenter WindowWidth Manufacturer
ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing
SliceThickness SpacingBetweenSlices DetectorInformationSequence NumberOfSlices SliceVector
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
""".split()


class RefusedError(ValueError):
    """The file may be sound, but holds what is not read."""


@dataclass(frozen=True)
class Layout:
    """How a file stores its pixels."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits: int
    signed: bool
    padding: tuple[int, int] | None
    """Stored values, first and last, that stand for no measurement."""
    syntax: str


@dataclass(frozen=True)
class Frame:
    """One slice: where it is stored, where it lies (LPS, mm) and what its values mean."""

    path: Path
    number: int
    """Counted from 1 in its file."""
    sop_class: str
    uid: str
    layout: Layout
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    """Between rows, between columns."""
    thickness: float
    slope: float
    intercept: float


@dataclass(frozen=True)
class About:
    """What a file says of its series; of these, the description alone may name the patient."""

    uid: str
    study: str
    frame_of_reference: str
    modality: str
    number: str
    description: str
    burned_in: str
    """Burned In Annotation: YES, NO or nothing."""
    lossy: bool
    """Whether the pixels were ever compressed with a loss."""
    metadata: dict[str, str]
    """What goes into a volume's."""

    def joined(self, other: About) -> About:
        """With what another file of the series says of the pixels of both."""
        burned = {self.burned_in, other.burned_in}
        burned_in = "YES" if "YES" in burned else self.burned_in if len(burned) == 1 else ""
        return replace(self, burned_in=burned_in, lossy=self.lossy or other.lossy)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What pydicom and its decoders raise on damaged files, which is anything, as one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom remarks on every value that the standard forbids
            yield
    except RefusedError as error:
        raise ValueError(f"{path}: {plain(error)}") from None
    except MemoryError:
        raise ValueError(f"{path}: claims more than the memory there is; export it again") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise type(error)(f"{path}: cannot be read ({error.strerror})") from error
        reason = plain((str(error).strip() or type(error).__name__).splitlines()[0])
        raise ValueError(f"{path}: is damaged or unfinished ({reason}); copy or export it again") from error


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[Path]]]:
    """Folders below one, nearest first, each with its folders' names (cut what not to enter) and files."""

    def refuse(error: OSError) -> None:
        raise error

    for top, names, files in os.walk(folder, onerror=refuse):
        names[:] = sorted(name for name in names if not name.startswith("."))
        paths = (Path(top) / name for name in sorted(files) if not name.startswith("."))
        yield Path(top), names, [path for path in paths if path.is_file()]


def begins(path: Path) -> str:
    """What a file is by its first bytes: "dicom", "picture" or ""; a volume, by its name, is a picture."""
    if not path.is_file():
        return ""
    try:
        with open(path, "rb") as file:
            data = file.read(132)
    except OSError as error:
        raise type(error)(f"{path}: cannot be read ({error.strerror})") from error
    if data[128:] == b"DICM":
        return "dicom"
    return "picture" if data.startswith(PICTURES) or volume_ending(path) else ""


def read_header(path: Path) -> Any:
    """What of a file's header is used here; the pixels stay unread."""
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    with reading(path):
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == DEFLATED:  # inflating a header has no bound
            raise _compressed(syntax)
        with BoundedFile(path) as file:
            return dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS), defer_size=2**27)


def _compressed(syntax: str) -> RefusedError:
    from pydicom.uid import UID

    name = UID(syntax).name
    return RefusedError(f"is compressed by {name}, which is not read; decompress it first (gdcmconv --raw)")


def is_image(header: Any) -> bool:
    """Whether a file is an image, whole or cut short; not a DICOMDIR, a report or a structure set."""
    return "Rows" in header or "Image Storage" in str(getattr(header.get("SOPClassUID"), "name", ""))


def about_of(header: Any) -> About:
    """What a header says of its series."""

    def text(keyword: str) -> str:
        value = first_of(header.get(keyword))
        return "" if value is None else str(value)

    modality = text("Modality")
    values = "HU" if modality == "CT" else text("Units") or text("RescaleType")
    metadata = {"format": "DICOM", "modality": modality, "series": text("SeriesNumber"), "values": values}
    if text("WindowCenter") and text("WindowWidth"):  # the file's own, which is not applied
        metadata["window"] = f"{float(text('WindowCenter')):g}/{float(text('WindowWidth')):g}"
    return About(
        uid=text("SeriesInstanceUID"),
        study=text("StudyInstanceUID"),
        frame_of_reference=text("FrameOfReferenceUID"),
        modality=modality,
        number=text("SeriesNumber"),
        description=text("SeriesDescription"),
        burned_in=text("BurnedInAnnotation"),
        lossy=text("LossyImageCompression") == "01"
        or header.file_meta.get("TransferSyntaxUID") in (JPEG, JPEG_LS_NEAR),
        metadata={key: value for key, value in metadata.items() if value},
    )


def frames_of(path: Path, header: Any) -> list[Frame]:
    """The slices of one file, in its order."""
    if header.get("ModalityLUTSequence"):
        raise RefusedError("maps its values by a table (Modality LUT), which is not read; export it without")
    if "Rows" not in header:
        raise ValueError("it ends before it says how many rows it has")
    layout = _layout(header)
    if layout.syntax not in DECODERS:
        raise _compressed(layout.syntax)
    count = layout.frames
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or [None] * count
    if len(per_frame) != count:
        raise RefusedError(f"claims {count} frames but describes {len(per_frame)}; export it again")
    detectors = header.get("DetectorInformationSequence") or [None]
    places = _stack(header, detectors, count) if count > 1 and shared is None else None

    def of(group: Any, sequence: str, keyword: str) -> Any:
        """A value of one frame: its own, the one all share, the detector's, or the file's."""
        for groups in (group, shared):
            item = ((groups.get(sequence) if groups is not None else None) or [None])[0]
            if item is not None and item.get(keyword) is not None:
                return item.get(keyword)
        if detectors[0] is not None and detectors[0].get(keyword) is not None:
            return detectors[0].get(keyword)
        return header.get(keyword)

    frames = []
    for index, group in enumerate(per_frame):
        spacing = of(group, "PixelMeasuresSequence", "PixelSpacing")
        spacing = spacing or header.get("ImagerPixelSpacing") or header.get("NominalScannedPixelSpacing")
        gap = of(group, "PixelMeasuresSequence", "SpacingBetweenSlices")
        slope = of(group, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = of(group, "PixelValueTransformationSequence", "RescaleIntercept")
        position = of(group, "PlanePositionSequence", "ImagePositionPatient")
        if count > 1 and not (group is not None and group.get("PlanePositionSequence")):
            position = None if places is None else places[index]
        frames.append(
            Frame(
                path=path,
                number=index + 1,
                sop_class=str(header.get("SOPClassUID", "")),
                uid=str(header.get("SOPInstanceUID", "")),
                layout=layout,
                position=_numbers(position, 3, "position"),
                orientation=_numbers(
                    of(group, "PlaneOrientationSequence", "ImageOrientationPatient"), 6, "orientation"
                ),
                spacing=_numbers(spacing, 2, "pixel spacing"),
                thickness=abs(float(gap or of(group, "PixelMeasuresSequence", "SliceThickness") or 0)) or 1.0,
                slope=_number(slope, 1.0, "rescale slope"),
                intercept=_number(intercept, 0.0, "rescale intercept"),
            )
        )
    return frames


def _stack(header: Any, detectors: Sequence[Any], count: int) -> list[np.ndarray] | None:
    """Positions of a reconstructed SPECT's frames (PS3.3 C.8.4.15), None where the file gives none."""
    first = detectors[0] if detectors[0] is not None else header
    position, orientation = first.get("ImagePositionPatient"), first.get("ImageOrientationPatient")
    gap, numbers = header.get("SpacingBetweenSlices"), header.get("SliceVector") or range(1, count + 1)
    if not position or not orientation or not gap or detectors[0] is None:
        return None
    numbers = [int(number) for number in numbers]
    if sorted(numbers) != list(range(1, count + 1)):
        raise RefusedError(f"holds {count} frames of {len(set(numbers))} slices (gated?); export one phase")
    x, y = np.reshape(np.asarray(orientation, np.float64), (2, 3))
    step = float(gap) * np.cross(x, y)
    return [np.asarray(position, np.float64) + (number - 1) * step for number in numbers]


def _layout(header: Any) -> Layout:
    rows, columns = int(header.Rows), int(header.get("Columns", 0))
    frames = int(first_of(header.get("NumberOfFrames")) or 1)
    samples, bits = int(header.get("SamplesPerPixel", 1)), int(header.get("BitsAllocated", 0))
    photometric = str(header.get("PhotometricInterpretation", ""))
    if min(rows, columns, frames) < 1 or frames > MAX_FRAMES:
        raise RefusedError(
            f"claims {columns} × {rows} pixels in {frames} frames; 1 to {MAX_FRAMES} frames are read"
        )
    check_size(columns, rows, frames, samples)
    colours = {"RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3}
    if samples != (colours | {"MONOCHROME1": 1, "MONOCHROME2": 1}).get(photometric):
        raise RefusedError(f"has pixels of the kind {photometric or 'unknown'}; export it as grey or RGB")
    if bits not in ((8, 16) if samples == 3 else (8, 16, 32)):
        raise RefusedError(f"has {bits}-bit pixels; export it with 8 or 16 bit")
    signed = int(header.get("PixelRepresentation", 0)) == 1
    stored = int(header.get("BitsStored", bits) or bits)
    if header.get("HighBit") not in (None, stored - 1):
        raise RefusedError(
            f"keeps its {stored} bits under bit {header.HighBit}, not {stored - 1}; export it again"
        )
    padding = None
    if samples == 1 and (value := _stored(header.get("PixelPaddingValue"), bits, signed)) is not None:
        limit = _stored(header.get("PixelPaddingRangeLimit"), bits, signed)
        padding = (
            min(value, value if limit is None else limit),
            max(value, value if limit is None else limit),
        )
    syntax = str(header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    bits = stored if bits == 8 else bits
    return Layout(rows, columns, frames, samples, photometric, bits, signed, padding, syntax)


def check_size(columns: int, rows: int, slices: int, samples: int) -> None:
    """Refuse what claims more than `MAX_VOXELS`."""
    if columns * rows * slices * samples > MAX_VOXELS:
        raise RefusedError(
            f"claims {columns} × {rows} × {slices} voxels, more than the {MAX_VOXELS} read; crop it first"
        )


def _stored(value: Any, bits: int, signed: bool) -> int | None:
    """A padding value as the pixels store it; writers confuse the sign."""
    value = first_of(value)
    if value is None:
        return None
    value = int(value) % 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


def first_of(value: Any) -> Any:
    """The first of several values, None for none."""
    from pydicom.multival import MultiValue

    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    return None if value == "" else value


def _numbers(value: Any, count: int, name: str) -> tuple[float, ...] | None:
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return None
    numbers = tuple(float(x) for x in value)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise RefusedError(f"has the {name} {numbers}, not {count} numbers; export it again")
    if name == "pixel spacing" and min(numbers) <= 0:
        raise RefusedError(f"has a pixel spacing of {numbers} mm; it must be positive")
    return numbers


def _number(value: Any, default: float, name: str) -> float:
    number = default if first_of(value) is None else float(first_of(value))
    if not np.isfinite(number) or (number == 0 and name == "rescale slope"):
        raise RefusedError(
            f"has a {name} of {number:g}, under which its values mean nothing; export it again"
        )
    return number
