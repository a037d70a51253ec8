"""Hostile files: whatever was done to a valid one, it is read or refused in one line, in bounded memory."""

import contextlib
import gzip
import importlib.util
import io
import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dicoms import save, slice_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_read import chunk

from haarmony.io import Volume, encode, raster, read
from haarmony.io.guards import BoundedFile, plain, quiet, unpacks_within
from haarmony.training.tasks import load_recipe
from haarmony.weights import load_any

FUZZ = Path(__file__).resolve().parents[2] / "benchmarks/fuzz.py"
sys.path.append(str(FUZZ.parent))  # where its valid files are made
spec = importlib.util.spec_from_file_location("fuzz", FUZZ)
fuzz = importlib.util.module_from_spec(spec)
sys.modules["fuzz"] = fuzz  # where its named tuples look for themselves
spec.loader.exec_module(fuzz)

EDITS = st.lists(
    st.builds(
        fuzz.Edit,
        kind=st.sampled_from(fuzz.EDITS),
        where=st.floats(0, 1),
        what=st.integers(0, 2**16 - 1),
        size=st.integers(0, 2**16 - 1),
    ),
    max_size=6,
)


@pytest.mark.parametrize("reader", [*fuzz.SEEDS])
def test_a_damaged_file_is_read_or_refused_in_one_line(reader, tmp_path, capfd):
    path = tmp_path / ("card.toml" if reader == "card" else "input")
    seeds = fuzz.SEEDS[reader]()

    @settings(
        max_examples=120 if reader not in fuzz.TOML else 60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, len(seeds) - 1), st.integers(0, len(seeds) - 1), EDITS)
    def check(chosen, other, edits):
        data = seeds[chosen].data
        for edit in edits:
            data = fuzz.edited(data, edit, seeds[other].data)
        with contextlib.suppress(ValueError, struct.error):
            data = seeds[chosen].pack(data)
        path.write_bytes(data)
        assert fuzz.outcome(reader, path) in ("read", "refused")
        assert [one.name for one in tmp_path.iterdir()] == [path.name]
        assert path.read_bytes() == data

    check()
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("reader", [*fuzz.SEEDS])
def test_the_seeds_are_sound_and_mutants_repeat(reader, tmp_path):
    path = tmp_path / ("card.toml" if reader == "card" else "input")
    answers = []
    for seed in fuzz.SEEDS[reader]():
        path.write_bytes(seed.pack(seed.data))
        answers.append(fuzz.outcome(reader, path))
    assert answers.count("read") >= 0.6 * len(answers)  # the others are kinds that are refused
    mutants = [fuzz.mutant(reader, 3, index) for index in range(20)]
    assert mutants == [fuzz.mutant(reader, 3, index) for index in range(20)]
    assert len(set(mutants)) > 15


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ValueError("damaged"), "does not begin with the file"),
        (ValueError("{path}: two\nlines"), "no plain line"),
        (OSError("{path}: \x1b[2J"), "no plain line"),
        (KeyError("a"), "KeyError"),
        (RecursionError("deep"), "RecursionError"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_counts_as_a_finding(answer, says, tmp_path, monkeypatch):
    def answers(path):
        raise type(answer)(*(text.replace("{path}", str(path)) for text in answer.args))

    monkeypatch.setitem(fuzz.TOML, "png", answers)
    assert says in fuzz.outcome("png", tmp_path / "a")


def refusal(path):
    """The message about a file, and the most memory that Python and NumPy took for it, in bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r".") as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message, peak


def png(bits, kind, *chunks):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(megabytes):
    """A deflate stream that unpacks to so much and is a thousandth of it."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(megabytes)), packer.flush()])


def tiff(strip):
    """A TIFF file byte by byte (TIFF 6.0, section 2): 16 × 16 grey pixels in one deflated strip."""
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 273: 122, 277: 1, 278: 16, 279: len(strip)}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4) + strip


