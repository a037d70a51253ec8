"""Digests: equal for equal things, different for whatever differs."""

from __future__ import annotations

import hashlib

import numpy as np

import haarmony.classical
import haarmony.metrics
from haarmony.digests import digest, digest_code, digest_file


def test_a_digest_is_sha_256_of_lengths_and_parts():
    data = b"2:ab:" + b"9:uint8(2,):" + bytes([1, 2])
    assert digest("ab", np.array([1, 2], np.uint8)) == hashlib.sha256(data).hexdigest()[:32]


def test_types_shapes_and_borders_count():
    x = np.arange(4, dtype=np.uint8)
    parts = [(x,), (x.reshape(2, 2),), (x.view(np.int8),), (x[::-1],), ("ab",), ("a", "b"), ("", "ab"), ()]
    assert len({digest(*part) for part in parts}) == len(parts)
    assert digest(x) == digest(np.arange(8, dtype=np.uint8)[:4])


def test_a_file_is_its_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert digest_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223"  # FIPS 180-4's example
    assert digest_file(tmp_path / "g") == digest_file(tmp_path) == ""


def test_code_is_the_text_of_its_modules(tmp_path, monkeypatch):
    both = digest_code(haarmony.classical, haarmony.metrics)
    assert both == digest_code(haarmony.classical, haarmony.metrics)
    assert both != digest_code(haarmony.metrics)
    package = type(haarmony)("package")
    package.__file__ = str(tmp_path / "__init__.py")
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "a.py").write_text("x = 1\n")
    before = digest_code.__wrapped__(package)
    assert before == digest("", "x = 1\n")
    (tmp_path / "a.py").write_text("x = 2\n")
    assert digest_code.__wrapped__(package) != before
