"""DICOM series written by pydicom, slice by slice, for the tests."""

from pathlib import Path

import numpy as np
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

AXIAL = (1, 0, 0, 0, 1, 0)
CLASSES = {
    "CT": uid.CTImageStorage,
    "MR": uid.MRImageStorage,
    "PT": uid.PositronEmissionTomographyImageStorage,
}
IDENTITY = {
    "PatientName": "Doe^Jane",
    "PatientID": "ID-4711",
    "PatientBirthDate": "19700203",
    "PatientSex": "F",
    "StudyDate": "20240506",
    "StudyTime": "112233",
    "SeriesDate": "20240506",
    "ContentDate": "20240506",
    "AccessionNumber": "ACC-99",
    "StudyID": "STUDY-7",
    "StudyDescription": "Head of Jane",
    "ReferringPhysicianName": "House^Gregory",
    "InstitutionName": "Saint Elsewhere",
    "StationName": "SCANNER-3",
    "DeviceSerialNumber": "SN-123456",
    "OperatorsName": "Operator^Olga",
}


def slice_of(pixels, *, modality="CT", series="1.2.3.1", number=1, **tags):
    """A data set of one image; tags by keyword replace the usual ones."""
    pixels = np.asarray(pixels)
    dataset = Dataset()
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = CLASSES.get(modality, uid.SecondaryCaptureImageStorage)
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", series
    dataset.FrameOfReferenceUID = "1.2.3.99"
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = (
        modality,
        number,
        f"{modality} of Jane",
    )
    dataset.ImageOrientationPatient, dataset.PixelSpacing = list(AXIAL), [1, 1]
    dataset.ImagePositionPatient, dataset.SliceThickness = [0, 0, 0], 1
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    for keyword, value in (IDENTITY | tags).items():
        setattr(dataset, keyword, value)
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    return dataset


def encapsulated(pixels, frames, syntax, **tags):
    """A data set of one image whose frames are compressed already."""
    dataset = slice_of(pixels, **tags)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


def save(path, dataset):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def series_in(folder, slices, *, gap=2.0, names=None, origin=(0, 0, 0), orientation=AXIAL, **tags):
    """Write slices (K, rows, columns) at even gaps along the normal; returns their data sets."""
    normal = np.cross(orientation[:3], orientation[3:])
    sets = []
    for k, pixels in enumerate(slices):
        place = [round(float(v), 9) for v in np.asarray(origin) + k * gap * normal]
        dataset = slice_of(
            pixels,
            **{"ImagePositionPatient": place, "ImageOrientationPatient": list(orientation)} | tags,
        )
        save(Path(folder) / (names[k] if names else f"{k:03}.dcm"), dataset)
        sets.append(dataset)
    return sets
