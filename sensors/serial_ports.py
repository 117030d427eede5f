"""Serial ports: what stands for a sensor on one, and why one does not open."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from serial.tools import list_ports

from sensors.users import user_of


def port_identity(path: str) -> str:
    """Return what stands for a sensor that does not tell its serial number: its USB adapter, else the port's path."""
    real = os.path.realpath(path)
    for port in list_ports.comports():
        if port.vid is not None and os.path.realpath(port.device) == real:
            serial_number = f":{port.serial_number}" if port.serial_number else f"@{port.location}"
            return f"usb:{port.vid:04x}:{port.pid:04x}{serial_number}"
    return path


def why_not_open(path: str, error: Exception) -> str:
    """Return why a port did not open and what would mend it."""
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"no permission for {path}: add the user to group dialout"
    if not Path(path).exists():
        there = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        return f"no port {path}; serial ports here: {there}"
    if "exclusively" in str(error):
        return f"{path} is in use by {user_of(Path(path)) or 'another program'}: stop it, or choose another port"
    return f"{path} did not open: {error}"
