"""Configuration of the page that Prometheus reads; off unless it is there."""

from __future__ import annotations

from pydantic import Field, model_validator

from echo_edge.config_model import Model
from echo_edge.loopback import is_loopback


class MetricsConfig(Model):
    """Tell Prometheus how the gateway is: ``http://HOST:PORT/metrics``, read only, without a password."""

    port: int = Field(default=9464, ge=1, le=65535)
    """TCP port to listen on."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    allow_network: bool = False
    """Listen on another address than loopback. Whoever reaches it reads the names of machines and how they are, without
    encryption: only for a network that you trust."""

    @model_validator(mode="after")
    def _stays_at_home(self) -> MetricsConfig:
        if not self.allow_network and not is_loopback(self.host):
            raise ValueError(
                f"'{self.host}' is more than this host; listen on 127.0.0.1, "
                "or say 'allow_network: true' for a network that you trust"
            )
        return self
