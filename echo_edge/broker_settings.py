"""What the configuration says of the broker, as the connection needs it: with the password, from wherever it lies."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from echo_edge.config_file import read_password
from echo_edge.config_mqtt import MqttConfig
from echo_edge.credentials import credential_file
from echo_edge.mqtt import MqttSettings


def broker_settings(mqtt: MqttConfig, credentials_folder: str | None) -> MqttSettings:
    """Read the password and put everything together.

    Raises:
        ConfigError: the password cannot be read, or others could read it, too.
    """
    password = read_password(mqtt, credentials_folder)
    source = mqtt.password_file or f"credential {mqtt.password_credential}"
    return MqttSettings(
        host=mqtt.host,
        port=mqtt.port,
        protocol=mqtt.protocol,
        username=mqtt.username,
        password=None if password is None else SecretStr(password),
        password_source=str(source),
        ca_file=mqtt.tls.ca_file if mqtt.tls else None,
        client_cert=mqtt.tls.client_cert_file if mqtt.tls else None,
        client_key=mqtt.tls.client_key_file if mqtt.tls else None,
        password_file=mqtt.password_file or _credential(mqtt, credentials_folder),
        allow_plaintext=mqtt.allow_plaintext,
        keepalive_s=mqtt.keepalive_s,
    )


def _credential(mqtt: MqttConfig, credentials_folder: str | None) -> Path | None:
    if mqtt.password_credential is None or credentials_folder is None:
        return None
    return credential_file(credentials_folder, mqtt.password_credential)
