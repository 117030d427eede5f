"""YAML read strictly: text -> mapping with the line of every key, and each error of pydantic as a line of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from echo_edge.config_model import ID_PATTERN
from echo_edge.errors import ConfigError

NO_VALUE = (yaml.YAMLError, RecursionError, ValueError, KeyError, TypeError)
"""What PyYAML raises where it can make no value of a text; the last three for such as 2026-13-45 or !!bool maybe."""


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: why it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except PermissionError as error:
        why = "this user may not read it; use sudo, or join the group that may (of a service: echo-edge)"
        raise ConfigError([f"{path}: {why}"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}"]) from error


def read_mapping(text: str, path: Path, starts_with: str, *, ordered: bool) -> tuple[yaml.Node, Any, list[str]]:
    """The tree of a text, what it says, and a line for each key that stands twice.

    Args:
        starts_with: what an empty file should start with.
        ordered: the text came from elsewhere: without aliases, by which a few lines can stand for millions.

    Raises:
        ConfigError: it is no YAML, or no mapping.
    """
    try:
        if ordered and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError([f"{path}: aliases ('*name') are for files only; write out what they stand for"])
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError([f"{path}:{line}: is not valid YAML: {error.problem}"]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{path}: is not valid YAML: {error}"]) from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError([f"{path}:1: is empty or not a mapping; start with {starts_with}"])
    repeated = _repeated(root, set())
    problems = [f"{path}:{line}: {key}: is there twice; ids and keys must be unique" for line, key in repeated]
    try:
        return root, yaml.safe_load(text), problems
    except NO_VALUE as error:
        raise ConfigError([*problems, f"{path}: is not valid YAML: {error}"]) from error


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known are: {', '.join(sorted(known))}"


def problem(path: Path, root: yaml.Node, details: Any, known: Iterable[str]) -> str:
    """One line of ours for one error of pydantic's.

    Args:
        known: the keys of the section that the error lies in.
    """
    message = details["msg"].removeprefix("Value error, ")
    key, line = _locate(root, details["loc"])
    if details["type"] == "extra_forbidden":
        message = f"unknown key{suggest(str(details['loc'][-1]), known)}"
    elif details["type"] == "missing":
        message = "is missing"
    elif details["type"] == "too_short":
        message = "is empty; at least one is needed"
    elif "input" in details and not isinstance(details["input"], dict | list) and details["type"] != "value_error":
        message = f"{message}, not {details['input']!r}"
    if details["type"] == "string_pattern_mismatch" and ID_PATTERN in message:
        message = f"'{details['input']}' is not an id: use up to 48 lower-case letters, digits, '-' and '_'"
    return f"{path}:{line}: {key}: {message}" if key else f"{path}:{line}: {message}"


def _repeated(node: yaml.Node, looked_at: set[int], prefix: str = "") -> Iterator[tuple[int, str]]:
    """Keys that stand twice in one mapping, which YAML would settle silently by taking the last."""
    if id(node) in looked_at:
        return  # an alias: a few lines of them can stand for billions of nodes
    looked_at.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # a list or a mapping, which no key of ours is
            full = f"{prefix}{key.value}"
            if key.value in seen:
                yield key.start_mark.line + 1, full
            seen.add(key.value)
            yield from _repeated(value, looked_at, f"{full}.")
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield from _repeated(value, looked_at, f"{prefix[:-1]}[{i}].")


def _locate(node: yaml.Node, loc: Iterable[Any]) -> tuple[str, int]:
    """Follow an error's location through the YAML tree as far as it goes; return the dotted key and its line."""
    key, line = "", node.start_mark.line + 1
    for part in loc:
        if part == "[key]":
            continue
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
        if isinstance(node, yaml.MappingNode):
            for key_node, value in node.value:
                if key_node.value == str(part):
                    line, node = key_node.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return key, line
