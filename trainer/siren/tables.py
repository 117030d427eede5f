"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

DASH = "-"


def header(cells: Sequence[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [row(cells), "|" + "---|" * len(cells)]


def row(cells: Sequence[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cells) + " |"
