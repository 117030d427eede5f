"""Runs in the daemon's place, in its sandbox; tries what is none of its business, prints what came of it, as JSON."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

NEW_NAMESPACE = 0x10000000  # CLONE_NEWUSER


def tried(act: Callable[[], object]) -> str:
    """``done``, or the name of the error."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def opened(path: str) -> None:
    os.close(os.open(path, os.O_RDWR))


def replaced(path: str) -> None:
    """As the daemon puts a new configuration in place."""
    new = Path(f"{path}.new")
    new.touch()
    new.replace(path)


def made_socket(path: str) -> None:
    """As the daemon opens one for its page."""
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        Path(path).chmod(0o660)


def run_what_it_wrote(folder: str) -> None:
    script = Path(folder) / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    subprocess.run([script], check=True)


def unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NAMESPACE):
        raise OSError(ctypes.get_errno(), "unshare")


def writable_and_executable() -> Iterator[str]:
    """Mounts that a program could be put into and run from."""
    mounts = (line.split()[4:6] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    for place, options in dict(mounts).items():  # of several on one place, the last hides the others
        if "noexec" not in options.split(",") and os.access(place, os.W_OK):
            yield place


def main(config: str, code: str) -> None:
    folders = [os.environ[f"{kind}_DIRECTORY"] for kind in ("STATE", "CACHE", "LOGS", "RUNTIME")]
    found = {
        "own folders": [tried((Path(folder) / "file").touch) for folder in folders],
        "page socket": tried(lambda: made_socket(os.environ["ECHO_EDGE_PAGE_SOCKET"])),
        "temporary file": tried(Path("/tmp/file").touch),
        "serial port": tried(lambda: opened("/dev/echo-edge/acc")),
        "other device": tried(lambda: opened("/dev/tun")),
        "own configuration": tried(lambda: replaced(config)),
        "own code": tried(lambda: opened(code)),
        "home": tried(lambda: list(Path("/root").iterdir())),
        "secrets": tried(lambda: list(Path("/etc/echo-edge/secrets").iterdir())),
        "credentials": sorted(path.name for path in Path(os.environ["CREDENTIALS_DIRECTORY"]).iterdir()),
        "run what it wrote": tried(lambda: run_what_it_wrote(folders[0])),
        "writable and executable": sorted(writable_and_executable()),
        "write and execute memory": tried(lambda: mmap.mmap(-1, 4096, prot=7).close()),
        "namespace": tried(unshare),
        "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
        "inet": tried(lambda: socket.socket(socket.AF_INET).close()),
        "other processes": Path("/proc/1").exists(),
        "cpuinfo": Path("/proc/cpuinfo").exists(),
    }
    print(json.dumps(found))


main(*sys.argv[1:])
