"""Hashes that say whether what was once computed still holds: of its inputs, of files, of the code."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np


def digest(*parts: str | np.ndarray) -> str:
    """Hash of texts and arrays, their shapes and types included: 32 hexadecimal digits of SHA-256."""
    sha = hashlib.sha256()
    for part in parts:
        head, data = (part, b"") if isinstance(part, str) else (f"{part.dtype}{part.shape}", part.tobytes())
        sha.update(f"{len(head)}:{head}:".encode() + data)
    return sha.hexdigest()[:32]


def digest_file(path: Path) -> str:
    """Hash of a file's bytes, or "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32] if path.is_file() else ""


@cache
def digest_code(*packages: ModuleType) -> str:
    """Hash of the modules of packages: what a mended fuser or metric made is to be made again."""
    folders = (Path(str(package.__file__)).parent for package in packages)
    files = (file for folder in folders for file in sorted(folder.glob("*.py")))
    return digest(*(file.read_text(encoding="utf-8") for file in files))
