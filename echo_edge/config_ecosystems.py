"""Configuration of those who read our messages in a form of their own: Home Assistant, and hosts of Sparkplug B."""

from __future__ import annotations

from pydantic import Field, field_validator

from echo_edge.config_model import Model

SPARKPLUG_PART = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$"  # of a topic


class HomeAssistantConfig(Model):
    """Tell Home Assistant (2024.11 or newer) which entities there are; each machine becomes a device."""

    enabled: bool = True
    """Off: what was told before is taken back."""

    discovery_prefix: str = Field(default="homeassistant", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")
    """What Home Assistant's discovery topics start with. It says on ``PREFIX/status`` that it has started."""


class SparkplugConfig(Model):
    """Tells Ignition and other SCADA systems the same in Sparkplug B, over a connection of its own.

    Needs the extra ``sparkplug``.
    """

    group: str = Field(pattern=SPARKPLUG_PART)
    """The Sparkplug group that the gateway belongs to, such as a site."""

    primary_host: str | None = Field(default=None, pattern=SPARKPLUG_PART)
    """Id of the host that must be there: without it, changes are kept until it is back. Absent: any host will do."""

    @field_validator("group")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if value == "STATE":
            raise ValueError("'STATE' stands for hosts in Sparkplug's topics; choose another group")
        return value
