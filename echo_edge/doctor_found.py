"""What the command ``doctor`` finds, and whom it looks at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from echo_edge.config import Config


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the doctor's."""

    where: str
    how: Literal["ok", "warning", "broken"]
    what: str
    mend: str = ""


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

    @property
    def runs(self) -> bool:
        return self.daemon is not None

    @property
    def may_look(self) -> bool:
        """Whether this user may use what lies in the state folder."""
        return os.access(self.folder, os.R_OK | os.W_OK | os.X_OK)

    @property
    def hidden_credentials(self) -> bool:
        """The password is systemd's to show, and it is not shown here."""
        return self.config.mqtt.password_credential is not None and self.credentials_folder is None


def bad(where: str, what: str, mend: str, *, broken: bool) -> Found:
    """Something to mend, at once or soon."""
    return Found(where, "broken" if broken else "warning", what, mend)
