"""DICOM in: files that pydicom wrote, whatever their order and kind; every series refused."""

import io
import struct

import numpy as np
import pytest
from dicoms import encapsulated, save, series_in, slice_of
from PIL import Image
from pydicom import Dataset, uid

from haarmony.io import read
from haarmony.io.dicom import WINDOWS, is_dicom, read_dicom, window_range
from haarmony.io.dicom_writer import check_folder
from haarmony.io.volume import MAX_VOXELS
from haarmony.phantom import head

HU = np.rint(head(size=24).volume("CT", (-4, 0, 4, 8))).astype(np.int16)  # (slice, row, column)
RAMP = np.arange(4 * 12 * 10, dtype=np.uint16).reshape(4, 12, 10)
RGB = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3), dtype=np.uint8)
ORIENTATION = (0.8, 0.6, 0, -0.36, 0.48, 0.8)  # two perpendicular unit vectors, oblique to every axis


def values(volume):
    """What the file says, back from [0, 1]; (slice, row, column)."""
    low, high = volume.value_range
    return volume.voxels.transpose(2, 1, 0) * (high - low) + low


def test_slices_are_sorted_by_position_whatever_names_numbers_and_folders(tmp_path):
    names = ["z.dcm", "sub/a", "m.ima", "0"]
    series_in(tmp_path / "s", HU, names=names, origin=(0, 0, 7), gap=4.0, InstanceNumber=1)
    volume = read_dicom(tmp_path / "s")
    assert volume.shape == (24, 24, 4)
    np.testing.assert_allclose(values(volume), HU, atol=1e-3)
    assert volume.value_range == (HU.min(), HU.max())
    assert volume.spacing == (1, 1, 4)
    np.testing.assert_array_equal(volume.affine[:3, 3], [0, 0, 7])
    series_in(tmp_path / "d", HU[::-1], origin=(0, 0, 19), gap=-4.0)  # written downwards
    np.testing.assert_array_equal(read_dicom(tmp_path / "d").voxels, volume.voxels)


def test_the_affine_of_an_oblique_series_by_hand(tmp_path):
    series_in(
        tmp_path / "s", RAMP, origin=(-30, 12, 5), gap=2.5, orientation=ORIENTATION, PixelSpacing=[0.7, 0.4]
    )
    volume = read_dicom(tmp_path / "s")
    x, y = np.array(ORIENTATION[:3]), np.array(ORIENTATION[3:])
    for i, j, k in ((0, 0, 0), (9, 11, 3), (4, 2, 1)):
        lps = np.array([-30, 12, 5]) + 0.4 * i * x + 0.7 * j * y + 2.5 * k * np.cross(x, y)
        np.testing.assert_allclose((volume.affine @ [i, j, k, 1])[:3], lps * [-1, -1, 1], atol=1e-6)
    assert values(volume)[3, 11, 9] == pytest.approx(RAMP[3, 11, 9])


def test_a_tilted_gantry_shears_the_affine(tmp_path):
    for k in range(4):
        save(tmp_path / f"s/{k}", slice_of(RAMP[k], ImagePositionPatient=[0, 0.5 * k, 2.0 * k]))
    volume = read_dicom(tmp_path / "s")
    np.testing.assert_allclose(volume.affine[:3, 2], [0, -0.5, 2])
    assert "14.0°" in volume.notes[0]
    assert volume.notes[1].startswith("values from 0 to 479 shown from black to white (the smallest")
    assert "windows for a CT: brain, bone, soft, lung" in volume.notes[1]


def test_slope_and_intercept_are_every_slice_s_own(tmp_path):
    for k, slope in enumerate((0.5, 2.0, 3.0, 10.0)):
        place = [0, 0, 3.0 * k]
        save(
            tmp_path / f"s/{k}",
            slice_of(
                RAMP[k], modality="PT", ImagePositionPatient=place, RescaleSlope=slope, RescaleIntercept=-7
            ),
        )
    volume = read_dicom(tmp_path / "s")
    expected = RAMP * np.array([0.5, 2, 3, 10])[:, None, None] - 7
    np.testing.assert_allclose(values(volume), expected, atol=1e-3)
    assert volume.value_range == (expected.min(), expected.max())


