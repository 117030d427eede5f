"""Configuration of those who read our messages in a form of their own: Home Assistant, and hosts of Sparkplug B."""

from __future__ import annotations

from pydantic import Field

from echo_edge.config_model import Model

NO_WILDCARD = r"^[^+#/\x00-\x1f]{1,100}$"  # what Sparkplug allows in a part of a topic


class HomeAssistantConfig(Model):
    """Tell Home Assistant (2024.11 or newer) which entities there are; each machine becomes a device."""

    enabled: bool = True
    """Off: what was told before is taken back."""

    discovery_prefix: str = Field(default="homeassistant", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")
    """What Home Assistant's discovery topics start with. It says on ``PREFIX/status`` that it has started."""


class SparkplugConfig(Model):
    """Speak Sparkplug B, too, on a connection of its own: this gateway is the edge node, each machine a device.

    Needs ``pip install 'echo-edge[sparkplug]'``.
    """

    group: str = Field(pattern=NO_WILDCARD)
    """Group id, the second part of every topic."""

    primary_host: str | None = Field(default=None, pattern=NO_WILDCARD)
    """Id of the host that must be online before anything is sent; meanwhile changes are kept and sent as historical.
    Absent: nobody is waited for."""
