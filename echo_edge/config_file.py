"""Read a configuration file: YAML -> models, with every problem named by file, line and key in one go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from echo_edge.config import (
    AdaptationConfig,
    AlertConfig,
    Config,
    EngineConfig,
    GatewayConfig,
    HistoryConfig,
    MachineConfig,
    OutboxConfig,
    PointConfig,
    WindowConfig,
    suggest,
)
from echo_edge.config_clips import ClipsConfig
from echo_edge.config_devices import DEVICE_KINDS, CalibrationConfig, RecordingConfig
from echo_edge.config_machine import BearingConfig
from echo_edge.config_model import ID_PATTERN, Model
from echo_edge.config_mqtt import MqttConfig, TlsConfig
from echo_edge.config_orders import OperatorConfig, OrdersConfig
from echo_edge.config_states import OperatingStateConfig
from echo_edge.credentials import credential
from echo_edge.errors import ConfigError

MAX_PASSWORD = 4096  # characters that are read of its file
NO_VALUE = (yaml.YAMLError, RecursionError, ValueError, KeyError, TypeError)
"""What PyYAML raises where it can make no value of a text; the last three for such as 2026-13-45 or !!bool maybe."""


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: every problem in one go, each as ``file:line: key: what is wrong``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except PermissionError as error:
        why = "this user may not read it; use sudo, or join the group that may (of a service: echo-edge)"
        raise ConfigError([f"{path}: {why}"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}"]) from error
    return parse_config(text, path)


def parse_config(text: str, path: Path, *, ordered: bool = False) -> Config:
    """Check the text of a configuration that is, or is to be, in this file; raises as ``load_config``.

    Args:
        ordered: it came from elsewhere: without aliases, by which a few lines can stand for millions.
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
        raise ConfigError([f"{path}:1: is empty or not a mapping; start with 'gateway:', 'devices:', 'machines:'"])
    repeated = _repeated(root, set())
    problems = [f"{path}:{line}: {key}: is there twice; ids and keys must be unique" for line, key in repeated]
    try:
        told = yaml.safe_load(text)
    except NO_VALUE as error:
        raise ConfigError([*problems, f"{path}: is not valid YAML: {error}"]) from error
    try:
        config = Config.model_validate(told, context={"folder": path.parent})
    except ValidationError as error:
        problems += [_problem(path, root, details) for details in error.errors()]
    if problems:
        raise ConfigError(problems)
    return config


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


def _problem(path: Path, root: yaml.Node, details: Any) -> str:
    """One line of ours for one error of pydantic's."""
    loc = list(details["loc"])
    if loc[:1] == ["devices"] and len(loc) > 2 and loc[2] in DEVICE_KINDS:
        del loc[2]  # the tag of a discriminated union stands in the location, but not in the file
    message = details["msg"].removeprefix("Value error, ")
    if not loc and message.startswith("machines."):  # a check across sections names its key itself
        named, _, message = message.partition(": ")
        loc = list(named.split("."))
    key, line = _locate(root, loc)
    if details["type"] == "extra_forbidden":
        message = f"unknown key{suggest(str(loc[-1]), _known_keys(details['loc']))}"
    elif details["type"] == "missing":
        message = "is missing"
    elif details["type"] == "union_tag_invalid":
        message = f"there is no kind '{details['ctx']['tag']}'{suggest(details['ctx']['tag'], DEVICE_KINDS)}"
    elif details["type"] == "too_short":
        message = "is empty; at least one is needed"
    elif "input" in details and not isinstance(details["input"], dict | list) and details["type"] != "value_error":
        message = f"{message}, not {details['input']!r}"
    if details["type"] == "string_pattern_mismatch" and ID_PATTERN in message:
        message = f"'{details['input']}' is not an id: use up to 48 lower-case letters, digits, '-' and '_'"
    return f"{path}:{line}: {key}: {message}" if key else f"{path}:{line}: {message}"


def _locate(node: yaml.Node, loc: list[Any]) -> tuple[str, int]:
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


_SECTIONS: dict[str, type[Model]] = {
    "gateway": GatewayConfig,
    "history": HistoryConfig,
    "clips": ClipsConfig,
    "outbox": OutboxConfig,
    "engine": EngineConfig,
    "mqtt": MqttConfig,
    "tls": TlsConfig,
    "orders": OrdersConfig,
    "operators": OperatorConfig,
    "calibration": CalibrationConfig,
    "files": RecordingConfig,
    "window": WindowConfig,
    "alert": AlertConfig,
    "operating_state": OperatingStateConfig,
    "bearing": BearingConfig,
    "adaptation": AdaptationConfig,
    "points": PointConfig,
    "machines": MachineConfig,
    **DEVICE_KINDS,
}


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    """The keys that the section holding ``loc`` knows."""
    for part in reversed(loc[:-1]):
        if part in _SECTIONS:
            return list(_SECTIONS[part].model_fields)
    return list(Config.model_fields)


def read_password(mqtt: MqttConfig, credentials_folder: str | None) -> str | None:
    """The broker password from its file or systemd credential; None when there is none.

    Raises:
        ConfigError: it cannot be read, or others could read it too.
    """
    if mqtt.password_credential is not None:
        path = credential(credentials_folder, mqtt.password_credential, "mqtt.password_credential")
    elif mqtt.password_file is not None:
        path = mqtt.password_file
    else:
        return None
    try:
        if mqtt.password_file is not None and path.stat().st_mode & 0o077:
            raise ConfigError([f"mqtt.password_file: {path} can be read by others; chmod 600 {path}"])
        with path.open(encoding="utf-8") as file:
            lines = file.read(MAX_PASSWORD).splitlines()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: holds no password: it is not UTF-8 text"]) from error
    if not lines or not re.search(r"\S", lines[0]):
        raise ConfigError([f"{path}: holds no password in its first line"])
    return lines[0]
