"""DICOM in: the transfer syntaxes that are read, by encoders of others, and those that are refused."""

import base64
import io
import struct

import numpy as np
import pytest
from dicoms import encapsulated, save, series_in, slice_of
from PIL import Image
from pydicom import uid

from haarmony.io.dicom import find_series, read_dicom
from haarmony.phantom import head

HU = np.rint(head(size=24).volume("CT", (-4, 0, 4, 8))).astype(np.int16)  # (slice, row, column)
RAMP = np.arange(4 * 12 * 10, dtype=np.uint16).reshape(4, 12, 10)
RGB = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3), dtype=np.uint8)
# np.arange(256).reshape(16, 16) * 16 with 12 bit by `ojph_compress -reversible true -num_decomps 1`.
HTJ2K = base64.b85decode(
    "|4;u>04YEK0000G0000G00000000000000G0000G0000000000009dD0sl|{2mk^A000O7QUDA90ssL30R#j<0smY82Ow~8aCrY@"
    "02TlNPjF>!N>E53R%LP^FfKVRFfRX)015yA0001>00IA#zyW(u|9`)~|2u#GTc7`IzyEdDzxwl^ZhWKvf8Xza_xHd3{Ad4uuV4Ra"
    "pZ|2mH}c;HKKS8>FTVKWk54}N<(F~B`QMK|@MS;v(-%JVhhKf-Tfg|%I7a>o*RHjvph2KP0BD2&#vuSPvjM;XSpWs3?(XjH=fJ0@"
    "r^0vu{{8*^{r&y@{fuCH_A!C%x&Z&#"
)
PLUGINS = {
    uid.RLELossless: "pydicom",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
}


def values(volume):
    """What the file says, back from [0, 1]; (slice, row, column)."""
    low, high = volume.value_range
    return volume.voxels.transpose(2, 1, 0) * (high - low) + low


def compressed(folder, pixels, syntax, **options):
    """The folder `s` of plain slices and `c` of compressed ones."""
    for k, dataset in enumerate(series_in(folder / "s", pixels)):
        if syntax in (uid.JPEGLSLossless, uid.JPEGLSNearLossless):
            pytest.importorskip("jpeg_ls")
        if pixels.shape[-1] == 3 and syntax == uid.JPEG2000Lossless:
            dataset.PhotometricInterpretation = "YBR_RCT"
        dataset.compress(syntax, encoding_plugin=PLUGINS[syntax], generate_instance_uid=False, **options)
        save(folder / f"c/{k}", dataset)
        assert dataset.file_meta.TransferSyntaxUID == syntax
    return read_dicom(folder / "s"), read_dicom(folder / "c")


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("pixels", [HU, RAMP, RGB], ids=["signed", "unsigned", "rgb"])
def test_compressed_without_loss(tmp_path, syntax, pixels):
    plain, back = compressed(tmp_path, np.tile(pixels, (1, 6, 6, 1)[: pixels.ndim]), syntax)
    np.testing.assert_array_equal(back.voxels, plain.voxels)
    assert not find_series(tmp_path / "c").about.lossy


@pytest.mark.parametrize(
    ("syntax", "options", "most"),
    [(uid.JPEG2000, {"j2k_psnr": [90]}, 12), (uid.JPEGLSNearLossless, {"jls_error": 3}, 3)],
)
@pytest.mark.parametrize("pixels", [HU, HU + 1024], ids=["signed", "positive"])
def test_compressed_with_loss(tmp_path, syntax, options, most, pixels):
    plain, back = compressed(tmp_path, np.tile(pixels, (1, 3, 3)), syntax, **options)
    off = np.abs(values(plain) - values(back)).max()
    assert 0 < off <= most + 1e-3
    assert find_series(tmp_path / "c").about.lossy == (syntax == uid.JPEGLSNearLossless)


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_high_throughput_jpeg_2000(tmp_path, syntax):
    pixels = np.arange(256, dtype=np.uint16).reshape(1, 16, 16) * 16
    save(tmp_path / "a", encapsulated(pixels[0], [HTJ2K], syntax, BitsStored=12, HighBit=11))
    np.testing.assert_allclose(values(read_dicom(tmp_path / "a")), pixels, atol=1e-3)


