"""Turn records into the JSON messages of contract version 1; nothing here knows the network.

Every function returns a dict that one schema in ``schemas/`` describes; ``encode`` makes the bytes.
What is not known is left out: there is no zero, null or default that could be taken for a measurement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from echo_edge.envelope import Envelope, Payload, Topics, split_point, timestamp
from echo_edge.payload_alert import (
    alert_active_payload,
    alert_payload,
    alerts_active_payload,
    step_payload,
)
from echo_edge.payload_parts import bands, known, number, parts, score_fields
from echo_edge.records import FalseAlarmRate, OperatingState, Score
from echo_edge.signal_checks import Finding

__all__ = [  # the whole contract can be had from here
    "LEVELS",
    "RECEIVED",
    "SCHEMAS",
    "VERDICTS",
    "Envelope",
    "Info",
    "MachineState",
    "OperatingState",
    "Payload",
    "PointState",
    "Quality",
    "Topics",
    "WindowCount",
    "alert_active_payload",
    "alert_payload",
    "alerts_active_payload",
    "encode",
    "features_payload",
    "info_payload",
    "load_schema",
    "machine_state_payload",
    "point_state_payload",
    "quality_payload",
    "score_payload",
    "status_payload",
    "step_payload",
    "timestamp",
    "will_payload",
]

SCHEMAS = (
    "status",
    "info",
    "health",
    "machine-state",
    "point-state",
    "score",
    "quality",
    "features",
    "alert",
    "alert-active",
    "alerts-active",
    "enroll",
    "baseline",
    "audit",
    "order-nonce",
    "order-answer",
)
RECEIVED = ("order",)
"""Schemas of what is sent to us; it does not name its schema."""

VERDICTS = ("normal", "warning", "alarm")
LEVELS = (*VERDICTS, "unknown", "not_monitored")


@dataclass(frozen=True, slots=True)
class WindowCount:
    """``k`` of the last ``n_of`` windows were above the threshold; ``k_needed`` make an alert."""

    k: int
    n_of: int
    k_needed: int


@dataclass(frozen=True, slots=True)
class PointState:
    """How one point is now."""

    point: str
    time_ns: int
    """Capture time just past the newest sample that was judged; without one, when the level was decided."""

    level: str
    """One of ``LEVELS``. ``VERDICTS`` need a score and a model; the others have no score and need a reason."""

    model: str | None = None
    """Name of the model that judged."""

    score: Score | None = None
    false_alarms: FalseAlarmRate | None = None
    windows: WindowCount | None = None
    operating_state: OperatingState | None = None
    quality: str | None = None
    lag_ms: float | None = None
    """From the window's last sample to the verdict."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MachineState:
    """How one machine is, of all its points together."""

    level: str
    """The worst of its points': one of ``LEVELS``."""

    monitored: int
    """Points with a verdict."""

    points: int
    operating_state: str | None
    """The name, where all points agree on it."""

    alerts: tuple[str, ...]
    """Ids of its open alerts, of machine and sensors."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How healthy one point's sensor is."""

    point: str
    time_ns: int
    state: str
    """``ok``, ``degraded`` or ``lost``; anything but ``ok`` names its reasons."""

    reasons: tuple[str, ...] = ()
    rate_hz: float | None = None
    rate_ppm: float | None = None
    """Measured minus nominal sampling rate, in parts per million."""

    gaps_1h: int | None = None
    lost_samples_1h: int | None = None
    unit: str | None = None
    """Of the samples: ``g``, ``Pa``, ``full scale``."""

    calibration: str | None = None
    """Where their scale comes from, as ``SourceInfo.calibration``."""

    counters: Mapping[str, int] = field(default_factory=dict)
    """What the driver dropped and why, since the daemon started (``bad_crc``, ``overflows``); zeros are left out."""

    findings: tuple[Finding, ...] = ()
    """What the checks of the signal found; each is among the reasons by its name."""


@dataclass(frozen=True, slots=True)
class Info:
    """What this gateway is and watches."""

    version: str
    model: str
    model_sha256: str | None
    engine: str
    protocol: str
    """``5`` or ``3.1.1``."""

    points: tuple[str, ...]
    titles: Mapping[str, str]
    """Machine id -> its name for people."""

    config_sha256: str | None = None


def status_payload(envelope: Envelope, state: str, time_ns: int, reason: str | None = None) -> Payload:
    """Return the gateway's availability: online, degraded, stopping or offline."""
    return envelope.stamp("status", time_ns) | known(state=state, reason=reason)


def will_payload(envelope: Envelope, time_ns: int) -> Payload:
    """Return what the broker says for us when we vanish.

    ``ts`` is when the will was left, at connect. It has no ``seq``: mostly it is never sent, and that is no loss.
    """
    return envelope.stamp("status", time_ns, counted=False) | {"state": "offline", "reason": "connection_lost"}


