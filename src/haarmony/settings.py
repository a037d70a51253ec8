"""TOML files (recipes, model cards) to and from the models that declare their keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from haarmony.io import check_regular, replacing
from haarmony.text import plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Settings = TypeVar("Settings", bound=BaseModel)

LARGEST = 2**20
"""Bytes of a file that is read."""


def load(path: Path, kind: type[Settings]) -> Settings:
    """Read `path` as a `kind`.

    Raises:
        ValueError: It is longer than `LARGEST`, not TOML, lacks a key, has an unknown one or one out of
            range.
        OSError: It cannot be read.
    """
    check_regular(path, most=LARGEST)
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")  # it may hold an array
        raise ValueError(f"{path}: {plain((key + ': ' if key else '') + problem)}") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of 5000 digits; [[[[…
        raise ValueError(f"{path}: not readable as TOML ({plain(error)})") from None


def dump(path: Path, content: BaseModel) -> None:
    """Write `content` as TOML that `load` reads back, whole or not at all; needs the extra `train`."""
    import tomli_w

    text = tomli_w.dumps(content.model_dump(mode="json", exclude_none=True))
    with replacing(path) as file:
        file.write(text.encode())
