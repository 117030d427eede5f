"""Everything that can be ordered, by name: the same over MQTT, from the command line and from the local socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from echo_edge import (
    order_verbs_alert,
    order_verbs_baseline,
    order_verbs_config,
    order_verbs_enroll,
    order_verbs_gateway,
)
from echo_edge.errors import OrderError
from echo_edge.order_bench import EXIT_USAGE, Bench
from echo_edge.order_types import Call, Verb

__all__ = ["VERBS", "Bench"]

VERBS: Mapping[str, Verb[Bench, Any]] = {
    **order_verbs_gateway.VERBS,
    **order_verbs_enroll.VERBS,
    **order_verbs_baseline.VERBS,
    **order_verbs_alert.VERBS,
    **order_verbs_config.VERBS,
}


def carry_out(bench: Bench, verb: str, args: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """Do what a verb says; in the pipeline's thread.

    Raises:
        OrderError: there is no such verb, or its arguments do not fit (2). And what the work raises.
    """
    known = VERBS.get(verb)
    if known is None:
        raise OrderError(f"'{verb}' is no verb; there are {', '.join(VERBS)}", EXIT_USAGE)
    try:
        parsed = known.args.model_validate(dict(args), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OrderError(f"{where}: {first['msg']}", EXIT_USAGE) from error
    return known.work(bench, parsed, call)