def info_payload(envelope: Envelope, info: Info, time_ns: int) -> Payload:
    machines: dict[str, list[str]] = {}
    for point in info.points:
        machine, name = split_point(point)
        machines.setdefault(machine, []).append(name)
    return envelope.stamp("info", time_ns) | known(
        version=info.version,
        model=known(name=info.model, sha256=info.model_sha256),
        engine=info.engine,
        config_sha256=info.config_sha256,
        # A 3.1.1 broker acknowledges a message that it threw away for want of permission.
        mqtt={"protocol": info.protocol, "denied_publish_is_noticed": info.protocol == "5"},
        machines=[known(id=m, title=info.titles.get(m), points=points) for m, points in machines.items()],
        schemas=[f"echo-edge/{name}/1" for name in SCHEMAS],
    )


def point_state_payload(envelope: Envelope, state: PointState) -> Payload:
    """Return a point's state.

    Raises:
        ValueError: a number is not finite, a verdict lacks its score or model, or another level its reason.
    """
    score = state.score
    if state.level in VERDICTS and (score is None or state.model is None):
        raise ValueError(f"{state.point}: level {state.level} needs a score and a model")
    if state.level not in VERDICTS and (score is not None or not state.reason):
        raise ValueError(f"{state.point}: {state.level} needs a reason and has no score")
    windows, operating, alarms = state.windows, state.operating_state, state.false_alarms
    fields = known(
        level=state.level,
        reason=state.reason,
        model=state.model,
        operating_state=None if operating is None else {"name": operating.name, "source": operating.source},
        score=None
        if score is None
        else score_fields(score) | known(parts=parts(score.rarities), false_alarms_per_month=_false_alarms(alarms)),
        windows=None if windows is None else {"k": windows.k, "n_of": windows.n_of, "k_needed": windows.k_needed},
        bands=None if score is None else bands(score.bands),
        baseline=None if score is None else score.baseline,
        provisional=None if score is None else score.provisional,
        quality=state.quality,
        lag_ms=number(state.lag_ms, 0),
    )
    return envelope.stamp("point-state", state.time_ns, state.point) | fields


def score_payload(envelope: Envelope, state: PointState) -> Payload:
    """Return one window's score, for the stream.

    Raises:
        ValueError: a number is not finite, or there is no score.
    """
    if (score := state.score) is None:
        raise ValueError(f"{state.point}: nothing to stream without a score")
    window = {"from": timestamp(score.time_ns), "to": timestamp(score.end_ns)}
    return (
        envelope.stamp("score", score.end_ns, state.point)
        | score_fields(score)
        | {
            "level": state.level,
            "window": window,
        }
    )


def machine_state_payload(envelope: Envelope, machine: str, time_ns: int, state: MachineState) -> Payload:
    """Return how a machine is, of all its points together."""
    fields = known(
        machine=machine,
        level=state.level,
        operating_state=None if state.operating_state is None else {"name": state.operating_state},
        monitored={"points": state.monitored, "of": state.points},
        alerts=list(state.alerts),
    )
    return envelope.stamp("machine-state", time_ns) | fields


def quality_payload(envelope: Envelope, quality: Quality) -> Payload:
    gaps = known(count_1h=quality.gaps_1h, lost_samples_1h=quality.lost_samples_1h)
    fields = known(
        state=quality.state,
        reasons=list(quality.reasons),
        rate_hz=number(quality.rate_hz, 3),
        rate_ppm=number(quality.rate_ppm, 1),
        gaps=gaps or None,
        unit=quality.unit,
        calibration=quality.calibration,
        counters={name: count for name, count in sorted(quality.counters.items()) if count} or None,
        findings=[
            {"check": f.check, "severity": "bad" if f.bad else "warning", "text": f.text, "advice": f.advice}
            for f in quality.findings
        ]
        or None,
    )
    return envelope.stamp("quality", quality.time_ns, quality.point) | fields


def features_payload(
    envelope: Envelope,
    point: str,
    time_ns: int,
    features: Mapping[str, float],
    calibration: str,
    zone: str | None = None,
) -> Payload:
    """Return physical indicators of a point; each name ends in its unit (``velocity_x_mm_s``) or has none (``crest``).

    Raises:
        ValueError: a number is not finite.
    """
    values = {name: number(value, 6) for name, value in features.items()}
    fields = known(features=values, calibration=calibration, zone=zone)
    return envelope.stamp("features", time_ns, point) | fields


def encode(payload: Payload) -> bytes:
    """Return JSON in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def load_schema(name: str) -> Payload:
    """Return the JSON Schema (2020-12) of one message: a name from ``SCHEMAS`` or ``RECEIVED``."""
    text = resources.files("echo_edge").joinpath("schemas", f"{name}.json").read_text("utf-8")
    schema: Payload = json.loads(text)
    return schema


def _false_alarms(alarms: FalseAlarmRate | None) -> Payload | None:
    if alarms is None:
        return None
    return known(
        target=number(alarms.target, 3),
        estimated=number(alarms.estimated, 3),
        demonstrated_upper_95=number(alarms.demonstrated_upper_95, 3),
        kept=alarms.kept,
    )
