"""A form's files, written to disk as they arrive: bounded in all, and with names that lead nowhere.

What a browser calls a file may be a path, or anything else. Of it stays the last part, in characters that
every system takes, so that the ending still says what the file is; files of one name get folders of their
own.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from haarmony.app.problems import ALSO, Refused

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

LONGEST = 120
"""Characters of a name that are kept, counted from its end."""
MOST_FILES = 20_000
MOST_FIELDS = 16
LONGEST_FIELD = 1024
FORBIDDEN = frozenset('<>:"|?*')
"""What Windows has in no name."""


@dataclass
class Upload:
    """What a form held.

    Attributes:
        folder: Where its files lie.
        name: What to call them together: the file's name, or that of the folder that was dropped.
        files: Their paths.
        fields: The other fields.
    """

    folder: Path
    name: str = ""
    files: list[Path] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """What to read: the file, or the folder of several."""
        return self.files[0] if len(self.files) == 1 else self.folder


def safe_name(name: str) -> str:
    """The last part of a name, as a file here may be called."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join("_" if c in FORBIDDEN or not c.isprintable() else c for c in last)
    kept = kept.encode(errors="replace").decode().strip().lstrip(".").rstrip(". ")
    return kept[-LONGEST:].lstrip(".") or "file"


async def receive(
    chunks: AsyncIterator[bytes], content_type: str, folder: Path, *, most: int, declared: int | None = None
) -> Upload:
    """Write the files of a multipart form into a folder.

    Args:
        chunks: The request's body.
        content_type: Its header.
        folder: To be made, with its parent; whatever goes wrong, both are gone again.
        most: Bytes that the body may have.
        declared: Bytes that the request says it has.

    Raises:
        Refused: The body is larger, no such form, or holds no file.
        OSError: The disk is full.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refused("files are sent as multipart/form-data")
    if declared is not None and declared > most:
        raise _too_large(most)
    folder.mkdir(parents=True)
    form = _Form(Upload(folder))
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            parser.write(chunk)
        parser.finalize()
        if not form.ended:
            raise Refused("the upload is incomplete; send it again")
        if not form.upload.files:
            raise Refused("no file was sent")
    except BaseException as error:
        form.close()
        shutil.rmtree(folder.parent, ignore_errors=True)
        if isinstance(error, FormParserError):
            raise Refused("the upload cannot be read; send it again") from error
        raise
    form.upload.name = _together(form.named)
    return form.upload


class _Form:
    """What the parser tells of a form, as it comes."""

    def __init__(self, upload: Upload) -> None:
        self.upload, self.named, self.ended = upload, list[str](), False
        self._header, self._value, self._disposition = b"", b"", b""
        self._field, self._text = "", b""
        self._file: BinaryIO | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.part_begin,
            "on_part_data": self.part_data,
            "on_part_end": self.part_end,
            "on_header_field": self.header_field,
            "on_header_value": self.header_value,
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_finished,
            "on_end": self.end,
        }

    def part_begin(self) -> None:
        self._disposition, self._text, self._field = b"", b"", ""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode(errors="replace")
        if b"filename" not in options:
            if len(self.upload.fields) >= MOST_FIELDS:
                raise Refused("the form has too many fields")
            return
        if self._field != "files":
            raise Refused("files are sent in the field 'files'")
        if len(self.upload.files) >= MOST_FILES:
            raise Refused(f"more than {MOST_FILES} files; send one series")
        self._open(options[b"filename"].decode(errors="replace"))

    def _open(self, named: str) -> None:
        name, number = safe_name(named), len(self.upload.files)
        path = self.upload.folder / name
        try:
            self._file = open(path, "xb")
        except FileExistsError:  # several folders of a scan number their slices alike
            path = self.upload.folder / f"{ALSO}{number}" / name
            path.parent.mkdir()
            self._file = open(path, "xb")
        self.upload.files.append(path)
        self.named.append(named)

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > LONGEST_FIELD:
            raise Refused(f"a field is longer than {LONGEST_FIELD} bytes")

    def part_end(self) -> None:
        if self._file is None:
            self.upload.fields[self._field] = self._text.decode(errors="replace")
        self.close()

    def end(self) -> None:
        self.ended = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _too_large(most: int) -> Refused:
    return Refused(f"the upload is larger than {most / 2**20:.7g} MiB; crop it, or send one series", 413)


def _together(named: list[str]) -> str:
    """What a person calls the files: one by its name, several by the folder that they came in."""
    if len(named) == 1:
        return safe_name(named[0])
    tops = {name.replace("\\", "/").lstrip("/").partition("/")[0] for name in named}
    inside = all("/" in name.replace("\\", "/").strip("/") for name in named)
    return safe_name(tops.pop()) if len(tops) == 1 and inside else f"{len(named)} files"
