"""Messages about what is learned: the guided enrollment that goes on, and the baseline in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from echo_edge.baseline import Baseline
from echo_edge.envelope import Envelope, Payload, timestamp
from echo_edge.records import FalseAlarmRate

LAST = ("session", "normal_state", "phase", "code", "reason", "baseline")  # what is told of a session that is over
NOT_TOLD = ("point", "result")  # of the progress: the envelope says it, or the topic ``baseline`` does


@dataclass(frozen=True, slots=True)
class InForce:
    """What a point is judged by."""

    baseline: Baseline
    thresholds: Mapping[str, float]
    """State -> threshold, in decades of rarity."""

    false_alarms: FalseAlarmRate
    provisional: bool


def enroll_payload(envelope: Envelope, point: str, time_ns: int, progress: Mapping[str, Any] | None) -> Payload:
    """Return how far an enrollment is; ``session`` is null when none goes on, and ``last`` says how it ended."""
    fields: Payload
    if progress is None:
        fields = {"session": None}
    elif "code" in progress:
        fields = {"session": None, "last": {name: progress[name] for name in LAST if name in progress}}
    else:
        fields = {name: value for name, value in progress.items() if name not in NOT_TOLD}
    return envelope.stamp("enroll", time_ns, point) | fields


def baseline_payload(envelope: Envelope, point: str, time_ns: int, known: InForce | None) -> Payload:
    """Return the baseline in force, or null where there is none."""
    stamp = envelope.stamp("baseline", time_ns, point)
    if known is None:
        return stamp | {"baseline": None}
    baseline, alarms = known.baseline, known.false_alarms
    return stamp | {
        "baseline": baseline.id,
        **({"parent": baseline.parent} if baseline.parent else {}),
        "created": timestamp(baseline.created_ns),
        "model": baseline.origin.model_name,
        "rate_hz": baseline.origin.rate_hz,
        "unit": baseline.origin.unit,
        "sensor": baseline.identity,
        "provisional": known.provisional,
        "states": [
            {
                "name": state.name,
                "windows": len(state.held_out),
                "learned_s": round(state.learned_s, 3),
                "threshold": round(known.thresholds[state.name], 6),
            }
            for state in baseline.states
        ],
        "false_alarms_per_month": {
            "target": round(alarms.target, 3),
            "estimated": round(alarms.estimated, 3),
            "demonstrated_upper_95": round(alarms.demonstrated_upper_95, 3),
        },
    }