@pytest.mark.parametrize(
    ("window", "ends"), [("brain", (0, 80)), ("lung", (-1350, 150)), ("-20/40", (-40, 0))]
)
def test_windows(tmp_path, window, ends):
    series_in(tmp_path / "s", HU + 1024, RescaleIntercept=-1024, RescaleSlope=1)
    volume = read_dicom(tmp_path / "s", window=window)
    assert volume.value_range == ends
    expected = np.clip((HU - ends[0]) / (ends[1] - ends[0]), 0, 1)
    np.testing.assert_allclose(volume.voxels.transpose(2, 1, 0), expected, atol=1e-6)
    np.testing.assert_array_equal(read_dicom(tmp_path / "s", value_range=ends).voxels, volume.voxels)


def test_the_brain_window_is_the_phantom_s(tmp_path):
    series_in(tmp_path / "s", HU)
    shown = np.rint(255 * read_dicom(tmp_path / "s", window="brain").voxels[..., 1].T)
    picture = np.rint(255 * np.clip(HU[1] / 80, 0, 1))
    np.testing.assert_array_equal(shown, picture)
    assert set(WINDOWS) == {"brain", "bone", "soft", "lung"}


@pytest.mark.parametrize("window", ["liver", "40", "40/0", "40/-5", "a/b", "nan/80", ""])
def test_no_window(window):
    with pytest.raises(ValueError, match=r"no window .*brain, bone, soft, lung"):
        window_range(window)


def test_a_named_window_is_for_ct(tmp_path):
    series_in(tmp_path / "s", RAMP, modality="MR")
    with pytest.raises(ValueError, match=r"s: the window 'brain' is for CT, not MR"):
        read_dicom(tmp_path / "s", window="brain")
    assert read_dicom(tmp_path / "s", window="100/50").value_range == (75, 125)
    with pytest.raises(ValueError, match="must rise, not 5 to 5"):
        read_dicom(tmp_path / "s", value_range=(5, 5))


def test_monochrome1_is_inverted(tmp_path):
    series_in(tmp_path / "s", RAMP, modality="MR", PhotometricInterpretation="MONOCHROME1")
    volume = read_dicom(tmp_path / "s")
    assert volume.value_range == (RAMP.max(), 0)
    assert volume.voxels[0, 0, 0] == 1
    np.testing.assert_allclose(values(volume), RAMP, atol=1e-3)
    assert "inverted" in volume.notes[-1]


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (HU, {"PixelPaddingValue": -2000}),
        (HU, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}),
    ],
)
def test_padding_is_black_and_stretches_nothing(tmp_path, pixels, tags):
    padded = pixels.copy()
    padded[:, :3] = -2000
    if "PixelPaddingRangeLimit" in tags:
        padded[:, 0] = -1993
    series_in(tmp_path / "s", padded, **tags)
    volume = read_dicom(tmp_path / "s")
    assert volume.value_range == (pixels[:, 3:].min(), pixels[:, 3:].max())
    assert not volume.voxels[:, :3].any()
    np.testing.assert_allclose(values(volume)[:, 3:], pixels[:, 3:], atol=1e-3)
    assert "12.5% of the voxels are padding" in volume.notes[-1]


def test_bits_beyond_those_stored_are_no_values(tmp_path):
    series_in(tmp_path / "s", RAMP | 0xF000, modality="MR", BitsStored=12, HighBit=11)  # overlays of old
    np.testing.assert_allclose(values(read_dicom(tmp_path / "s")), RAMP, atol=1e-3)


def test_eight_bit_grey_stays_and_colour_too(tmp_path):
    series_in(tmp_path / "g", RGB[..., 0], modality="OT")
    series_in(tmp_path / "c", RGB, modality="OT")
    grey, colour = read_dicom(tmp_path / "g"), read_dicom(tmp_path / "c")
    np.testing.assert_array_equal(grey.voxels, RGB[..., 0].transpose(2, 1, 0))
    np.testing.assert_array_equal(colour.voxels, RGB.transpose(2, 1, 0, 3))
    assert grey.voxels.dtype == colour.voxels.dtype == np.uint8
    assert grey.value_range == colour.value_range == (0, 255)


