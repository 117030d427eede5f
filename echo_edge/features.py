"""What a ``features`` message says of one window: its indicators, named by channel, and the zone of its velocity."""

from __future__ import annotations

from dataclasses import dataclass, replace

from echo_edge.config import Config
from echo_edge.evidence import Evidence
from echo_edge.indicators import VELOCITY_BAND_RATE_HZ, names, split_unit, zone
from echo_edge.pipeline import Verdict
from echo_edge.records import Window


@dataclass(frozen=True, slots=True)
class Features:
    """The indicators of a point."""

    values: dict[str, float]
    """``velocity_rms_x_mm_s`` and so on; without the channel where the point has one."""

    zone: str | None = None
    """A to D, by the largest velocity of all channels; None where the class or the whole band is not known."""


def describe(config: Config, verdict: Verdict) -> Features | None:
    """Return what a verdict's window showed; None where nothing was measured."""
    window, values_ck = verdict.window, verdict.indicators
    if not values_ck.size:
        return None
    indicators = names(config.indicator_spec(window))
    labels = config.points()[window.point].channel_labels
    values = {
        channel_name(name, label): float(values_ck[c, k])
        for k, name in enumerate(indicators)
        for c, label in enumerate(labels)
    }
    if "velocity_rms_mm_s" not in indicators:
        return Features(values, None)
    return Features(values, zone_of(config, window, float(values_ck[:, indicators.index("velocity_rms_mm_s")].max())))


def zone_of(config: Config, window: Window, velocity_mm_s: float) -> str | None:
    """Return the zone of a velocity RMS at a window's point; None where the class or the whole band is not known."""
    return zone_at(config, window.point, window.rate_hz, velocity_mm_s)


def zone_at(config: Config, point: str, rate_hz: int, velocity_mm_s: float) -> str | None:
    """The same of a point that is configured, or was once."""
    machine = config.machines.get(point.partition("/")[0])
    if machine is None or machine.vibration_class is None:
        return None
    if rate_hz < VELOCITY_BAND_RATE_HZ:  # a part of the band would look better
        return None
    return zone(velocity_mm_s, machine.vibration_class)


def zoned(config: Config, verdict: Verdict) -> Evidence | None:
    """Return a verdict's evidence with the zones of its velocity, now and usually, where they are known."""
    evidence = verdict.evidence
    if evidence is None or evidence.velocity_mm_s is None:
        return evidence
    now, usual = (zone_of(config, verdict.window, velocity_mm_s) for velocity_mm_s in evidence.velocity_mm_s)
    return replace(evidence, zone=now, usual_zone=usual)


def channel_name(name: str, label: str) -> str:
    """Return an indicator's name with its channel before the unit, as vibration meters have it.

    ``velocity_rms_x_mm_s``, ``crest_ch1``; without a label as it is.
    """
    if not label:
        return name
    stem, unit = split_unit(name)
    return f"{stem}_{label}_{unit}" if unit else f"{stem}_{label}"
