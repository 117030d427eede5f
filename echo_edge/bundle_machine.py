"""What a support archive tells of the machine: versions, what is plugged in, the last lines of the log."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from echo_edge import __version__
from sensors import SensorError, list_iio, list_mcc172, list_microphones, list_serial_ports

JOURNAL_LINES = 2000
PROGRAM_S = 20.0
PAGE_S, PAGE_BYTES = 5.0, 4 << 20
GPU_FILES = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))
GPU = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader")


def versions() -> dict[str, Any]:
    """Of everything that runs here; without the machine's name."""
    system = platform.uname()
    found: dict[str, Any] = {
        "echo-edge": __version__,
        "python": sys.version,
        "kernel": f"{system.system} {system.release} {system.version} {system.machine}",
        "system": _system(),
        "gpu": [line for line in _output(GPU).splitlines() if line],
        "packages": dict(sorted((one.metadata["Name"], one.version) for one in distributions())),
    }
    for path in GPU_FILES:
        with suppress(OSError):
            found["gpu"].append(path.read_text("utf-8", "replace").strip())
    return found


def _system() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return ""


def plugged_in() -> list[dict[str, Any]]:
    """What ``echo-edge devices`` shows; what cannot be listed is a line with its reason."""
    found: list[dict[str, Any]] = []
    for look in (list_microphones, list_serial_ports, list_iio, list_mcc172):
        try:
            found += [asdict(device) for device in look()]
        except SensorError as error:
            found.append({"problem": error.message})
    return found


def journal(unit: str) -> str:
    """The newest lines of a systemd unit, then what ``journalctl`` says of lines that this user may not see."""
    asked = ("journalctl", "--unit", unit, "--lines", str(JOURNAL_LINES), "--no-pager", "--no-hostname")
    return _output((*asked, "--output", "short-iso"), both=True)


def metrics_page(host: str, port: int) -> str:
    """The daemon's figures as Prometheus gets them, or why there are none."""
    link = HTTPConnection(host, port, timeout=PAGE_S)
    try:
        link.request("GET", "/metrics")
        return link.getresponse().read(PAGE_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        return f"{host}:{port}: {error}\n"
    finally:
        link.close()


def _output(command: Sequence[str], *, both: bool = False) -> str:
    """What it printed; its errors in place of nothing, or after it."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROGRAM_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    text = done.stdout + done.stderr if both else done.stdout or done.stderr
    return text.decode("utf-8", "replace")
