"""Who is at the page."""

from __future__ import annotations

from dataclasses import dataclass

from echo_edge.order_types import ROLES, Role


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has logged in."""

    name: str
    role: Role

    def at_least(self, role: Role) -> bool:
        """Whether they may do what ``role`` may."""
        return ROLES.index(self.role) >= ROLES.index(role)
