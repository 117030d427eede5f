"""The page of faults is whole: every rank is there, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")
RANKS = [str(rank) for rank in range(1, 26)]


def ranks_of(heading: str) -> list[str]:
    """The first cells of the table below a heading, without its head."""
    (section,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| (\d+) \|", section, re.MULTILINE)


def test_every_fault_has_a_promise_with_a_measurement_and_a_test() -> None:
    assert ranks_of("What is promised and what was measured") == RANKS
    assert ranks_of("Which test shows it") == RANKS


def test_every_test_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > len(RANKS)
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"


def test_every_script_named_exists() -> None:
    for script in re.findall(r"`((?:deploy|tests|scripts)/[\w/]+\.(?:sh|py))`", PAGE):
        assert (ROOT / script).exists(), script
