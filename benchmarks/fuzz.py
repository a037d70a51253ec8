"""Hostile files against the readers: `python benchmarks/fuzz.py [--reader png] [--inputs 50000] [--seed 0]`.

Valid files of the phantom are damaged (bits, bytes, integers, cuts, splices; in TOML also keys and values),
and each is read in a child process of bounded memory. It must be read, or refused by a ValueError or an
OSError of one line that begins with the file's name. A finding is anything else: another exception, a line on
stderr, too much memory or time, a file written, the child's death. Findings are kept in --save, where a run
that was interrupted goes on. Input I of a seed is always the same bytes.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import io
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from haarmony.settings import tomllib

BATCH = 1000
"""Inputs of one child process."""
INTEGERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**27, 2**31 - 1, 2**31)
INTEGERS += (2**32 - 1, 2**63 - 1, 2**64 - 1)
VALUES = (
    0,
    -1,
    1,
    2**31,
    2**63,
    2**70,
    1e308,
    -0.0,
    float("nan"),
    float("inf"),
    True,
    "",
    "\n",
    "..",
    "a\nb",
)
VALUES += ("x" * 5000, "\x1b[2J", "/etc/passwd", [], [[]], ["a", 1], {}, {"a": {"b": 1}}, [{}], [0] * 2000)
EDITS = ("bit", "byte", "integer", "cut", "remove", "repeat", "splice", "text")
WORDS = (
    b"\0",
    b"\n",
    b"\xff\xd8",
    b"IDAT",
    b"[[",
    b'"""',
    b"nan",
    b"1e999",
    b"\xfe\xff\0\xe0",
    b"%s%n",
    b"9" * 40,
)


class Seed(NamedTuple):
    """A valid file: what is edited, and how the file is made of it."""

    data: bytes
    pack: Callable[[bytes], bytes] = bytes


class Edit(NamedTuple):
    """One change: its kind, where from 0 to 1 in the data, and two numbers that say how."""

    kind: str
    where: float
    what: int
    size: int


