"""Everything that can be ordered, by name: the same over MQTT, from the command line and from the local socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from echo_edge import (
    order_verbs_alert,
    order_verbs_baseline,
    order_verbs_config,
    order_verbs_enroll,
    order_verbs_gateway,
)
from echo_edge.order_bench import Bench
from echo_edge.order_types import Verb

__all__ = ["VERBS", "Bench"]

VERBS: Mapping[str, Verb[Bench, Any]] = {
    **order_verbs_gateway.VERBS,
    **order_verbs_enroll.VERBS,
    **order_verbs_baseline.VERBS,
    **order_verbs_alert.VERBS,
    **order_verbs_config.VERBS,
}
