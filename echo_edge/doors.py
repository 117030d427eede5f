"""Doors: what each of the daemon's local sockets lets in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from echo_edge.order_types import ROLES, Role


@dataclass(frozen=True, slots=True)
class Door:
    """One socket. Its file's permissions say who may connect at all."""

    name: str
    """Of its threads, and in the log."""

    channel: Literal["socket", "web"]
    """What the audit log says of orders that came this way."""

    most: Role
    """The role that a client has at most, whatever it claims."""

    unsaid: Role
    """The role of a client that claims none."""

    clients: int
    """How many at once."""

    order_bytes: int
    """The longest order, but for a file that is imported."""

    orders: frozenset[str] | None = None
    """Those that are taken; None: all."""

    def role(self, claimed: Role | None) -> Role:
        return min(claimed or self.unsaid, self.most, key=ROLES.index)


COMMAND_LINE = Door(
    "control",
    "socket",
    most="admin",
    unsaid="admin",
    clients=8,
    order_bytes=2 << 20,  # a configuration of full size, quoted
)
PAGE = Door(
    "page",
    "web",
    most="engineer",
    unsaid="viewer",
    clients=16,
    order_bytes=64 << 10,
    orders=frozenset({"watch", "verb", "read"}),
)
"""For a service that strangers talk to: no sound, nothing that only an administrator may, and none of the command
line's places."""
