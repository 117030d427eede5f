"""The page beside the demonstration, as a service beside a daemon: a process of its own, on loopback, with a login."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from echo_edge.errors import EchoEdgeError

PORT = 8443
CONFIG = "gateway: {gateway}\nport: {port}\n"


@contextmanager
def page_beside(folder: Path, gateway: str, env: Mapping[str, str]) -> Iterator[str]:
    """Serve the page of a daemon with this state folder, and yield what the first visitor must know.

    Raises:
        EchoEdgeError: its packages are missing, or it cannot begin.
    """
    config = folder / "page.yaml"
    config.write_text(CONFIG.format(gateway=gateway, port=_free_port()))
    state = folder / "page"
    state.mkdir(mode=0o700)
    env = {**env, "STATE_DIRECTORY": str(state), "ECHO_EDGE_PAGE_SOCKET": str(folder / "page.sock")}
    command = [sys.executable, "-m", "echo_edge.web"]
    made = subprocess.run(
        [*command, "setup", str(config)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    if made.returncode:
        raise EchoEdgeError(f"no page: {made.stderr.strip()}")
    with (folder / "page.log").open("wb") as out:
        process = subprocess.Popen([*command, "run", str(config)], env=env, stdout=out, stderr=out)
    try:
        yield made.stdout.strip()
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait(5)


def _free_port() -> int:
    """The usual one, or any where that is taken."""
    for port in (PORT, 0):
        with socket.socket() as tried, suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
            return int(tried.getsockname()[1])
    raise EchoEdgeError("no free port on 127.0.0.1 for the page")
