"""Text that others wrote, file names and what files say, as a person's terminal may be shown it."""

from __future__ import annotations


def visible(line: str) -> str:
    """A line with what a terminal would obey escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def plain(text: object) -> str:
    """Text of a file, or of an error about one, as part of one line: blanks joined, the rest `visible`."""
    return visible(" ".join(str(text).split()))
