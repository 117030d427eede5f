"""What the command ``doctor`` finds, and whom it looks at."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from echo_edge.config import Config
from echo_edge.store import CONFIGURATIONS, may_use


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the doctor's."""

    where: str
    how: Literal["ok", "warning", "broken"]
    what: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """A user who must be able to read files: the service's, while root looks, who may read all."""

    name: str
    uid: int
    groups: frozenset[int]

    def stopped_at(self, path: Path) -> Path | None:
        """The file, or the first folder on the way to it, that its rights close to this user; None: it can be read."""
        for folder in reversed(path.absolute().parents):
            if not self._may(folder, stat.S_IXOTH):
                return folder
        return None if self._may(path, stat.S_IROTH) else path

    def _may(self, path: Path, right: int) -> bool:
        about = path.stat()
        shift = 6 if about.st_uid == self.uid else 3 if about.st_gid in self.groups else 0
        return self.uid == 0 or bool(about.st_mode >> shift & right)


def service_user(path: Path, name: str = "echo-edge") -> Reader | None:
    """Who the service with this configuration runs as; None where no service has it, or this user is not there."""
    if path.parent.resolve() != CONFIGURATIONS:
        return None
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return None
    return Reader(name, user.pw_uid, frozenset(os.getgrouplist(name, user.pw_gid)))


@dataclass(frozen=True, slots=True)
class Patient:
    """A gateway with a configuration that can be read."""

    path: Path
    config: Config
    folder: Path
    """Of the state; it may not be there."""

    credentials_folder: str | None
    daemon: Mapping[str, Any] | None = None
    """What the running daemon answered to ``doctor``; None: none runs."""

    status: Mapping[str, Any] = field(default_factory=dict)
    """What it answered to ``status``; empty: none runs."""

    reader: Reader | None = None
    """Whom the daemon runs as, where its configuration is a service's."""

    @property
    def runs(self) -> bool:
        return self.daemon is not None

    @property
    def may_look(self) -> bool:
        """Whether this user may use what lies in the state folder."""
        return may_use(self.folder)

    @property
    def hidden_credentials(self) -> bool:
        """The password is systemd's to show, and it is not shown here."""
        return self.config.mqtt.password_credential is not None and self.credentials_folder is None


def bad(where: str, what: str, mend: str, *, broken: bool) -> Found:
    """Something to mend, at once or soon."""
    return Found(where, "broken" if broken else "warning", what, mend)
