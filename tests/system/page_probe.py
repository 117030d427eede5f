"""Runs in the page's place, in its sandbox; tries what is the daemon's business, prints what came of it, as JSON."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def tried(act: Callable[[], object]) -> str:
    """``done``, or the name of the error."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def connected(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def run_what_it_wrote(folder: str) -> None:
    script = Path(folder) / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    subprocess.run([script], check=True)


def listed(path: str) -> list[str]:
    return sorted(os.listdir(path))  # noqa: PTH208  # pathlib makes other errors of it


def main(name: str, daemon: str, code: str) -> None:
    state, sockets = os.environ["STATE_DIRECTORY"], Path(os.environ["ECHO_EDGE_PAGE_SOCKET"]).parent
    found = {
        "own state": tried((Path(state) / "accounts.json").touch),
        "own configuration": tried((Path("/etc/echo-edge-web") / f"{name}.yaml").touch),
        "own code": tried(lambda: os.close(os.open(code, os.O_RDWR))),
        "own secrets": tried(lambda: listed("/etc/echo-edge-web/secrets")),
        "credentials": listed(os.environ["CREDENTIALS_DIRECTORY"]),
        "page socket": tried(lambda: connected(str(sockets / f"{daemon}.sock"))),
        "a socket beside it": tried((sockets / "other.sock").touch),
        "control socket": tried(lambda: connected(f"/run/echo-edge/{daemon}/control.sock")),
        "daemon's configuration": tried(lambda: listed("/etc/echo-edge")),
        "daemon's state": tried(lambda: listed("/var/lib/echo-edge")),
        "sensor": tried(lambda: os.close(os.open("/dev/echo-edge/acc", os.O_RDWR))),
        "sound cards": Path("/dev/snd").exists(),
        "home": tried(lambda: listed("/root")),
        "groups": sorted({os.getgid(), *os.getgroups()} - {os.getegid()}),
        "run what it wrote": tried(lambda: run_what_it_wrote(state)),
        "other processes": Path("/proc/1").exists(),
    }
    print(json.dumps(found))


main(*sys.argv[1:])