BOMBS = {
    "png of 16-bit colour": (lambda: png(16, 2, chunk(b"IDAT", zeros(100))), "unpacks to more than"),
    "png text": (
        lambda: png(8, 0, chunk(b"zTXt", b"a\0\0" + zeros(100)), chunk(b"IDAT", b"")),
        "is damaged or unfinished",
    ),
    "png profile": (
        lambda: png(8, 0, chunk(b"iCCP", b"a\0\0" + zeros(100)), chunk(b"IDAT", b"")),
        "is damaged or unfinished",
    ),
    "tiff strip": (lambda: tiff(zeros(50)), "unpacks to more than"),
    "nifti of zeros": (lambda: gzip.compress(bytes(50 * 2**20), mtime=0), "is no PNG, TIFF"),
    "nifti extension": (lambda: nifti_bomb(vox_offset=2.0**26 + 16), "vox_offset"),
    "nifti voxels": (lambda: nifti_bomb(dim=[3, 2**10, 2**10, 2**9, 1, 1, 1, 1]), "more than the 268435456"),
}


def nifti_bomb(**fields):
    """A packed volume whose header says otherwise, and 100 MB of zeros behind it."""
    from nibabel.nifti1 import Nifti1Header

    volume = Volume(np.zeros((4, 4, 4), np.uint8), (0.0, 255.0), np.eye(4))
    data = encode(Path("a.nii"), volume)
    header = Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return gzip.compress(header.binaryblock + bytes(100 * 2**20), 9, mtime=0)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_little_memory(name, tmp_path):
    made, says = BOMBS[name]
    path = tmp_path / "a"
    path.write_bytes(made())
    assert path.stat().st_size < 2**20
    message, peak = refusal(path)
    assert says in message
    assert peak < 8 * 2**20


def test_what_is_behind_the_voxels_takes_no_memory(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bomb())
    problem, peak = refusal(path)
    assert "holds more than 67108864 bytes behind its voxels" in problem
    assert peak < 8 * 2**20


def test_a_dicom_length_sets_no_memory_aside(tmp_path):
    path = tmp_path / "a.dcm"
    save(path, slice_of(np.zeros((8, 8), np.uint8)))
    data = path.read_bytes()
    before = b"\x09\x00\x01\x00UN\0\0" + struct.pack("<I", 2**32 - 16)
    where = data.index(b"\x20\x00\x0d\x00UI")
    (tmp_path / "b.dcm").write_bytes(data[:where] + before + data[where:])
    _, peak = refusal(tmp_path / "b.dcm")
    assert peak < 8 * 2**20
    with BoundedFile(path) as file:
        tracemalloc.start()
        assert file.read(2**40) == path.read_bytes()
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
        assert file.read(5) == b""


def test_many_channels_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 5000), np.uint8), photometric="minisblack", planarconfig="contig")
    message, _ = refusal(path)
    assert "has 5000 channels; save it as grey or RGB" in message


def test_libtiff_is_not_heard(tmp_path, capfd):
    file = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint32).astype(np.uint8).reshape(64, 64)).save(
        file, "TIFF", compression="tiff_lzw"
    )
    data, said = bytearray(file.getvalue()), 0
    for at in range(8, 400, 8):
        damaged = data[:at] + b"\xff\xff" + data[at + 2 :]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(raster, "quiet", io.BytesIO)  # any context
            with contextlib.suppress(ValueError):
                raster.decode(bytes(damaged))
        said += bool(capfd.readouterr().err)
        with contextlib.suppress(ValueError):
            raster.decode(bytes(damaged))
        assert capfd.readouterr().err == ""
    assert said > 0


def test_quiet_gives_stderr_back(capfd):
    with quiet():
        os.write(2, b"lost")
        with quiet():
            os.write(2, b"lost too")
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"MONOCHROME2", b"MONO\n\x1b[2J ", "has pixels of the kind MONO \\x1b[2J; export"),
        (b"1.2.840.10008.1.2.1", b"1.2\n\x1b[2J.\x0799999999", "is compressed by 1.2 \\x1b[2J.\\x079"),
    ],
)
def test_control_characters_of_a_file_are_escaped(old, new, says, tmp_path):
    save(tmp_path / "a", slice_of(np.zeros((8, 8), np.uint8)))
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data.replace(old, new.ljust(len(old))))
    assert says in refusal(tmp_path / "a")[0]


