"""Fixtures that every test may use; shapes in signatures are checked by beartype here and nowhere else."""

import signal
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("haarmony", "beartype.beartype")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored, children too
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of real pairs and reference values that lies beside a development checkout."""
    if not SHARED.is_dir():
        pytest.skip("real pairs and reference values (../shared) are not here")
    return SHARED
