"""Read a configuration file: YAML -> models, with every problem named by file, line and key in one go."""

from __future__ import annotations

import re
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
)
from echo_edge.config_clips import ClipsConfig
from echo_edge.config_devices import DEVICE_KINDS, CalibrationConfig, RecordingConfig
from echo_edge.config_machine import BearingConfig
from echo_edge.config_model import Model
from echo_edge.config_mqtt import MqttConfig, TlsConfig
from echo_edge.config_orders import OperatorConfig, OrdersConfig
from echo_edge.config_states import OperatingStateConfig
from echo_edge.config_yaml import problem, read_mapping, read_text, suggest
from echo_edge.credentials import credential
from echo_edge.errors import ConfigError

MAX_PASSWORD = 4096  # characters that are read of its file


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: every problem in one go, each as ``file:line: key: what is wrong``.
    """
    return parse_config(read_text(path), path)


def parse_config(text: str, path: Path, *, ordered: bool = False) -> Config:
    """Check the text of a configuration that is, or is to be, in this file; raises as ``load_config``.

    Args:
        ordered: it came from elsewhere: without aliases, by which a few lines can stand for millions.
    """
    root, told, problems = read_mapping(text, path, "'gateway:', 'devices:', 'machines:'", ordered=ordered)
    try:
        config = Config.model_validate(told, context={"folder": path.parent})
    except ValidationError as error:
        problems += [_problem(path, root, details) for details in error.errors()]
    if problems:
        raise ConfigError(problems)
    return config


def _problem(path: Path, root: yaml.Node, details: Any) -> str:
    """One line of ours for one error of pydantic's."""
    loc = list(details["loc"])
    known = _known_keys(details["loc"])
    if loc[:1] == ["devices"] and len(loc) > 2 and loc[2] in DEVICE_KINDS:
        del loc[2]  # the tag of a discriminated union stands in the location, but not in the file
    message = details["msg"].removeprefix("Value error, ")
    if not loc and message.startswith("machines."):  # a check across sections names its key itself
        named, _, message = message.partition(": ")
        loc = named.split(".")
    elif details["type"] == "union_tag_invalid":
        message = f"there is no kind '{details['ctx']['tag']}'{suggest(details['ctx']['tag'], DEVICE_KINDS)}"
        details = {"type": "value_error"}
    return problem(path, root, {**details, "loc": loc, "msg": message}, known)


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
