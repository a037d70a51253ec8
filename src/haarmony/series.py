"""Fuse two sources of which one at least is DICOM, into one file or a derived DICOM series.

What is around the fusing itself: which series of a folder is meant, the window of a CT, where the result goes
and what it says of its sources. An output file says nothing of the patient; a series where asked to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from haarmony.io import Picture, Volume, check_target, read, write_bytes
from haarmony.io.dicom import Series, find_series, is_dicom, window_range
from haarmony.io.dicom_writer import check_folder, write_dicom
from haarmony.io.guards import plain
from haarmony.jobs import SUFFIXES, Fused, Fusing, Range, check_apart, explaining, fitting, transform_of
from haarmony.jobs.fusing import behind
from haarmony.jobs.placing import is_former, left_beside


def concerns(a: Path, b: Path) -> bool:
    """Whether a source is DICOM: a file of it, or a folder of such files.

    Two folders that both hold pictures or volumes pair up by their stems, whatever else is in one of them.

    Raises:
        ValueError: Both hold DICOM, too, so that either could be meant.
    """
    dicom = is_dicom(a), is_dicom(b)
    named = _pairable(a), _pairable(b)
    if not all(named):
        return any(dicom)
    if all(dicom):
        raise ValueError(f"{a} and {b}: hold DICOM and also {named[0]} and {named[1]}; keep one kind in each")
    return False


def _pairable(folder: Path) -> str:
    """The first file of a folder that would be one of a pair, if there is one."""
    if not folder.is_dir():
        return ""
    names = (path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return min((name for name in names if name.lower().endswith(SUFFIXES)), default="")


def fuse_series(
    a: Path,
    b: Path,
    out: Path,
    fuse: Fusing,
    *,
    series: tuple[str | None, str | None] = (None, None),
    window: str | None = None,
    as_dicom: bool = False,
    keep_identity: bool = False,
    overwrite: bool = False,
    explain: Path | None = None,
) -> Fused:
    """Read two sources, fuse them and write the result, whole or not at all.

    Args:
        a: First source: a DICOM file or folder, or a file that `haarmony.io.read` takes for a volume.
        b: Second source.
        out: A folder for a series; else a NIfTI file, or for one slice a picture.
        fuse: Makes the result.
        series: Number or UID of each source's series, where its folder holds several.
        window: Of the sources that are CT and whose range `fuse` does not set, as in
            `haarmony.io.dicom.read_dicom`.
        as_dicom: Write a derived series.
        keep_identity: Its patient and study are those of the first DICOM source.
        overwrite: Replace `out`, and a former explanation.
        explain: The folder for an explanation, with a `fuse` that explains. Sources that are DICOM are not
            named in it: their names may be a patient's.

    Raises:
        ValueError: A source cannot be read, an option is of no use, or the two cannot be fused.
        OSError: A file cannot be read or written.
    """
    check_apart(a, b, out, folder=as_dicom)
    if as_dicom:
        check_folder(out, overwrite=overwrite)
    elif out.is_dir() or not out.suffix:
        raise ValueError(f"{out}: is no file's name; add --format dicom for a series, or end it in .nii.gz")
    else:
        check_target(out)
        if os.path.lexists(out) and not overwrite:
            raise FileExistsError(f"{out}: exists already; --overwrite replaces it")
    if keep_identity and not as_dicom:
        raise ValueError(f"{out}: only a DICOM series keeps identity; add --format dicom")
    found = [_found(path, wanted) for path, wanted in zip((a, b), series, strict=True)]
    if window is not None:
        window_range(window)
        scans = [source is not None and source.about.modality == "CT" for source in found]
        if not any(scans):
            neither = f"neither {_named(a, found[0])} nor {_named(b, found[1])} is a DICOM CT"
            raise ValueError(f"--window {window}: {neither}")
        if not any(ct and chosen is None for ct, chosen in zip(scans, fuse.ranges, strict=True)):
            raise ValueError(f"--window {window}: the CT's value range is given, too; give one of them")
    try:
        volumes = [
            _volume(path, source, window, chosen)
            for path, source, chosen in zip((a, b), found, fuse.ranges, strict=True)
        ]
        try:
            if not as_dicom:
                fuse.check_fit(out, volumes[0])
            moved, transform, note, problem = fuse.align(volumes[0], volumes[1])
            names = [None if source else path.name for path, source in zip((a, b), found, strict=True)]
            explanation = fuse.explain(volumes[0], moved, sources=(names[0], names[1]))
            fused = fuse(volumes[0], moved) if explanation is None else explanation.fused
        except ValueError as error:
            raise ValueError(f"{_named(a, found[0])} with {_named(b, found[1])}: {error}") from error
    except MemoryError:
        raise ValueError(f"{a} with {b}: not enough memory for their size") from None
    told = ((a, volumes[0]), (b, volumes[1]), (out, fused))
    notes = [f"{path}: {note}" for path, volume in told for note in volume.notes]
    result = fused if as_dicom else fitting(out, fused)
    done = Fused(
        result,
        (*notes, *behind(b, note)),
        (volumes[0].value_range, volumes[1].value_range),
        transform,
        explaining.problems(b, problem, out, explanation),
        explaining.fitted(explanation, result),
    )
    with explaining.placing(explain, explaining.encoded(done.explanation), overwrite=overwrite):
        if not as_dicom:
            return done.write(out, overwrite=overwrite)
        second = found[1]
        if transform is not None and second is not None:
            second = replace(second, affine=moved.affine)
        return _write_series(
            done,
            out,
            [found[0], second],
            description=fuse.described(),
            keep_identity=keep_identity,
            overwrite=overwrite,
        )


def _write_series(
    done: Fused,
    out: Path,
    references: Sequence[Series | None],
    *,
    description: str,
    keep_identity: bool,
    overwrite: bool,
) -> Fused:
    """`Fused.write`, as a derived series."""
    if done.transform is not None:
        description += f", second source moved {done.transform.moved()}"
    assert isinstance(done.result, Volume)
    former = b""

    def forget() -> None:  # before the series comes, so that it never stands beside one that it is not of
        nonlocal former
        if overwrite and is_former(transform_of(out), out):
            former = transform_of(out).read_bytes()
            transform_of(out).unlink()

    try:
        write_dicom(
            out,
            done.result,
            references=references,
            description=description,
            keep_identity=keep_identity,
            overwrite=overwrite,
            ready=forget,
        )
    except BaseException:
        if former and not os.path.lexists(transform_of(out)):
            write_bytes(transform_of(out), former)
        raise
    if done.transform is None:
        return replace(done, notes=(*done.notes, *left_beside(out)))
    done.transform.save(transform_of(out))
    return done


def _found(path: Path, wanted: str | None) -> Series | None:
    if is_dicom(path):
        return find_series(path, series=wanted)
    if wanted is not None:
        raise ValueError(f"{path}: is no DICOM, so there is no series {wanted!r} to choose")
    return None


def _named(path: Path, source: Series | None) -> str:
    """A source in a message: with its series where it is a folder, which both sources may lie in."""
    return f"{path} (series {plain(source.about.number)})" if source and path.is_dir() else str(path)


def _volume(path: Path, source: Series | None, window: str | None, value_range: Range | None) -> Volume:
    if source is not None:
        windowed = source.about.modality == "CT" and value_range is None
        return source.read(window=window if windowed else None, value_range=value_range)
    volume = read(path, value_range=value_range)
    if isinstance(volume, Picture):
        raise ValueError(f"{path}: is a picture, which has no place beside a DICOM series; give a volume")
    return volume
