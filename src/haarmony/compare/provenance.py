"""What a number depends on besides the pictures: the command, the versions, the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from haarmony import __version__, workers

PACKAGES = ("numpy", "scipy", "scikit-image", "onnxruntime", "PyWavelets", "pillow", "array-api-compat")
"""What computes the pictures and the metrics."""


def provenance(arguments: Sequence[str]) -> dict[str, str]:
    """Label → text, for the foot of a report.

    Args:
        arguments: Those of the command `haarmony`.
    """
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return {
        "command": shlex.join(["haarmony", *arguments]),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "haarmony": __version__,
        "packages": f"Python {platform.python_version()}, {packages}",
        "processor": f"{_processor()}, {workers.cores()} cores used",
        "system": platform.platform(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