def test_ybr_becomes_rgb(tmp_path):
    ybr = np.asarray(Image.fromarray(RGB[0]).convert("YCbCr"))
    save(tmp_path / "a", slice_of(ybr, PhotometricInterpretation="YBR_FULL"))
    assert (
        np.abs(read_dicom(tmp_path / "a").voxels[:, :, 0].swapaxes(0, 1).astype(int) - RGB[0]).max() <= 3
    )  # of two roundings


def enhanced(pixels, order):
    """A multi-frame file whose frames are described one by one, stored in `order`."""
    dataset = slice_of(pixels[order], modality="MR", NumberOfFrames=len(pixels))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = list(ORIENTATION), [2, 3]
    measures.SliceThickness = 9
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], []
    for k in order:
        group, place, values = Dataset(), Dataset(), Dataset()
        normal = np.cross(ORIENTATION[:3], ORIENTATION[3:])
        place.ImagePositionPatient = [round(float(v), 6) for v in 1.5 * k * normal]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = k + 1, -k, "US"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [place], [values]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    return dataset


def test_a_multi_frame_file(tmp_path):
    save(tmp_path / "a", enhanced(RAMP, [2, 0, 3, 1]))
    volume = read(tmp_path / "a")
    k = np.arange(4)[:, None, None]
    np.testing.assert_allclose(values(volume), RAMP * (k + 1.0) - k, atol=1e-3)
    np.testing.assert_allclose(volume.spacing, (3, 2, 1.5))


def test_frames_described_at_length(tmp_path):
    dataset = enhanced(RAMP, [2, 0, 3, 1])
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.TextValue = "x" * 1_200_000  # as long as the groups of a few thousand frames
    dataset["PerFrameFunctionalGroupsSequence"].is_undefined_length = False
    save(tmp_path / "a", dataset)
    np.testing.assert_allclose(read(tmp_path / "a").spacing, (3, 2, 1.5))


def test_a_spect_whose_frames_are_a_stack(tmp_path):
    dataset = slice_of(
        RAMP, modality="NM", NumberOfFrames=4, SpacingBetweenSlices=-3, SliceVector=[1, 2, 3, 4]
    )
    detector = Dataset()
    detector.ImagePositionPatient = [0, 0, 50]
    detector.ImageOrientationPatient = dataset.ImageOrientationPatient
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    dataset.DetectorInformationSequence = [detector]
    save(tmp_path / "a", dataset)
    volume = read_dicom(tmp_path / "a")
    np.testing.assert_allclose(values(volume), RAMP[::-1], atol=1e-3)
    np.testing.assert_allclose(volume.affine[:3, 2:], [[0, 0], [0, 0], [3, 41]])


def test_series_of_a_folder_are_listed_and_one_is_chosen(tmp_path):
    series_in(tmp_path / "s/ct", HU)
    series_in(tmp_path / "s/mr", RAMP, modality="MR", series="1.2.3.2", number=12)
    with pytest.raises(ValueError, match="holds 2 series") as caught:
        read(tmp_path / "s")
    assert "1 (CT, 'CT of Jane', slices: 4), 12 (MR, 'MR of Jane', slices: 4)" in str(caught.value)
    assert "--series-a" in str(caught.value)
    for series in (12, "12", "1.2.3.2"):
        np.testing.assert_allclose(values(read_dicom(tmp_path / "s", series=series)), RAMP, atol=1e-3)
    with pytest.raises(ValueError, match="no series '2' in it; there are: 1 "):
        read_dicom(tmp_path / "s", series=2)


