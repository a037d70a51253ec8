"""Multi-modality image fusion with diffusion models.

Two aligned pictures of the same thing from different instruments go in; the one picture that keeps what each
shows comes out::

    from haarmony import Fuser, read, write
    fuser = Fuser("medical")
    write("fused.png", fuser(read("mri.png"), read("pet.png")))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Fuser", "Picture", "Volume", "__version__", "fuse", "read", "write"]

if TYPE_CHECKING:
    from haarmony.fuser import Fuser, fuse
    from haarmony.io import Picture, Volume, read, write

_HOME = {"Fuser": "fuser", "fuse": "fuser", "Picture": "io", "Volume": "io", "read": "io", "write": "io"}


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `import haarmony` and `haarmony --version` cost nothing.
    if name not in _HOME:
        raise AttributeError(f"module 'haarmony' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"haarmony.{_HOME[name]}"), name)
