"""What an order is made of: who may give it, what it says, and the verb that carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from echo_edge.verbs import Args

Role = Literal["viewer", "technician", "engineer", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "technician", "engineer", "admin")
"""Each may do what those before it may."""

Bench = TypeVar("Bench")  # what verbs work with
A = TypeVar("A", bound=Args)


@dataclass(frozen=True, slots=True)
class Call:
    """One order that was let in: who gives it, by which way, under which conditions."""

    actor: str
    role: Role
    channel: Literal["mqtt", "socket", "web"]
    dry_run: bool = False
    """Check everything, change nothing, and say what would be done."""

    expect: Mapping[str, Any] = field(default_factory=dict)
    """What must still be so (``if`` of the order): ``baseline``, ``rev`` of an alert, ``config``."""

    anonymous: bool = False
    """Nobody signed it: the broker's access list alone let it in."""

    alias: str = ""
    """Who the sender says it is, beside the ``actor`` that is known; nothing goes by it."""


@dataclass(frozen=True, slots=True)
class Verb(Generic[Bench, A]):
    """Something that can be ordered."""

    role: Role
    """The least role that may."""

    args: type[A]
    work: Callable[[Bench, A, Call], dict[str, Any]]
    """Runs in the pipeline's thread; raises EchoEdgeError when it is refused, and then nothing was changed."""

    help: str
    """One line for a person."""
