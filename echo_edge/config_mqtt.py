"""Configuration of the link to the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from echo_edge.config_ecosystems import HomeAssistantConfig, SparkplugConfig
from echo_edge.config_model import Model, existing
from echo_edge.loopback import is_loopback


class TlsConfig(Model):
    """Encryption of the link to the broker (TLS 1.2 or newer)."""

    ca_file: Path
    """Certificate of the authority that signed the broker's certificate."""

    client_cert_file: Path | None = None
    """Our own certificate, where the broker asks for one."""

    client_key_file: Path | None = None
    """Its private key."""

    @field_validator("ca_file", "client_cert_file", "client_key_file")
    @classmethod
    def _exists(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else existing(value, info)


class MqttConfig(Model):
    """The broker that alerts go to."""

    host: str = "127.0.0.1"
    """Name or address of the broker."""

    port: int = Field(default=1883, ge=1, le=65535)
    """TCP port; 8883 is usual with TLS."""

    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version. With 3.1.1 a broker cannot say that it refused a message: choose it only for a broker without 5."""

    base_topic: str = Field(default="echo-edge/v1", pattern=r"^[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*$")
    """What every topic starts with; the gateway's id follows."""

    username: str | None = None
    """User name at the broker."""

    password_file: Path | None = None
    """File whose first line is the password; readable by the service's user only."""

    password_credential: str | None = None
    """Name of a systemd credential that holds the password (``LoadCredential=``)."""

    tls: TlsConfig | None = None
    """Absent: no encryption, which is refused for any host but this one."""

    allow_plaintext: bool = False
    """Send passwords and alerts unencrypted to another host; only for a network that you trust."""

    keepalive_s: int = Field(default=15, ge=5, le=600)
    """A broker that is silent for twice as long counts as lost."""

    no_subscriber: Literal["hold", "accept"] = "hold"
    """What becomes of an alert that the broker has nobody to give to: ``hold`` keeps it and tries again every minute,
    ``accept`` counts it as delivered, for plants that only look at retained states. Needs MQTT 5."""

    state_interval_s: float = Field(default=10.0, ge=0.1, le=3600)
    """A point's state is told at once when its level changes, else no more often than this."""

    score_stream: bool = False
    """Publish the score of every window on a topic of its own, not retained: for commissioning and plots."""

    homeassistant: HomeAssistantConfig | None = None
    """Absent: Home Assistant is told nothing."""

    sparkplug: SparkplugConfig | None = None
    """Absent: no Sparkplug B."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value  # YAML reads an unquoted 5 as a number

    @field_validator("password_file")
    @classmethod
    def _exists(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else existing(value, info)

    @model_validator(mode="after")
    def _secrets_are_whole_and_stay_at_home(self) -> MqttConfig:
        if self.tls is None and not self.allow_plaintext and not is_loopback(self.host):
            raise ValueError(
                f"'{self.host}' is another host and there is no 'tls' section; add one, "
                "or say 'allow_plaintext: true' for a network that you trust"
            )
        has_password = self.password_file is not None or self.password_credential is not None
        if has_password != (self.username is not None):
            raise ValueError("'username' and a password ('password_file' or 'password_credential') go together")
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("give 'password_file' or 'password_credential', not both")
        return self