def test_what_is_no_image_and_copies_are_passed_over_with_a_note(tmp_path):
    sets = series_in(tmp_path / "s", HU)
    save(tmp_path / "s/again.dcm", sets[0])
    report = slice_of(HU[0])
    del report.Rows, report.PixelData
    report.SOPClassUID = uid.BasicTextSRStorage
    save(tmp_path / "s/report.dcm", report)
    (tmp_path / "s/README.txt").write_text("hello")
    volume = read_dicom(tmp_path / "s", window="soft")
    assert volume.shape[2] == 4
    assert volume.notes[0].endswith("passed over: 2 (README.txt, report.dcm)")
    assert volume.notes[1] == "copies of slices passed over: 1"


def test_a_folder_of_pictures_is_no_dicom(tmp_path):
    for name in ("pictures", "pictures/sub"):
        (tmp_path / name).mkdir()
    Image.fromarray(RGB[0]).save(tmp_path / "pictures/a.png")
    save(tmp_path / "pictures/sub/a.dcm", slice_of(HU[0]))
    series_in(tmp_path / "case/series", HU)
    assert not is_dicom(tmp_path / "pictures")
    assert is_dicom(tmp_path / "case")
    assert is_dicom(tmp_path / "case/series/000.dcm")
    assert not is_dicom(tmp_path / "pictures/a.png")
    assert not is_dicom(tmp_path / "none")


def test_nothing_that_names_the_patient_is_in_the_volume(tmp_path):
    series_in(tmp_path / "s", HU, WindowCenter=[40, 300], WindowWidth=[80, 1500])
    volume = read_dicom(tmp_path / "s")
    assert volume.metadata == {
        "format": "DICOM",
        "modality": "CT",
        "series": "1",
        "values": "HU",
        "window": "40/80",
    }
    assert "Jane" not in " ".join(volume.notes)


def gapped(*heights, **tags):
    def make(folder):
        for k, z in enumerate(heights):
            save(folder / f"{k}", slice_of(HU[k % 4], ImagePositionPatient=[0, 0, z], **tags))

    return make


def one(pixels=HU[0], drop=(), **tags):
    def make(folder):
        dataset = slice_of(pixels, **tags)
        for keyword in drop:
            delattr(dataset, keyword)
        save(folder / "a", dataset)

    return make


def pair(**tags):
    """Two slices, the second with other tags."""

    def make(folder):
        save(folder / "0", slice_of(HU[0]))
        save(folder / "1", slice_of(**{"pixels": HU[1], "ImagePositionPatient": [0, 0, 1]} | tags))

    return make


def cut(size):
    def make(folder):
        one()(folder)
        (folder / "a").write_bytes((folder / "a").read_bytes()[:size])

    return make


def bomb(folder):
    """A JPEG 2000 frame whose codestream claims far more than the header."""
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "JPEG2000", no_jp2=True)
    save(folder / "a", encapsulated(HU[0].astype(np.uint8), [file.getvalue()], uid.JPEG2000Lossless))


