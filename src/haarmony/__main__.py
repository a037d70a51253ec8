"""`python -m haarmony` is the command `haarmony`."""

from __future__ import annotations

from haarmony.cli import main

raise SystemExit(main())
