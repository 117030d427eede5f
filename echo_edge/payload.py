"""Turn records into the JSON messages of contract version 1; nothing here knows the network.

Every function returns a dict that one schema in ``schemas/`` describes; ``encode`` makes the bytes.
What is not known is left out: there is no zero, null or default that could be taken for a measurement.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from echo_edge.envelope import Envelope, Payload, Topics, split_point, timestamp
from echo_edge.evidence import Evidence
from echo_edge.records import BandShare, Event, FalseAlarmRate, OperatingState, Score
from echo_edge.sentence import alert_text
from echo_edge.signal_checks import Finding

__all__ = [  # the whole contract can be had from here
    "LEVELS",
    "SCHEMAS",
    "VERDICTS",
    "Envelope",
    "Info",
    "OperatingState",
    "Payload",
    "PointState",
    "Quality",
    "Topics",
    "WindowCount",
    "alert_active_payload",
    "alert_payload",
    "encode",
    "features_payload",
    "info_payload",
    "load_schema",
    "point_state_payload",
    "quality_payload",
    "status_payload",
    "timestamp",
    "will_payload",
]

SCHEMAS = (
    "status",
    "info",
    "health",
    "point-state",
    "quality",
    "features",
    "alert",
    "alert-active",
    "enroll",
    "baseline",
)
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
    return envelope.stamp("status", time_ns) | _known(state=state, reason=reason)


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
    return envelope.stamp("info", time_ns) | _known(
        version=info.version,
        model=_known(name=info.model, sha256=info.model_sha256),
        engine=info.engine,
        config_sha256=info.config_sha256,
        # A 3.1.1 broker acknowledges a message that it threw away for want of permission.
        mqtt={"protocol": info.protocol, "denied_publish_is_noticed": info.protocol == "5"},
        machines=[_known(id=m, title=info.titles.get(m), points=points) for m, points in machines.items()],
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
    fields = _known(
        level=state.level,
        reason=state.reason,
        model=state.model,
        operating_state=None if operating is None else {"name": operating.name, "source": operating.source},
        score=None
        if score is None
        else _score(score) | _known(parts=_parts(score.rarities), false_alarms_per_month=_false_alarms(alarms)),
        windows=None if windows is None else {"k": windows.k, "n_of": windows.n_of, "k_needed": windows.k_needed},
        bands=None if score is None else _bands(score.bands),
        baseline=None if score is None else score.baseline,
        provisional=None if score is None else score.provisional,
        quality=state.quality,
        lag_ms=_number(state.lag_ms, 0),
    )
    return envelope.stamp("point-state", state.time_ns, state.point) | fields


def quality_payload(envelope: Envelope, quality: Quality) -> Payload:
    gaps = _known(count_1h=quality.gaps_1h, lost_samples_1h=quality.lost_samples_1h)
    fields = _known(
        state=quality.state,
        reasons=list(quality.reasons),
        rate_hz=_number(quality.rate_hz, 3),
        rate_ppm=_number(quality.rate_ppm, 1),
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
    values = {name: _number(value, 6) for name, value in features.items()}
    fields = _known(features=values, calibration=calibration, zone=zone)
    return envelope.stamp("features", time_ns, point) | fields


def alert_payload(
    envelope: Envelope,
    event: Event,
    model: str,
    title: str | None = None,
    evidence: Evidence | None = None,
    picture: str | None = None,
) -> Payload:
    """Return one step in the life of an alert, as far as the outbox does not complete it.

    Args:
        title: the machine's name for people.
        evidence: of the window that made the event.
        picture: name of the file that shows it.

    Raises:
        ValueError: a number is not finite.
    """
    score = event.score
    fields = {
        "alert_id": event.alert_id,
        "rev": event.rev,
        "type": event.type,
        "severity": event.severity,
        "kind": "machine",
        "opened": timestamp(event.opened_ns),
        "peak": {"raw": _number(event.peak_value, 6), "ts": timestamp(event.peak_ns)},
        "score": _score(score),
        "normal_state": score.state,
        "channel": score.channel,
        "evidence": {"bands": _bands(score.bands)} | _evidence(evidence, picture),
        "model": model,
        "baseline": score.baseline,
        "provisional": score.provisional,
        "text": alert_text(event, title, () if evidence is None else evidence.moved),
    }
    return envelope.stamp("alert", event.time_ns, event.point, counted=False) | fields


def alert_active_payload(envelope: Envelope, point: str, time_ns: int, alert: Payload | None) -> Payload:
    """Return what a late subscriber needs: the newest message of the open alert, whole and unchanged, or null."""
    return envelope.stamp("alert-active", time_ns, point) | {"alert": alert}


def encode(payload: Payload) -> bytes:
    """Return JSON in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def load_schema(name: str) -> Payload:
    """Return the JSON Schema (2020-12) of one message: a name from ``SCHEMAS``."""
    text = resources.files("echo_edge").joinpath("schemas", f"{name}.json").read_text("utf-8")
    schema: Payload = json.loads(text)
    return schema


def _score(score: Score) -> Payload:
    raw, threshold = _number(score.value, 6), _number(score.threshold, 6)
    # 1.0 is at the threshold, whatever the point: a figure to compare points by until tail probabilities exist
    ratio = _number(score.value / score.threshold, 4) if score.threshold > 0 else None
    return _known(raw=raw, threshold=threshold, ratio=ratio)


def _false_alarms(alarms: FalseAlarmRate | None) -> Payload | None:
    if alarms is None:
        return None
    return _known(
        target=_number(alarms.target, 3),
        estimated=_number(alarms.estimated, 3),
        demonstrated_upper_95=_number(alarms.demonstrated_upper_95, 3),
        kept=alarms.kept,
    )


def _bands(bands: Sequence[BandShare]) -> list[Payload]:
    return [{"hz": [_number(b.low_hz, 1), _number(b.high_hz, 1)], "share": _number(b.share, 4)} for b in bands]


def _parts(rarities: Mapping[str, float]) -> Payload | None:
    return {part: _number(decades, 3) for part, decades in rarities.items()} or None


def _evidence(evidence: Evidence | None, picture: str | None) -> Payload:
    if evidence is None:
        return {}
    indicators = [
        {
            "name": one.name,
            "channel": one.channel,
            "value": _number(one.value, 6),
            "usual": [_number(one.usual_low, 6), _number(one.usual_high, 6)],
            "text": one.words,
        }
        for one in evidence.moved
    ]
    return _known(
        parts=_parts(evidence.parts),
        indicators=indicators,
        zone=evidence.zone,
        usual_zone=evidence.usual_zone,
        strange_for_s=_number(evidence.strange_for_s, 3),
        spectrogram=picture,
    )


def _known(**fields: object) -> Payload:
    return {name: value for name, value in fields.items() if value is not None}


def _number(value: float | None, digits: int) -> float | None:
    """Round, as a whole number where it is one; numpy's numbers become Python's."""
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be published")
    rounded = round(float(value), digits)
    return int(rounded) if rounded.is_integer() else rounded
