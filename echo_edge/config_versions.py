"""Versions of the configuration: what was in the file before an order changed it, and a change that is still on trial.

Folder ``config_versions`` of the state folder: the newest texts under their time and hash, ``trial.json`` while a new
one has not yet shown that the daemon comes up with it, and ``works.yaml``, the last text that did. A trial that ended
with the process is tried once more.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from echo_edge.config import Config
from echo_edge.config_check import check
from echo_edge.config_file import parse_config
from echo_edge.config_model import ID_PATTERN
from echo_edge.config_yaml import NO_VALUE
from echo_edge.envelope import timestamp
from echo_edge.errors import ConfigError, EchoEdgeError, OrderError
from echo_edge.store import state_path, write_durably

log = logging.getLogger(__name__)

FOLDER, WORKS = "config_versions", "works.yaml"
KEPT = 20
MAX_BYTES = 1 << 20
EXIT_USAGE, EXIT_CONFLICT = 2, 6


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration that was put in place by an order and has not proven itself."""

    sha256: str
    """Of its text."""

    previous: str
    """Name of the version that comes back if it does not."""

    by: str
    linked: bool = False
    """The broker was reached before; then it must be reached with the new one, too."""

    tries: int = 0
    """How many processes began with it after the one that put it in place had ended."""


