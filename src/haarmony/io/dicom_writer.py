"""DICOM out: a volume as a derived series, one Secondary Capture image a slice, each in its place.

Who the patient is stays behind unless asked for. What always goes with the series is what ties it to its
sources: the UIDs of the images it was made from (Source Image Sequence and the sequences of referenced
series), and the frame of reference of the source whose grid it has. Its own UIDs follow from its
content, so the same volume makes the same files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from haarmony import __version__
from haarmony.io import folders
from haarmony.io.dicom import TO_RAS, Series
from haarmony.io.dicom_headers import Frame, begins, read_header, reading
from haarmony.io.picture import INTEGERS, from_unit, to_unit
from haarmony.io.volume import Volume

MANUFACTURER = "Haarmony"
WHAT = "a DICOM series"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("PatientSize", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
)
"""Of the first source, what `keep_identity` copies."""
PERSON = {
    "PatientID": "Patient ID",
    "IssuerOfPatientID": "Issuer of Patient ID",
    "PatientBirthDate": "Patient's Birth Date",
}
"""What two sources of one patient do not contradict each other in."""
REMOVED = "Nothing of patient, study, institution or dates copied; UIDs of source images kept as references"


def write_dicom(
    folder: str | os.PathLike[str],
    volume: Volume,
    *,
    references: Sequence[Series | None],
    description: str = "",
    keep_identity: bool = False,
    overwrite: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Write a volume as a derived DICOM series: FOLDER/IM00001.dcm and on, all of it or nothing.

    Grey is written with 8 bit for uint8, else 16, and a rescale to `value_range`; colour with 8 bit.

    Args:
        folder: To be made; its parent exists.
        volume: In mm, its first two axes perpendicular; one image for each step along the third.
        references: The sources, the one first whose grid the volume has; None for a source that is no DICOM.
        description: How it was made, for Derivation Description: "model medical, seed 42".
        keep_identity: Copy patient and study of the first DICOM source, so that the series joins the study.
            Else both are empty, the study is a new one and, unless words are burnt into a source, Patient
            Identity Removed is YES.
        overwrite: Replace a folder that holds nothing but a series of this function's making.
        ready: Called when all files are written, right before they take their place.

    Raises:
        ValueError: The grid is none that DICOM can place, or identity is to be kept but no source is DICOM or
            they are not known to be of one patient.
        FileExistsError: The folder is there and may not be replaced.
        OSError: It cannot be written.
    """
    folder = Path(folder)
    columns, rows, slices = volume.shape
    if volume.unit not in ("mm", "unknown"):
        raise ValueError(f"{folder}: the volume's unit is {volume.unit}; DICOM needs mm")
    axes = TO_RAS @ volume.affine
    spacing = np.linalg.norm(axes[:3, :2], axis=0)
    x, y = (axes[:3, :2] / spacing).T
    if abs(x @ y) > 1e-4:
        raise ValueError(f"{folder}: the rows and columns are not perpendicular; resample the volume first")
    if max(rows, columns) > 65535:
        raise ValueError(f"{folder}: slices of {columns} × {rows} are more than DICOM holds; crop them first")
    sources = [source for source in references if source is not None]
    whole = _common(volume, references, sources, description=description, keep_identity=keep_identity)
    whole.update(_pixel_module(volume))
    normal = np.cross(x, y)
    whole.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    whole.SliceThickness = _decimal(abs(float(axes[:3, 2] @ normal)))
    whole.ImageOrientationPatient = [_decimal(value) for value in (*x, *y)]
    with folders.whole_folder(folder, what=WHAT, foreign=_foreign, overwrite=overwrite) as part:
        for k in range(slices):
            dataset = _slice(whole, volume, sources, k)
            dataset.ImagePositionPatient = [_decimal(value) for value in axes[:3, 2] * k + axes[:3, 3]]
            data = _stored(volume, k).tobytes()
            dataset.PixelData = data + b"\0" * (len(data) % 2)
            try:
                with open(part / f"IM{k + 1:05}.dcm", "xb") as file:
                    dataset.save_as(file, enforce_file_format=True)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise type(error)(f"{folder}: cannot be written ({error.strerror or error})") from error
        ready()


