"""A small udev: reads a rules file and says what it does to a device. Where there is no udev to ask, and no device."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

TERM = re.compile(r'\s*(?P<key>[A-Z]+)(?:\{(?P<name>[^}]+)\})?\s*(?P<op>==|!=|\+=|=)\s*"(?P<value>[^"]*)"\s*(?:,|$)')
ALLOWED = {  # of udev(7), what this project uses: key -> operators, and whether it takes a {name}
    **dict.fromkeys(("ACTION", "SUBSYSTEM", "SUBSYSTEMS"), ({"==", "!="}, False)),
    "ATTRS": ({"==", "!="}, True),
    "ATTR": ({"==", "!=", "="}, True),
    "ENV": ({"==", "!=", "="}, True),
    "TEST": ({"==", "!="}, False),
    **dict.fromkeys(("GROUP", "MODE", "GOTO", "LABEL"), ({"="}, False)),
    "SYMLINK": ({"+="}, False),
}


@dataclass
class Device:
    """What a rule may ask of a device, and what the rules made of it."""

    subsystem: str
    env: dict[str, str] = field(default_factory=dict)
    attr: dict[str, str] = field(default_factory=dict)
    """Its own files in sysfs."""

    parents: list[dict[str, str]] = field(default_factory=list)
    """The files of each device above it; ``subsystem`` is one of them."""

    action: str = "add"
    group: str = ""
    mode: str = ""
    links: list[str] = field(default_factory=list)


class Rules:
    """The lines of one file.

    Raises:
        ValueError: a line that udev would not take; it is quoted.
    """

    def __init__(self, path: Path) -> None:
        self._lines: list[list[tuple[str, str, str, str]]] = []
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if line.strip() and not line.startswith("#"):
                self._lines.append(_terms(line, f"{path.name}:{number}: {line!r}"))
        labels = [value for line in self._lines for key, _, _, value in line if key == "LABEL"]
        wanted = {value for line in self._lines for key, _, _, value in line if key == "GOTO"}
        if sorted(labels) != sorted(wanted):
            raise ValueError(f"{path.name}: LABELs are {labels}, GOTOs lead to {sorted(wanted)}")

    def apply(self, device: Device) -> Device:
        """Carry out the rules on a device, as udev would when it comes; returns the same."""
        skip_to = None
        for line in self._lines:
            if skip_to is not None and ("LABEL", "", "=", skip_to) not in line:
                continue
            skip_to = None
            if _matches(line, device):
                skip_to = _assign(line, device)
        return device


def _terms(line: str, where: str) -> list[tuple[str, str, str, str]]:
    terms, at = [], 0
    while at < len(line):
        match = TERM.match(line, at)
        if match is None:
            raise ValueError(f"{where}: cannot be read from column {at + 1}")
        key, name, operator, value = match.group("key", "name", "op", "value")
        operators, named = ALLOWED.get(key, (set(), False))
        if operator not in operators or named != (name is not None):
            raise ValueError(f"{where}: {match[0]!r} is nothing that udev knows")
        terms.append((key, name or "", operator, value))
        at = match.end()
    return terms


def _matches(line: list[tuple[str, str, str, str]], device: Device) -> bool:
    own = {"subsystem": device.subsystem, **device.attr}
    facts = {"ACTION": device.action, "SUBSYSTEM": device.subsystem}
    upward = []  # terms that one and the same device, this or one above it, must fulfil together
    for key, name, operator, value in line:
        if operator not in {"==", "!="}:
            continue
        if key in {"SUBSYSTEMS", "ATTRS"}:
            upward.append(("subsystem" if key == "SUBSYSTEMS" else name, value, operator))
            continue
        if key == "TEST":
            found = value in device.attr
        else:
            told = facts.get(key, (device.env if key == "ENV" else device.attr).get(name, ""))
            found = _fits(told, value)
        if found != (operator == "=="):
            return False
    return any(
        all(_fits(there.get(name, ""), value) == (operator == "==") for name, value, operator in upward)
        for there in (own, *device.parents)
    )


def _fits(told: str, patterns: str) -> bool:
    return any(fnmatchcase(told, pattern) for pattern in patterns.split("|"))


def _assign(line: list[tuple[str, str, str, str]], device: Device) -> str | None:
    """Returns the label to go to."""
    goto = None
    for key, name, operator, text in line:
        value = re.sub(r"\$env\{(\w+)\}", lambda match: device.env.get(match[1], ""), text)
        if key == "GOTO":
            goto = value
        elif key == "SYMLINK":
            device.links.append(value)
        elif key == "GROUP":
            device.group = value
        elif key == "MODE":
            device.mode = value
        elif operator == "=" and key in {"ENV", "ATTR"}:
            (device.env if key == "ENV" else device.attr)[name] = value
    return goto
