"""What the commands of both long measurements share: their options, and how results are written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def parser_of(about: str | None, quick: str) -> argparse.ArgumentParser:
    """A parser with the options that both have; ``quick`` says what the quick form is."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, help="invented machines (default: 16)")
    parser.add_argument("--which", type=int, nargs="+", help="numbers of the machines, instead of the first so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/operation"), help="folder for what was heard")
    parser.add_argument("--data", type=Path, help="folder of real recordings (cwru, bldc_motor_mic, audio)")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the report")
    return parser


def plan_of(arguments: argparse.Namespace, size: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan of a measurement is made of: its usual size, but for what was asked for."""
    given = {name: getattr(arguments, name) for name in size if getattr(arguments, name) is not None}
    whole = {**size, **given}
    machines = tuple(arguments.which or range(whole["machines"]))
    return {**whole, "machines": machines, "jobs": arguments.jobs}


def machines_of(plan: Mapping[str, Any]) -> str:
    """The option that names a plan's machines."""
    numbers = list(plan["machines"])
    first_so_many = numbers == list(range(len(numbers)))
    return f"--machines {len(numbers)}" if first_so_many else f"--which {' '.join(map(str, numbers))}"


def write(
    name: str,
    result: dict[str, Any],
    folder: Path,
    draw: Callable[[dict[str, Any], Path], bool],
    markdown: Callable[[dict[str, Any], str | None], str],
) -> str:
    """Write JSON, picture and Markdown, and return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    picture = f"{name}.png" if draw(result, folder / f"{name}.png") else None
    text = markdown(result, picture)
    (folder / f"{name}.md").write_text(text)
    return text