def edited(data: bytes, edit: Edit, other: bytes) -> bytes:
    """The data after one change."""
    at = min(int(edit.where * len(data)), max(0, len(data) - 1))
    if edit.kind == "bit" and data:
        return data[:at] + bytes([data[at] ^ 1 << edit.what % 8]) + data[at + 1 :]
    if edit.kind == "byte" and data:
        return data[:at] + bytes([edit.what % 256]) + data[at + 1 :]
    if edit.kind == "integer":
        width, order = (1, 2, 4, 8)[edit.size % 4], ("little", "big")[edit.size // 4 % 2]
        at -= at % (width if edit.size % 3 else 1)  # most fields are aligned
        number = INTEGERS[edit.what % len(INTEGERS)] % 256**width
        return data[:at] + number.to_bytes(width, order) + data[at + width :]
    if edit.kind == "cut":
        return data[:at]
    length = 1 + edit.size % 64
    if edit.kind == "remove":
        return data[:at] + data[at + length :]
    if edit.kind == "repeat":
        return data[:at] + data[at : at + length] * (1 + edit.what % 4) + data[at:]
    if edit.kind == "splice":
        start = edit.what % max(1, len(other))
        return data[:at] + other[start : start + length] + data[at + length * (edit.size % 2) :]
    word = WORDS[edit.what % len(WORDS)]
    return data[:at] + word + data[at + len(word) * (edit.size % 2) :]


def draw(rng: random.Random) -> Edit:
    """A change at random; a third of them near the start, where headers are, and some near the end."""
    where, part = rng.random(), rng.random()
    where = where * where * where if part < 0.4 else 1 - where * where * where if part < 0.5 else where
    return Edit(rng.choice(EDITS), where, rng.randrange(2**16), rng.randrange(2**16))


def mutant(reader: str, seed: int, index: int) -> bytes:
    """Input `index` of a seed."""
    rng = random.Random(f"{reader} {seed} {index}")
    seeds = SEEDS[reader]()
    chosen, other = rng.choice(seeds), rng.choice(seeds)
    if reader in TOML and rng.random() < 0.7:
        return _other_keys(chosen.data, rng)
    data = chosen.data
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        data = edited(data, draw(rng), other.data)
    try:
        return chosen.pack(data)
    except (ValueError, struct.error):  # too damaged to be packed
        return data


def _other_keys(data: bytes, rng: random.Random) -> bytes:
    import tomli_w

    content = tomllib.loads(data.decode())
    for _ in range(rng.choice((1, 1, 2, 4))):
        table = content
        while (inner := [v for v in table.values() if isinstance(v, dict) and v]) and rng.random() < 0.6:
            table = rng.choice(inner)
        key, kind = rng.choice(list(table) or ["a"]), rng.randrange(5)
        if kind == 0:
            table.pop(key, None)
        elif kind == 1:
            table[key + rng.choice(("", "x", "\n", "."))] = table.pop(key, 1)
        elif kind == 2:
            table[rng.choice(("kind", "task", "name", "a\nb", "\x1b[2J", "__class__"))] = rng.choice(VALUES)
        else:
            table[key] = copy.deepcopy(rng.choice(VALUES))
        if not content:
            break
    return tomli_w.dumps(content).encode()


@cache
def _pixels() -> dict[str, np.ndarray]:
    from haarmony.phantom import head

    plane = head(seed=1, size=32)
    grey, colour = plane.picture("CT", 16), plane.picture("PET", 16)
    deep = grey.astype(np.uint16) * 257
    return {"grey": grey, "colour": colour, "grey16": deep, "colour16": colour.astype(np.uint16) * 257}


@cache
def png_seeds() -> list[Seed]:
    """Of the product's writer, and interlaced, with palette, alpha and text; chunks with right checksums."""
    from PIL import Image, PngImagePlugin

    from haarmony.io import Picture, encode

    made = [encode(Path("a.png"), Picture(pixels, (0, 1))) for pixels in _pixels().values()]
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Phantom", zip=True)
    for mode, options in (("P", {}), ("1", {}), ("RGBA", {"pnginfo": text, "dpi": (72, 72)}), ("LA", {})):
        made.append(_saved(Image.fromarray(_pixels()["colour"]).convert(mode), "PNG", **options))
    rows = [_rows(one) for one in made[:4]]
    return [Seed(one, _mended) for one in made] + [Seed(one) for one in made[:3]] + rows


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    length = len(data) if length is None else length
    return struct.pack(">I", length) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _mended(data: bytes) -> bytes:
    """A PNG whose checksums are right, whatever else is wrong, so that a decoder looks further."""
    made, at = data[:8], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        made += _chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length], length)
        at += 12 + length
    return made


def _rows(data: bytes) -> Seed:
    """A PNG whose rows are edited before they are packed."""
    chunks = _chunks(data)
    whole = b"".join(content for name, content in chunks if name == b"IDAT")
    before, after = _chunk(*chunks[0]), _chunk(b"IEND", b"")
    return Seed(
        zlib.decompress(whole), lambda rows: data[:8] + before + _chunk(b"IDAT", zlib.compress(rows)) + after
    )


