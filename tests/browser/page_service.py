"""The real page in a process of its own, with accounts made as an administrator makes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from echo_edge.demo_broker import HOST, free_port
from tests.broker import wait_for

CODE = re.compile(r"one-time code\s+(\S+)")


class PageService:
    """``echo-edge-web run CONFIG`` for one daemon; a context manager that stops it politely, and fails after a defect.

    Args:
        folder: for its configuration, accounts and log.
        socket: where the daemon listens for the page.
    """

    def __init__(self, folder: Path, socket: Path, gateway: str = "gw-hall3") -> None:
        self.port = free_port()
        self.origin = f"http://{HOST}:{self.port}"
        self.folder = folder / "state"
        self.folder.mkdir(parents=True)
        self._config = folder / "page.yaml"
        self._config.write_text(f"gateway: {gateway}\nport: {self.port}\n")
        self._log = folder / "page.log"
        self._env = {**os.environ, "STATE_DIRECTORY": str(self.folder), "ECHO_EDGE_PAGE_SOCKET": str(socket)}
        self._env.pop("LANG", None)

    def __enter__(self) -> PageService:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(self._command("run"), env=self._env, stdout=out, stderr=out)
        wait_for(self.is_ready, "the page", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise
        assert "Traceback" not in self.log, self.log

    def is_ready(self) -> bool:
        """It says so itself; a port on which nobody listens yet may be one's own when it is tried."""
        assert self.process.poll() is None, f"the page ended: {self.log}"
        return f" is at {self.origin}" in self.log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def code_of_first_admin(self, name: str) -> str:
        """The one-time code that ``setup`` prints on the gateway's own terminal."""
        return self._code(self._command("setup", "--name", name))

    def code_of(self, name: str, role: str) -> str:
        """The one-time code of somebody whom ``user add`` lets in."""
        return self._code(self._command("user", "add", name, "--role", role))

    def resident_mb(self) -> float:
        """Memory that its process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    def _command(self, *words: str) -> list[str]:
        """``run`` becomes ``run CONFIG``, ``user add NAME`` becomes ``user add CONFIG NAME``."""
        at = 2 if words[0] == "user" else 1
        return [sys.executable, "-m", "echo_edge.web", *words[:at], str(self._config), *words[at:]]

    def _code(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found = CODE.search(done.stdout)
        assert found is not None, done.stdout
        return found[1]