def _common(
    volume: Volume,
    references: Sequence[Series | None],
    sources: Sequence[Series],
    *,
    description: str,
    keep_identity: bool,
) -> Any:
    """What all images of the series share, pixels and geometry aside."""
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    content = hashlib.sha256(volume.affine.tobytes())
    for k in range(volume.shape[2]):
        content.update(volume.voxels[:, :, k].tobytes())
    made_of = [source.about.uid for source in sources]
    seed = [content.hexdigest(), description, str(keep_identity), *made_of]
    whole = Dataset()
    whole.ensure_file_meta()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.SpecificCharacterSet = "ISO_IR 192"
    whole.ImageType = ["DERIVED", "SECONDARY"]
    whole.SOPClassUID = SECONDARY_CAPTURE
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"):
        setattr(whole, keyword, "")
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "PositionReferenceIndicator"):
        setattr(whole, keyword, "")
    whole.Laterality = whole.PatientOrientation = ""
    whole.PatientName = "ANONYMOUS"
    whole.StudyInstanceUID = generate_uid(entropy_srcs=["study", *(made_of or seed)])
    burned = {source.about.burned_in for source in sources}
    if keep_identity:
        whole.update(_identity(sources))
    elif "YES" in burned:  # "YES" below would claim that the pixels, too, say nothing of the patient
        whole.PatientIdentityRemoved = "NO"
    else:
        whole.PatientIdentityRemoved = "YES"
        whole.DeidentificationMethod = [f"Haarmony {__version__}", *_short(REMOVED)]
    whole.Modality = "OT"
    whole.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *seed])
    whole.SeriesNumber = 9001  # behind what a scanner counts
    whole.SeriesDescription = "Fused by Haarmony"
    whole.Manufacturer = MANUFACTURER
    whole.SoftwareVersions = __version__
    whole.ConversionType = "WSD"
    placed = references[0] if references else None
    frame = placed.about.frame_of_reference if placed is not None else ""
    whole.FrameOfReferenceUID = frame or generate_uid(entropy_srcs=["frame of reference", *(made_of or seed)])
    modalities = " and ".join(source.about.modality or "unknown modality" for source in sources)
    parts = (f"Fused by Haarmony {__version__}", modalities and f"from {modalities}", description)
    whole.DerivationDescription = ", ".join(filter(None, parts))[:1024]
    whole.DerivationCodeSequence = [_code("FUSION", "99HAARMONY", "Image fusion by a generative model")]
    if "YES" in burned or burned == {"NO"}:
        whole.BurnedInAnnotation = "YES" if "YES" in burned else "NO"
    if any(source.about.lossy for source in sources):
        whole.LossyImageCompression = "01"  # once lost, lost for good (PS3.3 C.7.6.1.1.5)
    return whole


def _identity(sources: Sequence[Series]) -> Any:
    """Patient and study of the first source, if all are known to be of one patient.

    Two are of one if their Patient IDs are the same, or both lack one and are of one study.
    """
    from pydicom import Dataset, dcmread

    if not sources:
        raise ValueError("no source is DICOM, so there is no identity to keep; leave out --keep-identity")
    kept = Dataset()
    kept.PatientName = ""
    said: list[dict[str, str]] = []
    for source in sources:
        path = source.frames[0].path
        with reading(path):
            header = dcmread(path, stop_before_pixels=True, specific_tags=list(IDENTITY), defer_size=2**20)
            said.append({keyword: str(header.get(keyword) or "").strip() for keyword in PERSON})
            for keyword in IDENTITY if source is sources[0] else ():
                if header.get(keyword):
                    value = header[keyword].value
                    setattr(kept, keyword, str(value) if header[keyword].VR == "PN" else value)
    for keyword, name in PERSON.items():
        values = {person[keyword] for person in said}
        if len(values if keyword == "PatientID" else values - {""}) > 1:
            raise ValueError(f"the sources have different {name}s; leave out --keep-identity")
    if not said[0]["PatientID"] and len({source.about.study or source for source in sources}) > 1:
        raise ValueError(
            "the sources have no Patient ID and are of different studies, so they may be of two patients; "
            "leave out --keep-identity"
        )
    return kept


def _short(text: str) -> Iterator[str]:
    """Words in values of at most 64 characters, as many as a long string may have."""
    import textwrap

    yield from textwrap.wrap(text, 64)


def _stored(volume: Volume, k: int) -> np.ndarray:
    """The pixels (rows, columns[, 3]) of a slice, with 8 or 16 bit."""
    pixels = volume.voxels[:, :, k].swapaxes(0, 1)
    if pixels.ndim == 3 and pixels.dtype != np.uint8:
        return from_unit(to_unit(pixels), np.uint8)
    if pixels.dtype not in INTEGERS:
        pixels = from_unit(pixels, np.uint16)
    return np.invert(pixels) if _falls(volume) else pixels


def _falls(volume: Volume) -> bool:
    """Whether white is the least value: as MONOCHROME1, both the picture and the values are kept."""
    return volume.voxels.ndim == 3 and volume.value_range[0] > volume.value_range[1]