REFUSED = {
    "missing slice": (gapped(0, 2, 4, 8, 10), "slices are missing: 1, the first between 4 and 8 mm"),
    "two missing": (gapped(0, 2, 4, 10, 12, 14), "slices are missing: 2, the first between 4 and 10 mm"),
    "uneven": (gapped(0, 2, 5, 9), "stand 2 to 4 mm apart"),
    "shared places": (gapped(0, 0, 2, 2, 4, 4), "share another's place: 3"),
    "other size": (pair(pixels=HU[0][:20]), "different sizes (24×24, 24×20)"),
    "other direction": (pair(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "different directions"),
    "other spacing": (pair(PixelSpacing=[2, 2]), "different pixel spacings"),
    "beside": (
        lambda f: [gapped(0, 1)(f), save(f / "2", slice_of(HU[0], ImagePositionPatient=[5, 0, 2]))],
        "stray",
    ),
    "a film": (pair(ImagePositionPatient=None), "do not say where they lie"),
    "frames without places": (one(RAMP, NumberOfFrames=4), "do not say where they lie"),
    "no direction": (one(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "no two perpendicular"),
    "no number": (one(ImagePositionPatient=[0, 0]), "position (0.0, 0.0), not 3 numbers"),
    "no width": (one(PixelSpacing=[0, 1]), "must be positive"),
    "slope 0": (one(RescaleSlope=0, RescaleIntercept=0), "rescale slope of 0"),
    "palette": (one(HU[0].astype(np.uint8), PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR"),
    "1 bit": (one(BitsAllocated=1, BitsStored=1), "1-bit pixels"),
    "absurd rows": (one(Rows=65535, Columns=65535), f"more than the {MAX_VOXELS} read"),
    "absurd frames": (one(NumberOfFrames=2**31 - 1), "2147483647 frames"),
    "many frames": (one(Rows=1, Columns=1, NumberOfFrames=10**6), "1000000 frames"),
    "no rows": (one(Rows=0), "claims 24 × 0 pixels"),
    "more rows than pixels": (one(Rows=2000), "is damaged or unfinished"),
    "no pixels": (one(drop=["PixelData"]), "is damaged or unfinished"),
    "cut in its pixels": (cut(2000), "is damaged or unfinished"),
    "cut in its header": (cut(700), ""),
    "cut at once": (cut(140), ""),
    "bomb": (bomb, "3000 × 3000 pixels"),
    "a slope beyond floats": (one(RescaleSlope="1e39"), "its rescale slope 1e+39 and intercept 0 carry"),
    "both beyond floats": (
        one(RescaleSlope="1e300", RescaleIntercept="-1e308"),
        "its rescale slope 1e+300 and intercept -1e+308 carry its values beyond all numbers",
    ),
    "all padding": (one(np.zeros((9, 9), np.int16), PixelPaddingValue=0), "every pixel is padding"),
    "no image": (lambda f: (f / "a").write_text("text"), "holds no DICOM image"),
    "empty": (lambda f: None, "holds no DICOM image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, tmp_path):
    make, says = REFUSED[name]
    folder = tmp_path / "s"
    folder.mkdir()
    make(folder)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        read_dicom(folder)
    assert says in str(caught.value)
    assert str(folder) in str(caught.value)


def raw(tag, kind, value):
    """A file of one element, byte by byte, of any value representation."""
    meta = b"\2\0\x10\0UI" + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
    size = struct.pack("<H" if kind not in (b"ZZ", b"OB") else "<2xI", len(value))
    head = bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + struct.pack("<I", len(meta)) + meta
    return head + struct.pack("<HH", *tag) + kind + size + value


@pytest.mark.parametrize("kind", [b"FD", b"FL", b"UL", b"ZZ", b"DS", b"IS", b"AT", b"OB"], ids=bytes.decode)
@pytest.mark.parametrize("value", [b"\0\0", b"1.2.840.10008.5.1.4.1.1.4\0"[:24]], ids=["zeros", "text"])
def test_a_stray_file_of_any_value_representation(tmp_path, kind, value, recwarn):
    """It is read or refused in one line, and without a warning; it is never taken for ours."""
    series_in(tmp_path / "s", HU)
    (tmp_path / "s/stray.dcm").write_bytes(raw((0x0008, 0x0016), kind, value))
    if kind == b"ZZ" or (kind in (b"FD", b"FL", b"UL") and len(value) == 2):
        with pytest.raises(ValueError, match=r"^.*/s/stray\.dcm: is damaged or unfinished [^\n]*$"):
            read_dicom(tmp_path / "s")
    else:
        read_dicom(tmp_path / "s")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.dcm").write_bytes(raw((0x0008, 0x0070), kind, value))
    with pytest.raises(FileExistsError, match=r"out: holds x\.dcm, which is not Haarmony's"):
        check_folder(tmp_path / "out", overwrite=True)
    assert not recwarn.list


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: there is no such file"):
        read_dicom(tmp_path / "none")


def test_a_slice_without_a_place(tmp_path):
    save(
        tmp_path / "a",
        slice_of(RGB[0], ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None),
    )
    volume = read_dicom(tmp_path / "a")
    assert (volume.shape, volume.unit, volume.spacing) == ((10, 12, 1), "unknown", (1, 1, 1))
    assert "placed at the origin" in volume.notes[0]
