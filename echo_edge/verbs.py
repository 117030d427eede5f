"""Verbs: what can be asked by a name with arguments in JSON, the same for the command line and the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from echo_edge.errors import OrderError

EXIT_USAGE = 2


class Args(BaseModel):
    """Arguments of a verb."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S")  # what the verbs work with
T = TypeVar("T", bound=Args)


def verb(model: type[T], work: Callable[[S, T], dict[str, Any]]) -> Callable[[S, dict[str, Any]], dict[str, Any]]:
    """What checks the arguments, and then does the work; raises OrderError when they do not fit."""

    def checked(subject: S, args: dict[str, Any]) -> dict[str, Any]:
        try:
            parsed = model.model_validate(args)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise OrderError(f"{where}: {first['msg']}", EXIT_USAGE) from error
        return work(subject, parsed)

    return checked


def run(
    verbs: Mapping[str, Callable[[S, dict[str, Any]], dict[str, Any]]],
    of: str,
    subject: S,
    name: str,
    args: dict[str, Any],
) -> dict[str, Any]:
    """Do what a verb says; ``of`` names the verbs in the error.

    Raises:
        OrderError: no such verb, or arguments that do not fit it. And what the work raises.
    """
    if name not in verbs:
        raise OrderError(f"'{name}' is no verb of {of}; there are {', '.join(verbs)}", EXIT_USAGE)
    return verbs[name](subject, args)
