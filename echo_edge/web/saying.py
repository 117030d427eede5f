"""Saying: what the daemon tells of a point, in plain words. What there are no words for is shown as it came."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from echo_edge.web.bands import mostly
from echo_edge.web.figures import figure
from echo_edge.web.texts import Translator, as_datetime

REASONS = (
    (r"not enrolled yet", "not_taught"),
    (r"muted until (?P<when>\S+) by (?P<who>.+)", "muted"),
    (r"it was muted until within this window", "was_muted"),
    (r"stopped", "stopped"),
    (r"the machine is off", "off"),
    (r"the machine is off, although (?P<state>\S+) is told .*", "off_although"),
    (r"state (?P<state>\S+) is not enrolled\b.*", "state_not_taught"),
    (r"more than .* quieter than every enrolled state.*", "too_quiet"),
    (r"no whole window comes.*", "no_window"),
    (r"settling after .*", "settling"),
    (r"no verdict(?: yet)?", "no_verdict"),
    (r"sensor opening(?:: (?P<detail>.*))?", "opening"),
    (r"sensor (?P<word>lost|ended)(?:: (?P<detail>.*))?", "sensor"),
    (r"the sensor: (?P<check>[a-z_]+)(?:, (?P<seen>.*?))? \((?P<advice>.*)\)", "check"),
    (r"the gain has just moved", "gain_moved"),
)
"""What the daemon says -> the key below ``why.`` that says it; the first that fits the whole."""

MOVED = 1  # indicators in a sentence; the alert's page has all
UNITS = {
    "_mm_s": "mm/s", "_um": "µm", "_g": "g", "_dbfs": "dBFS", "_db": "dB", "_c": "°C", "_hz": "Hz", "_pa": "Pa",
    "_mv": "mV",
}  # fmt: skip


def why(t: Translator, state: Mapping[str, Any]) -> str:
    """Why a point has no verdict, or what goes with its verdict; empty where nothing is told."""
    reason = str(state.get("reason") or "")
    for pattern, key in REASONS:
        if found := re.fullmatch(pattern, reason, re.DOTALL):
            given = {name: text or "" for name, text in found.groupdict().items()}
            if key == "muted":
                given["when"] = t.when(given["when"])
            elif key == "check":
                given["check"] = check(t, given["check"])
                given["advice"] = t.or_else(f"advice.{found['check']}", given["advice"])
            elif key == "sensor":
                given["word"] = t.or_else(f"quality.sensor_{found['word']}", given["word"])
            text = t(f"why.{key}", **given)
            return f"{text} {given['detail']}".strip() if given.get("detail") else text
    return reason


def check(t: Translator, name: str) -> str:
    """A check of the signal, or a reason of ``quality``, in words."""
    return t.or_else(f"quality.{name}", name)


def findings(t: Translator, message: Mapping[str, Any]) -> list[dict[str, str]]:
    """Why a sensor is not as it should be: name, severity, text, advice; empty where it is."""
    seen = {one["check"]: one for one in message.get("findings", ())}
    found: list[dict[str, str]] = []
    for reason in message.get("reasons", ()) if message.get("state", "ok") != "ok" else ():
        if found and not re.fullmatch(r"[a-z_]+", reason):
            found[-1]["text"] += reason  # a sentence that belongs to the word before
            continue
        one = seen.get(reason, {})
        severity = one.get("severity", "bad" if message["state"] == "lost" else "warning")
        advice = t.or_else(f"advice.{reason}", one.get("advice", ""))
        found.append({"name": check(t, reason), "severity": severity, "text": one.get("text", ""), "advice": advice})
    return found


def state_name(t: Translator, state: Mapping[str, Any]) -> str:
    """Which operating state is in force and who says so."""
    told = state.get("operating_state") or {}
    if not told.get("name"):
        return ""
    return t("saying.state", name=told["name"], source=t.or_else(f"saying.source_{told['source']}", told["source"]))


def alert(t: Translator, message: Mapping[str, Any]) -> str:
    """What an open alert says, without the point's name; ``text`` of the daemon where it has no words of its own."""
    said = str(message.get("text", ""))
    if message.get("kind") == "machine" and "evidence" in message:
        parts = [t("saying.unlike", state=message.get("normal_state", ""))]
        if bands := message["evidence"].get("bands"):
            parts.append(mostly(t, bands))
        parts += [_moved(t, one) for one in message["evidence"].get("indicators", ())[:MOVED]]
        return " ".join(parts)
    if message.get("state") == "cleared" and message.get("kind") == "machine":
        return t("saying.like_normal_again")
    if message.get("kind") == "sensor" and message.get("reasons"):
        return t("saying.sensor", reasons="; ".join(check(t, reason) for reason in message["reasons"]))
    if message.get("kind") == "monitor":
        return t.or_else(f"alert.problem.{message.get('problem')}", said)
    return said


def indicator(t: Translator, name: str) -> tuple[str, str]:
    """Name in words and unit of an indicator such as ``velocity_rms_x_mm_s``."""
    ending = next((end for end in UNITS if name.endswith(end)), "")
    stem = name.removesuffix(ending) if ending else name
    kind, channel = stem, ""
    while kind and not t.has(f"indicator.{kind}"):
        kind, _, last = kind.rpartition("_")
        channel = f"{last} {channel}".strip()
    if not kind:
        return stem.replace("_", " "), UNITS.get(ending, "")
    return f"{t(f'indicator.{kind}')} {channel}".strip(), UNITS.get(ending, "")


def lasting(t: Translator, since: str | None, now: datetime | None = None) -> str:
    """``for 3 minutes``; empty where nobody knows since when."""
    moment = as_datetime(since)
    if moment is None:
        return ""
    seconds = ((now or datetime.now(timezone.utc)) - moment).total_seconds()
    return t("saying.lasting", span=t.span(max(seconds, 1.0)))


def age_s(message: Mapping[str, Any]) -> float | None:
    """How long ago a message was true, in seconds; None where it does not say."""
    moment = as_datetime(message.get("ts"))
    return None if moment is None else (datetime.now(timezone.utc) - moment).total_seconds()


def _moved(t: Translator, one: Mapping[str, Any]) -> str:
    name, unit = indicator(t, one["name"])
    value = f"{figure(t, one['value'])} {unit}".strip()
    return t("saying.moved", name=name, value=value, low=figure(t, one["usual"][0]), high=figure(t, one["usual"][1]))