class ConfigVersions:
    """The configuration's file and what was in it before.

    Args:
        path: the file; where it is a link, what it leads to.
        folder: the state folder.
        credentials_folder: as for ``config_check.check``.
    """

    def __init__(self, path: Path, folder: Path, credentials_folder: str | None = None) -> None:
        self.path = path.resolve()
        self._folder = folder / FOLDER
        self._credentials_folder = credentials_folder
        self.reached: Callable[[], bool] = lambda: False
        """Says whether the broker is reached now; set by the daemon."""

        self.refused = ""
        """Why what is in the file is not in force, in one line; empty when it is."""

        self._in_force: str | None = None  # the text that was loaded

    @property
    def text(self) -> str:
        """What is in the file now; raises OrderError when that cannot be read."""
        try:
            return self.path.read_bytes().decode()  # every byte of it: the hash is of these
        except (OSError, UnicodeDecodeError) as error:
            raise OrderError(f"{self.path.name}: cannot be read: {error}") from error

    @property
    def sha256(self) -> str:
        """Of what is in the file now, in hexadecimal digits; raises as ``text``."""
        return _hash(self.text)

    def load(self) -> Config:
        """Return the configuration to run with: the file's, or where that is not valid, the last one that worked.

        Raises:
            ConfigError: neither can be used; every problem of the file.
        """
        try:
            text = self.text
            config = parse_config(text, self.path)
        except OrderError as error:
            return self.fall_back(ConfigError([str(error)]))
        except ConfigError as error:
            return self.fall_back(error)
        self._in_force, self.refused = text, ""
        return config

    def fall_back(self, why: EchoEdgeError) -> Config:
        """Return the last configuration that worked, in place of one that does not.

        Raises:
            EchoEdgeError: ``why``, when there is none, or it is what has just failed.
        """
        try:
            text = self._works.read_bytes().decode()
            if text == self._in_force:
                raise why
            config = parse_config(text, self.path)
        except (OSError, UnicodeDecodeError, ConfigError):
            raise why from None
        for line in str(why).splitlines():
            log.error("%s", line)
        self.refused = str(why).splitlines()[0]
        self._in_force = text
        log.error("safe mode: going on with the last configuration that worked; mend the file, then reload the service")
        return config

    def works(self) -> None:
        """Note that the daemon came up with what was loaded."""
        text = self._in_force
        if text is None or self.refused or self.trial() is not None:
            return
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            if not self._works.exists() or self._works.read_bytes() != text.encode():
                write_durably(self._works, text.encode())
        except OSError as error:
            log.warning("%s: %s", self._works, error.strerror)

    @property
    def _works(self) -> Path:
        return self._folder / WORKS

    @staticmethod
    def name(text: str) -> str:
        """What people call a text: the beginning of its hash."""
        return _hash(text)[:12]

    def names(self) -> list[str]:
        """The versions that are kept, oldest first."""
        return sorted(path.name for path in self._folder.glob("*-*.yaml"))

    def checked(self, text: str) -> Config:
        """Check a text as the daemon would at its start.

        Raises:
            ConfigError: every problem.
        """
        if len(text.encode()) > MAX_BYTES:
            raise ConfigError([f"{self.path}: more than {MAX_BYTES} bytes"])
        return check(self.path, text, self._credentials_folder)

    def check_file(self, gateway: str) -> None:
        """Insist that the daemon of this gateway can begin anew with what is in the file; raises as ``checked``."""
        if check(self.path, None, self._credentials_folder).gateway.id != gateway:
            why = "gateway.id: is not changed by a reload, since baselines and topics go by it; stop it, then start it"
            raise ConfigError([f"{self.path}: {why}"])

    def may_apply(self, text: str, present: Config) -> None:
        """Insist that a text may take the place of what is in the file.

        Raises:
            OrderError: it is not valid or another gateway's (2), there already, or another one is on trial (6), or the
                file cannot be written (1).
        """
        try:
            config = self.checked(text)
        except ConfigError as error:
            raise OrderError(f"the configuration is not valid: {'; '.join(error.problems)}", EXIT_USAGE) from error
        if config.gateway.id != present.gateway.id:
            raise OrderError("gateway.id: is not changed by an order: baselines and topics go by it", EXIT_USAGE)
        if self.trial() is not None:
            raise OrderError("another configuration was applied just now and is on trial; wait a minute", EXIT_CONFLICT)
        if _hash(text) == self.sha256:
            raise OrderError("the file holds exactly this already", EXIT_CONFLICT)
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise OrderError(
                f"{self.path.parent}: cannot be written by the daemon; change {self.path.name} there, or let the "
                "service's user write to the folder"
            )

    def apply(self, text: str, present: Config, by: str) -> str:
        """Put a text in place, on trial; returns the name of the version that it replaces.

        Raises:
            OrderError: as ``may_apply``, or the disk; what was in force is in place then.
        """
        self.may_apply(text, present)
        before = self.text
        name = f"{re.sub('[-:.Z]', '', timestamp(time.time_ns()))}-{self.name(before)}.yaml"
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            write_durably(self._folder / name, before.encode())
            self._note(
                Trial(_hash(text), name, by, self.reached())
            )  # before the file: a new text is never in place without it
            self._write(text)
        except OSError as error:
            self.settled()
            raise OrderError(f"{self.path}: cannot be written: {error.strerror}; nothing was changed") from error
        for old in self.names()[:-KEPT]:
            (self._folder / old).unlink(missing_ok=True)
        return name

    # a trial: begun by an order, settled by whoever runs the daemon

    def trial(self) -> Trial | None:
        """The trial of what is in the file; None when there is none."""
        try:
            trial = Trial(**json.loads((self._folder / "trial.json").read_bytes()))
            return trial if trial.sha256 == self.sha256 else None  # else a person was there since
        except (OSError, ValueError, TypeError, OrderError):
            return None

    def count_try(self, trial: Trial) -> None:
        """Note that another process begins with what is on trial."""
        try:
            self._note(replace(trial, tries=trial.tries + 1))
        except OSError as error:
            log.warning("%s: %s", self._folder, error)

    def settled(self) -> None:
        """End the trial: what is in the file stays."""
        (self._folder / "trial.json").unlink(missing_ok=True)
        self.works()

    def restore(self, trial: Trial) -> None:
        """Put the version before in place again.

        Raises:
            ConfigError: it cannot be read or written.
        """
        try:
            self._write((self._folder / Path(trial.previous).name).read_bytes().decode())
            self.settled()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"{self.path}: {trial.previous} cannot be put back: {error}"]) from error

    def _note(self, trial: Trial) -> None:
        write_durably(self._folder / "trial.json", json.dumps(asdict(trial)).encode())

    def _write(self, text: str) -> None:
        write_durably(self.path, text.encode(), self.path.stat().st_mode & 0o777)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def gateway_named(path: Path) -> str | None:
    """The gateway's id as it stands in the file, however wrong the rest is; None without one."""
    try:
        root: Any = yaml.safe_load(path.read_bytes())
        gateway = str(root["gateway"]["id"])
    except (OSError, *NO_VALUE):
        return None
    return gateway if re.fullmatch(ID_PATTERN, gateway) else None


def last_working(path: Path) -> Config | None:
    """What the daemon goes on with when this file cannot be used.

    None where there is none that this user may read, or the state's folder depends on what cannot be read.
    """
    gateway = gateway_named(path)
    if gateway is None and not os.environ.get("STATE_DIRECTORY"):
        return None
    with suppress(OSError, UnicodeDecodeError, ConfigError):
        return parse_config((state_path(gateway or "") / FOLDER / WORKS).read_text("utf-8"), path)
    return None