def _saved(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def tiff_seeds() -> list[Seed]:
    """Of the product's writer, and with compression, tiles, planes, pages, BigTIFF, palette, OME."""
    import tifffile
    from PIL import Image

    from haarmony.io import Picture, encode, to_unit

    pixels = _pixels()
    of = [*pixels.values(), to_unit(pixels["grey16"]), to_unit(pixels["colour16"])]
    made = [encode(Path("a.tif"), Picture(one, (0, 1))) for one in of]
    grey, colour, deep = pixels["grey"], pixels["colour"], pixels["colour16"]
    for array, options in (
        (deep, {"compression": "zlib", "predictor": True}),
        (grey, {"compression": "zlib", "rowsperstrip": 8}),
        (colour, {"tile": (16, 16), "photometric": "rgb"}),
        (np.moveaxis(deep, -1, 0), {"planarconfig": "separate", "photometric": "rgb"}),
        (grey, {"bigtiff": True, "byteorder": ">"}),
        (to_unit(grey), {"compression": "zlib"}),
        (np.stack([grey, grey]), {"imagej": True}),
        (grey, {"ome": True}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        made.append(file.getvalue())
    image = Image.fromarray(colour)
    for compression in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"):
        made.append(_saved(image, "TIFF", compression=compression))
    made += [_saved(image.convert(mode), "TIFF", compression="tiff_lzw") for mode in ("P", "1", "L", "RGBA")]
    return [Seed(one) for one in made]


@cache
def jpeg_seeds() -> list[Seed]:
    """Baseline, progressive, with EXIF, CMYK, and a camera's of two pictures."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Phantom"
    grey, colour = (Image.fromarray(_pixels()[name]) for name in ("grey", "colour"))
    options: list[dict[str, Any]] = [{}, {"progressive": True}, {"exif": exif}, {"restart_marker_rows": 1}]
    made = [_saved(image, "JPEG", **option) for option in options for image in (grey, colour)]
    made += [
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(colour, "MPO", save_all=True, append_images=[grey]),
    ]
    return [Seed(one) for one in made]


@cache
def nifti_seeds() -> list[Seed]:
    """Of the product's writer, plain and packed, the latter edited before and after; NIfTI-2 and doubles."""
    import nibabel

    from haarmony.io import Volume, encode, to_unit

    pixels = _pixels()
    kinds = [np.repeat(pixels[name][:, :, None], 4, axis=2) for name in pixels]
    kinds = [kinds[0], kinds[1], kinds[2], to_unit(kinds[2])]
    affine = np.array([[-1, 0.1, 0, 5], [0.1, 1, 0, 6], [0, 0, 2.5, 7], [0, 0, 0, 1]], float)
    volumes = [Volume(voxels, (-1000.0, 3000.0), affine) for voxels in kinds]
    plain = [encode(Path("a.nii"), volume) for volume in volumes]
    for kind, dtype in (
        (nibabel.Nifti2Image, "f8"),
        (nibabel.Nifti1Image, "i2"),
        (nibabel.Nifti1Image, ">f4"),
    ):
        image = kind(kinds[0].astype(dtype), affine)
        image.header.set_data_dtype(dtype)
        plain.append(image.to_bytes())
    packed = [Seed(gzip.compress(one, mtime=0)) for one in plain[:3]]
    return [Seed(one) for one in plain] + packed + [Seed(one, lambda x: gzip.compress(x, 1)) for one in plain]


@cache
def dicom_seeds() -> list[Seed]:
    """Grey of 8 and 16 bit, signed, RGB, several frames; plain, big-endian, RLE, JPEG and JPEG 2000."""
    from PIL import Image
    from pydicom import Dataset, encaps, uid

    def made(pixels: np.ndarray, syntax: str, data: bytes | None = None, **tags: Any) -> bytes:
        colour = pixels.shape[-1] == 3
        dataset = Dataset()
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
        dataset.SOPClassUID, dataset.SOPInstanceUID = uid.CTImageStorage, "1.2.3.4"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", "1.2.3.1", "CT"
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0 if colour else -1024
        dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (
            (3, "RGB") if colour else (1, "MONOCHROME2")
        )
        if colour:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = (
            data or pixels.astype(pixels.dtype.newbyteorder(">" if "1.2.2" in syntax[-5:] else "<")).tobytes()
        )
        if data is not None or syntax in (uid.RLELossless, uid.JPEG2000Lossless):
            dataset["PixelData"].VR = "OB"
        if data is None and syntax in (uid.RLELossless, uid.JPEG2000Lossless):
            dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            dataset["PixelData"].VR = "OW"
            dataset.compress(uid.UID(syntax), generate_instance_uid=False)
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        return file.getvalue()

    pixels = _pixels()
    signed = (pixels["grey16"].astype(np.int32) // 16 - 1024).astype(np.int16)
    kinds = [pixels["grey"], pixels["grey16"], signed, pixels["colour"]]
    files = [made(one, uid.ExplicitVRLittleEndian) for one in kinds]
    files += [made(kinds[1], uid.ImplicitVRLittleEndian), made(kinds[1], uid.ExplicitVRBigEndian)]
    for syntax in (uid.RLELossless, uid.JPEG2000Lossless):
        files += [made(one, syntax) for one in kinds]
    jpeg = encaps.encapsulate([_saved(Image.fromarray(kinds[0]), "JPEG")])
    files.append(made(kinds[0], uid.JPEGBaseline8Bit, jpeg))
    groups = []
    for k in range(3):
        group, place, measures = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, measures.PixelSpacing, measures.SliceThickness = [0, 0, 2 * k], [1, 1], 2
        group.PlanePositionSequence, group.PixelMeasuresSequence = [place], [measures]
        groups.append(group)
    stack = np.stack([pixels["grey16"]] * 3)
    files.append(
        made(stack, uid.ExplicitVRLittleEndian, NumberOfFrames=3, PerFrameFunctionalGroupsSequence=groups)
    )
    return [Seed(one) for one in files]


@cache
def card_seeds() -> list[Seed]:
    """The shipped models' cards."""
    from haarmony.weights import SHIPPED

    return [Seed(path.read_bytes()) for path in sorted(SHIPPED.glob("*/card.toml"))]


@cache
def recipe_seeds() -> list[Seed]:
    """The recipes beside this folder."""
    folder = Path(__file__).resolve().parents[1] / "recipes"
    return [Seed(path.read_bytes()) for path in sorted(folder.glob("*.toml"))]


def _read_card(path: Path) -> None:
    from haarmony.weights import load_any

    load_any(path.parent)


def _read_recipe(path: Path) -> None:
    from haarmony.training.tasks import load_recipe

    load_recipe(path)


def _read(path: Path) -> None:
    from haarmony.io import read

    read(path)


SEEDS: dict[str, Callable[[], list[Seed]]] = {
    "png": png_seeds,
    "tiff": tiff_seeds,
    "jpeg": jpeg_seeds,
    "nifti": nifti_seeds,
    "dicom": dicom_seeds,
    "card": card_seeds,
    "recipe": recipe_seeds,
}
TOML: dict[str, Callable[[Path], None]] = {"card": _read_card, "recipe": _read_recipe}


def outcome(reader: str, path: Path) -> str:
    """Read, refused, or what is wrong with the answer to a file."""
    try:
        TOML.get(reader, _read)(path)
    except (ValueError, OSError) as error:
        text = str(error)
        if not text.startswith(f"{path}: "):
            return f"message does not begin with the file: {text[:200]!r}"
        return "refused" if text.isprintable() else f"message is no plain line: {text[:200]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return "read"


def child(reader: str, seed: int, first: int, last: int, *, megabytes: int) -> None:
    """Read inputs in the working directory, and say on stdout what came of them, for the parent alone."""
    import resource  # not on Windows, where the tests use the rest

    report = os.fdopen(os.dup(1), "w")
    said = os.open("../said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    at = os.open("../at", os.O_RDWR | os.O_CREAT)
    path = Path("card.toml" if reader == "card" else "input").absolute()
    path.write_bytes(SEEDS[reader]()[0].data)
    outcome(reader, path)  # what is imported for it is no growth
    for category in (UserWarning, RuntimeWarning, SyntaxWarning, FutureWarning, BytesWarning):
        warnings.simplefilter("always", category)
    limit = (
        2**20 * (4 * megabytes)
        + int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    )
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts, files = {"read": 0, "refused": 0}, {path.name}
    for index in range(first, last):
        data = mutant(reader, seed, index)
        path.write_bytes(data)
        os.pwrite(at, struct.pack("<q", index), 0)
        os.ftruncate(said, 0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before, start = _status("VmRSS"), time.process_time()
        answer = outcome(reader, path)
        seconds, grown = time.process_time() - start, (_status("VmHWM") - before) // 1024
        sys.stdout.flush()
        sys.stderr.flush()
        problems = [] if answer in counts else [answer]
        if os.fstat(said).st_size:
            problems.append(f"said {os.pread(said, 200, 0)!r}")
            os.lseek(said, 0, os.SEEK_SET)
        if grown > megabytes:
            problems.append(f"memory grew by {grown} MB")
        if seconds > SECONDS:
            problems.append(f"took {seconds:.0f} s")
        if set(os.listdir()) != files or path.read_bytes() != data:
            problems.append(f"wrote {sorted(set(os.listdir()) - files)}")
            files = set(os.listdir())
        if problems:
            print(json.dumps({"index": index, "problem": "; ".join(problems)}), file=report)
        else:
            counts[answer] += 1
    print(json.dumps(counts), file=report, flush=True)


SECONDS = 5.0
"""Processor time a file may take; the parent ends a child that takes far longer for one."""


def _status(name: str) -> int:
    """A figure of this process, in KiB."""
    text = Path("/proc/self/status").read_text()
    return int(text[text.index(name) + len(name) + 1 :].split(maxsplit=1)[0])


def batch(reader: str, seed: int, first: int, last: int, *, megabytes: int) -> dict[str, Any]:
    """What came of some inputs: how many were read and refused, and the findings."""
    total: dict[str, Any] = {"first": first, "read": 0, "refused": 0, "findings": []}
    while first < last:
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder, "in")
            inner.mkdir()
            at = Path(folder, "at")
            command = [
                sys.executable,
                os.path.abspath(__file__),
                "--child",
                reader,
                str(seed),
                str(first),
                str(last),
            ]
            with open(Path(folder, "report"), "w+") as report, open(Path(folder, "died"), "w+") as died:
                process = subprocess.Popen(
                    [*command, str(megabytes)], cwd=inner, stdout=report, stderr=died, env=os.environ
                )
                reached, moved = -1, time.monotonic()
                while process.poll() is None:
                    time.sleep(0.05)
                    now = struct.unpack("<q", at.read_bytes())[0] if at.exists() and at.stat().st_size else -1
                    if now != reached:
                        reached, moved = now, time.monotonic()
                    elif time.monotonic() - moved > 20 * SECONDS + 60:
                        process.kill()
                report.seek(0)
                lines = [json.loads(line) for line in report if line.endswith("\n")]
                died.seek(0)
                last_words = died.read() + Path(folder, "said").read_text(errors="replace")
            reached = struct.unpack("<q", at.read_bytes())[0] if at.exists() and at.stat().st_size else -1
        total["findings"] += [line for line in lines if "index" in line]
        done = next((line for line in lines if "read" in line), None)
        if done:
            total["read"] += done["read"]
            total["refused"] += done["refused"]
            return total
        if reached < first:
            raise SystemExit(f"the child process did not start: {last_words}")
        # It ended at input `reached`; those before it had an answer, which are not told apart here.
        found = {line["index"] for line in total["findings"]}
        total["findings"].append({"index": reached, "problem": f"the process ended ({process.returncode})"})
        total["refused"] += sum(index not in found for index in range(first, reached))
        first = reached + 1
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--reader", choices=SEEDS, action="append", help="which; may be repeated; default all"
    )
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, default=512, metavar="MB", help="that a file may take")
    parser.add_argument("--save", type=Path, default=Path("fuzz"), help="folder of findings and of progress")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        reader, *numbers = options.child
        seed, first, last, megabytes = map(int, numbers)
        child(reader, seed, first, last, megabytes=megabytes)
        return
    if options.inputs < 1:
        parser.error(f"argument --inputs: {options.inputs} is less than 1")
    options.save.mkdir(parents=True, exist_ok=True)
    print(f"{'reader':8}{'inputs':>8}{'read':>8}{'refused':>9}{'findings':>10}", flush=True)
    for reader in options.reader or SEEDS:
        journal = options.save / f"{reader}-{options.seed}.jsonl"
        done = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
        batches = {one["first"]: one for one in done}
        for first in range(0, options.inputs, BATCH):
            last = min(first + BATCH, options.inputs)
            if first in batches and batches[first]["last"] == last:
                continue
            one = batch(reader, options.seed, first, last, megabytes=options.memory) | {"last": last}
            for finding in one["findings"]:
                name = f"{reader}-{options.seed}-{finding['index']}"
                (options.save / name).write_bytes(mutant(reader, options.seed, finding["index"]))
            with journal.open("a") as file:
                file.write(json.dumps(one) + "\n")
            batches[first] = one
        counted = [one for first, one in batches.items() if first < options.inputs]
        read, refused = (sum(one[key] for one in counted) for key in ("read", "refused"))
        findings = sum(len(one["findings"]) for one in counted)
        total = read + refused + findings
        print(f"{reader:8}{total:8}{read:8}{refused:9}{findings:10}", flush=True)


if __name__ == "__main__":
    main()
