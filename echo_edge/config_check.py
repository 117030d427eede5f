"""Everything about a configuration that can be checked before a device is opened."""

from __future__ import annotations

from pathlib import Path

from echo_edge.artifact import load_package
from echo_edge.config import Config
from echo_edge.config_file import load_config, parse_config, read_password
from echo_edge.config_orders import read_operators
from echo_edge.errors import ArtifactError, ConfigError


def check(path: Path, text: str | None = None, credentials_folder: str | None = None) -> Config:
    """Read and check a configuration, its model package, its password file and its operators' keys.

    Args:
        text: what is to be in the file; absent, what is in it.
        credentials_folder: where systemd keeps its credentials; without it they are not looked at.

    Raises:
        ConfigError: every problem that could be found.
    """
    config = load_config(path) if text is None else parse_config(text, path, ordered=True)
    if config.mqtt.password_file is not None or credentials_folder is not None:
        read_password(config.mqtt, credentials_folder)
    read_operators(config.orders if credentials_folder else config.orders.with_keys_at_hand(), credentials_folder)
    try:
        load_package(config.model)
    except ArtifactError as error:
        raise ConfigError([f"{path}: model: {error}"]) from error
    return config