@pytest.mark.parametrize("pixels", [HU, RAMP, RGB[..., 0]], ids=["signed", "unsigned", "8 bit"])
def test_big_endian(tmp_path, pixels):
    series_in(tmp_path / "s", pixels)
    for k, one in enumerate(pixels):
        dataset = slice_of(one, ImagePositionPatient=[0, 0, 2 * k])
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
        swapped = one.astype(one.dtype.newbyteorder(">")) if one.itemsize > 1 else one
        dataset.PixelData = swapped.tobytes()
        dataset["PixelData"].VR = "OB" if one.itemsize == 1 else "OW"
        save(tmp_path / f"c/{k}", dataset)
    plain, back = read_dicom(tmp_path / "s"), read_dicom(tmp_path / "c")
    np.testing.assert_array_equal(back.voxels, plain.voxels)
    if pixels.itemsize > 1:
        np.testing.assert_allclose(values(back), pixels, atol=1e-3)


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100, **options)
    return file.getvalue()


def test_jpeg_baseline(tmp_path):
    smooth = np.array(Image.fromarray(RGB[0]).resize((40, 32), Image.Resampling.BICUBIC))
    for name, pixels, kind in (("grey", smooth[..., 0], "MONOCHROME2"), ("rgb", smooth, "YBR_FULL_422")):
        frames = [jpeg(np.ascontiguousarray(pixels), **({"subsampling": 0} if name == "rgb" else {}))]
        save(
            tmp_path / name,
            encapsulated(pixels, frames, uid.JPEGBaseline8Bit, PhotometricInterpretation=kind),
        )
        read_back = read_dicom(tmp_path / name).voxels[:, :, 0].swapaxes(0, 1)
        assert np.abs(read_back.astype(int) - pixels).max() <= 4
    assert find_series(tmp_path / "grey").about.lossy


@pytest.mark.parametrize(
    "syntax", [uid.JPEGLosslessSV1, uid.JPEGExtended12Bit, uid.MPEG2MPML, uid.DeflatedExplicitVRLittleEndian]
)
def test_other_compressions_are_refused(tmp_path, syntax):
    dataset = encapsulated(RAMP[0], [b"\0\0"], uid.JPEGLosslessSV1)
    save(tmp_path / "a", dataset)
    data = (tmp_path / "a").read_bytes()
    new = str(syntax).encode() + b"\0" * (len(syntax) % 2)
    old = uid.JPEGLosslessSV1.encode()
    group = data.index(b"\x02\0\0\0UL\x04\0") + 8
    length = struct.unpack_from("<I", data, group)[0] + len(new) - len(old)
    place = data.index(old) - 2
    patched = data[:place] + struct.pack("<H", len(new)) + new + data[place + 2 + len(old) :]
    (tmp_path / "a").write_bytes(patched[:group] + struct.pack("<I", length) + patched[group + 4 :])
    with pytest.raises(
        ValueError, match=rf"a: is compressed by {syntax.name.split(' (')[0][:8]}.*decompress"
    ):
        read_dicom(tmp_path / "a")


def test_a_jpeg_ls_frame_that_claims_more_than_the_header(tmp_path):
    encode = pytest.importorskip("jpeg_ls").encode_array
    for name, pixels in (("size", np.zeros((3000, 3000), np.uint8)), ("colour", RGB[0])):
        frame = bytes(encode(pixels))
        save(tmp_path / name, encapsulated(RGB[0, ..., 0], [frame], uid.JPEGLSLossless))
        says = "3000 × 3000 pixels" if name == "size" else "3 samples"
        with pytest.raises(ValueError, match=rf"is damaged or unfinished \(a frame has .*{says}"):
            read_dicom(tmp_path / name)