HOSTILE_TOML = {
    "newline in a key": ('"a\\nb" = 1', "a b: "),
    "control character in a key": ('"\\u001b[2J" = 1', "\\x1b[2J: "),
    "control character in a kind": ('kind = "\\u001b[2J"\ntask = "\\u001b[2J"', "unknown"),
    "a number of 5000 digits": ("seed = " + "9" * 5000, "not readable as TOML"),
    "no UTF-8": (b"\xff\xfe", "not readable as TOML"),
    "nested": ("a = " + "[" * 100_000, "not readable as TOML"),
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
@pytest.mark.parametrize("load", [lambda path: load_any(path.parent), load_recipe], ids=["card", "recipe"])
def test_toml_is_refused_in_one_plain_line(name, load, tmp_path):
    text, says = HOSTILE_TOML[name]
    path = tmp_path / "card.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r".") as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    if "key" not in name:
        assert says in message


def test_plain():
    assert plain("a\n b\x1b[2J\u202e×") == "a b\\x1b[2J\\u202e×"


@given(st.binary(max_size=5000), st.integers(1, 3))
@settings(deadline=None, derandomize=True, database=None)
def test_unpacks_within_is_exact(data, parts):
    packed = zlib.compress(data)
    step = -(-len(packed) // parts)
    pieces = [packed[i : i + step] for i in range(0, len(packed), step)]
    assert unpacks_within(pieces, len(data))
    assert not unpacks_within(pieces, len(data) - 1)


def test_a_schedule_of_a_card_has_a_limit(tmp_path):
    text = fuzz.SEEDS["card"]()[-1].data.decode().replace("timesteps = 1000\n", "timesteps = 2147483648\n")
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(ValueError, match=r"card\.toml: diffusion\.timesteps: .*or equal to 1000000"):
        load_any(tmp_path)


def test_a_png_whose_rows_end_early_is_refused(tmp_path):
    """Whole but short: zlib's stream ends where it says, and Pillow alone would fill in black rows."""
    stored = zlib.compress(bytes(10 * (1 + 32)))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 32, 2_236_962, 8, 0, 0, 0, 0)),
        (b"IDAT", stored),
        (b"IEND", b""),
    ]
    path = tmp_path / "short.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )
    with pytest.raises(ValueError, match=r"short\.png: .*pixels are missing at its end"):
        read(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_whole_png_files_of_every_depth_are_read(tmp_path, bits, interlaced):
    import png

    rows = np.random.default_rng(0).integers(0, 2**bits, (19, 21)).tolist()
    with open(tmp_path / "whole.png", "wb") as file:
        png.Writer(21, 19, greyscale=True, bitdepth=bits, interlace=interlaced).write(file, rows)
    pixels = read(tmp_path / "whole.png").pixels
    np.testing.assert_array_equal(pixels.astype(int) * (2**bits - 1) // np.iinfo(pixels.dtype).max, rows)


def test_an_affine_that_leads_nowhere_is_refused():
    """Its squares overflow; numpy would remark on that on stderr."""
    affine = np.diag([1.0, 1e200, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"the affine leads beyond 1e\+12 mm"):
        Volume(np.zeros((4, 4, 4), np.uint8), (0.0, 255.0), affine)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (
            b"\x89PNG\r\n\x1a\n",
            "is 42949672960 bytes long, more than the 1073741824 that are read; crop it first",
        ),
        (b"II*\0", "is 42949672960 bytes long"),
        (b"\0\0\0\0", "is no PNG, TIFF, JPEG, BMP or GIF picture"),
    ],
)
def test_a_file_of_40_gib_is_refused_by_its_first_bytes(head, says, tmp_path):
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(40 * 2**30)  # sparse: it takes no place
    message, peak = refusal(path)
    assert says in message
    assert peak < 2**20


def test_the_limit_of_a_file_leaves_room_for_all_the_pixels():
    assert raster.MAX_BYTES >= 8 * raster.MAX_PIXELS
    raster.check_file(b"BM", raster.MAX_BYTES)
