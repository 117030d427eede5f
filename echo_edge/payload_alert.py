"""Messages about alerts: their steps, what is open at a point, and what is open on the whole gateway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from echo_edge.alert_life import SEVERITIES, Life
from echo_edge.envelope import Envelope, Payload, timestamp
from echo_edge.evidence import Evidence
from echo_edge.payload_parts import bands, known, number, parts, score_fields
from echo_edge.records import Answer, BandShare, Event
from echo_edge.sentence import alert_text

MAX_BANDS = 24  # with all that a fast sensor has an alert would not fit into the outbox
MAX_TEXT = 400
MAX_LISTED = 60  # of one gateway; brokers are asked to take 64 KiB
STAMP = ("schema", "ts", "boot", "gw", "machine", "point")
STEP = ("alert_id", "rev", "type", "severity", "kind", "state", "opened", "ack", "shelved_until", "by", "note", "text")


def alert_payload(
    envelope: Envelope,
    event: Event,
    model: str,
    title: str | None = None,
    evidence: Evidence | None = None,
    picture: str | None = None,
) -> Payload:
    """Return a step of a machine's alert that a score made, as far as the outbox does not complete it.

    Args:
        title: the machine's name for people.
        evidence: of the window that made the event.
        picture: name of the file that shows it.

    Raises:
        ValueError: a number is not finite.
    """
    score = event.score
    fields = known(
        alert_id=event.alert_id,
        rev=event.rev,
        type=event.type,
        severity=event.severity,
        kind="machine",
        state="cleared" if event.type == "clear" else "active",
        opened=timestamp(event.opened_ns),
        ack=_answer(event.ack),
        peak={"raw": number(event.peak_value, 6), "ts": timestamp(event.peak_ns)},
        score=score_fields(score),
        normal_state=score.state,
        channel=score.channel,
        evidence={"bands": bands(_largest(score.bands))} | _evidence(evidence, picture),
        model=model,
        baseline=score.baseline,
        provisional=score.provisional,
        text=alert_text(event, title, () if evidence is None else evidence.moved)[:MAX_TEXT],
    )
    return envelope.stamp("alert", event.time_ns, event.point, counted=False) | fields


def step_payload(
    envelope: Envelope, life: Life, text: str, before: Payload | None = None, reasons: Sequence[str] = ()
) -> Payload:
    """Return a step that no score made: a person's, a sensor's, the gateway's or that of time.

    Args:
        text: for a person.
        before: the message of the step before; what it says of the machine and its sensor still holds.
        reasons: what is wrong with the sensor, in words for a program.
    """
    kept = {name: value for name, value in (before or {}).items() if name not in (*STAMP, *STEP)}
    if life.peak_value is not None and life.peak_ns is not None:
        kept["peak"] = {"raw": number(life.peak_value, 6), "ts": timestamp(life.peak_ns)}
    if life.kind == "monitor":
        kept["problem"] = life.about
    elif life.kind == "sensor" and reasons:
        kept["reasons"] = list(reasons)
    fields = known(
        alert_id=life.alert_id,
        rev=life.rev,
        type=life.type,
        severity=life.severity,
        kind=life.kind,
        state="active" if life.active else "cleared",
        opened=timestamp(life.opened_ns),
        ack=_answer(life.ack),
        shelved_until=None if life.shelved_until_ns is None else timestamp(life.shelved_until_ns),
        by=None if life.said is None else life.said.by,
        note=None if life.said is None else life.said.note or None,
    )
    point = None if life.kind == "monitor" else life.about
    return envelope.stamp("alert", life.time_ns, point, counted=False) | fields | kept | {"text": text[:MAX_TEXT]}


def alert_active_payload(
    envelope: Envelope, point: str, time_ns: int, alert: Payload | None, sensor: Payload | None = None
) -> Payload:
    """Return what a late subscriber needs: the newest message of each alert that is open, whole, or null."""
    return envelope.stamp("alert-active", time_ns, point) | {"alert": alert, "sensor": sensor}


def alerts_active_payload(envelope: Envelope, time_ns: int, newest: Iterable[Payload]) -> Payload:
    """Return what is open on a gateway, or cleared and not acknowledged: a few words each, the worst first.

    Args:
        newest: messages, the newest of each alert.
    """
    entries = sorted(map(_entry, newest), key=_urgency)
    more = len(entries) - MAX_LISTED
    fields = known(alerts=entries[:MAX_LISTED], more=more if more > 0 else None)
    return envelope.stamp("alerts-active", time_ns) | fields


def _entry(message: Payload) -> Payload:
    names = ("alert_id", "rev", "kind", "severity", "state", "machine", "point", "problem", "opened")
    entry = {name: message[name] for name in names if name in message}
    entry["acknowledged"] = "ack" in message
    return entry | {name: message[name] for name in ("shelved_until", "text") if name in message}


def _urgency(entry: Payload) -> tuple[bool, int, str]:
    return entry["state"] != "active", -SEVERITIES.index(entry["severity"]), entry["opened"]


def _answer(answer: Answer | None) -> Payload | None:
    if answer is None:
        return None
    return known(by=answer.by, note=answer.note or None, ts=timestamp(answer.time_ns))


def _largest(shares: Sequence[BandShare]) -> list[BandShare]:
    """Those that carry most of the score, low to high."""
    largest = sorted(shares, key=lambda band: -band.share)[:MAX_BANDS]
    return sorted(largest, key=lambda band: band.low_hz)


def _evidence(evidence: Evidence | None, picture: str | None) -> Payload:
    if evidence is None:
        return {}
    indicators = [
        {
            "name": one.name,
            "channel": one.channel,
            "value": number(one.value, 6),
            "usual": [number(one.usual_low, 6), number(one.usual_high, 6)],
            "text": one.words,
        }
        for one in evidence.moved
    ]
    return known(
        parts=parts(evidence.parts),
        indicators=indicators,
        zone=evidence.zone,
        usual_zone=evidence.usual_zone,
        strange_for_s=number(evidence.strange_for_s, 3),
        spectrogram=picture,
    )
