"""Serial ports: what stands for a sensor on one, and why one does not open."""

from __future__ import annotations

import errno
import os
import termios
from pathlib import Path

import serial
from serial.tools import list_ports

from sensors.errors import SensorUnavailable
from sensors.users import user_of


def port_identity(path: str) -> str:
    """Return what stands for a sensor that does not tell its serial number: its USB adapter, else the port's path."""
    real = os.path.realpath(path)
    for port in list_ports.comports():
        if port.vid is not None and os.path.realpath(port.device) == real:
            serial_number = f":{port.serial_number}" if port.serial_number else f"@{port.location}"
            return f"usb:{port.vid:04x}:{port.pid:04x}{serial_number}"
    return path


def open_port(name: str, path: str, baud: int, read_s: float) -> serial.Serial:
    """Open a port that nobody else may have.

    Args:
        name: the device's name in the configuration, for messages.
        read_s: how long a read waits.
    Raises:
        SensorUnavailable: it cannot be opened now; the message says why and what would mend it.
    """
    try:
        return serial.Serial(path, baud, timeout=read_s, write_timeout=1.0, exclusive=True)
    # SerialException is an OSError; termios.error, of a port that vanishes within the call, is none
    except (OSError, ValueError, termios.error) as error:
        raise SensorUnavailable(name, why_not_open(path, error)) from error


def why_failed(path: str, error: Exception) -> str:
    """Return what an error of an open port means."""
    gone = isinstance(error, OSError) and error.errno in {errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF}
    if gone or "returned no data" in str(error) or isinstance(error, TypeError):  # pyserial's words for a hang-up
        return f"{path} was unplugged"
    return f"{path} failed: {error}"


def why_not_open(path: str, error: Exception) -> str:
    """Return why a port did not open and what would mend it."""
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"no permission for {path}: add the user to group dialout"
    if not Path(path).exists():
        there = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        return f"no port {path}; serial ports here: {there}"
    if "Inappropriate ioctl" in str(error):
        return f"{path} is no serial port"
    if "exclusively" in str(error):
        return f"{path} is in use by {user_of(Path(path)) or 'another program'}: stop it, or choose another port"
    return f"{path} did not open: {error}"