def _pixel_module(volume: Volume) -> Any:
    from pydicom import Dataset

    module = Dataset()
    pixels = _stored(volume, 0)
    bits = 8 * pixels.dtype.itemsize
    module.Rows, module.Columns = pixels.shape[:2]
    module.BitsAllocated = module.BitsStored = bits
    module.HighBit, module.PixelRepresentation = bits - 1, 0
    module.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        module.PhotometricInterpretation, module.PlanarConfiguration = "RGB", 0
        return module
    module.PhotometricInterpretation = "MONOCHROME1" if _falls(volume) else "MONOCHROME2"
    low, high = sorted(volume.value_range)
    module.RescaleSlope = _decimal((high - low) / (2**bits - 1) or 1.0)
    module.RescaleIntercept, module.RescaleType = _decimal(low), "US"
    module.WindowCenter, module.WindowWidth = _decimal((low + high) / 2), _decimal((high - low) or 1.0)
    module.VOILUTFunction = "LINEAR_EXACT"
    return module


def _slice(whole: Any, volume: Volume, sources: Sequence[Series], k: int) -> Any:
    """What the k-th image has of its own, but pixels and position."""
    import copy

    from pydicom import Dataset
    from pydicom.uid import generate_uid

    dataset = copy.copy(whole)
    dataset.file_meta = copy.copy(whole.file_meta)
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(whole.SeriesInstanceUID), str(k)])
    dataset.file_meta.MediaStorageSOPClassUID = SECONDARY_CAPTURE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = k + 1
    here: list[Any] = []
    elsewhere: list[Any] = []
    dataset.SourceImageSequence = []
    for source in sources:
        frames = _behind(volume, source, k)
        images = []
        for uid in dict.fromkeys(frame.uid for frame in frames):
            of = [frame for frame in frames if frame.uid == uid]
            images.append(_reference(of))
            image = _reference(of)
            image.PurposeOfReferenceCodeSequence = [
                _code("121322", "DCM", "Source image for image processing operation")
            ]
            dataset.SourceImageSequence.append(image)
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedInstanceSequence = source.about.uid, images
        if source.about.study == whole.StudyInstanceUID:
            here.append(series)
            continue
        study = next((item for item in elsewhere if item.StudyInstanceUID == source.about.study), Dataset())
        if "StudyInstanceUID" not in study:
            study.StudyInstanceUID, study.ReferencedSeriesSequence = source.about.study, []
            elsewhere.append(study)
        study.ReferencedSeriesSequence.append(series)
    if here:
        dataset.ReferencedSeriesSequence = here
    if elsewhere:
        dataset.StudiesContainingOtherReferencedInstancesSequence = elsewhere
    if not dataset.SourceImageSequence:
        del dataset.SourceImageSequence
    return dataset


def _behind(volume: Volume, source: Series, k: int) -> Sequence[Frame]:
    """The slices of a source that the volume's k-th one lies in or between, by both affines."""
    i, j, _ = volume.shape
    corners = np.array([[a, b, k, 1.0] for a in (0, i - 1) for b in (0, j - 1)])
    height = (np.linalg.inv(source.affine) @ volume.affine @ corners.T)[2]
    last = len(source.frames) - 1
    first = int(np.clip(np.floor(height.min() + 1e-3), 0, last))
    end = int(np.clip(np.ceil(height.max() - 1e-3), first, last))
    return source.frames[first : end + 1]


def _reference(frames: Sequence[Frame]) -> Any:
    """One referenced image: its class, its UID, and of a multi-frame image which frames."""
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = frames[0].sop_class, frames[0].uid
    if frames[0].layout.frames > 1:
        item.ReferencedFrameNumber = [frame.number for frame in frames]
    return item


def _code(value: str, scheme: str, meaning: str) -> Any:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _decimal(value: float) -> str:
    """A number in the at most 16 characters of a decimal string."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)  # and no −0


def check_folder(folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a place that `write_dicom` could not write to, before any work is spent on it.

    A series that a killed process had just put aside for its own is first put back.

    Raises:
        OSError: It is a file, its own folder is missing or closed, or it is a folder that is not empty and
            may not be replaced, because `overwrite` is false or it holds more than `write_dicom` wrote.
    """
    folders.check_folder(Path(folder), what=WHAT, foreign=_foreign, overwrite=overwrite)


def _foreign(folder: Path) -> str | None:
    return next((path.name for path in sorted(folder.iterdir()) if not _ours(path)), None)


def _ours(path: Path) -> bool:
    """Whether `write_dicom` wrote a file; never what a scanner did."""
    if path.suffix != ".dcm" or path.is_symlink() or begins(path) != "dicom":
        return False
    with suppress(ValueError):
        header = read_header(path)
        with reading(path):
            return bool(header.get("Manufacturer") == MANUFACTURER)
    return False
