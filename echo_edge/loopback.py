"""Whether a host is this machine itself; apart, so that a configuration can be read without the MQTT library."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and for loopback addresses."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
