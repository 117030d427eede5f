"""What a ``features`` message says of one window: its indicators, named by channel, and the zone of its velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from echo_edge.config import Config
from echo_edge.indicators import VELOCITY_BAND_RATE_HZ, names, split_unit, zone
from echo_edge.pipeline import Verdict


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
    channels = config.points()[window.point].channels
    values = {
        channel_name(name, channels, c): float(values_ck[c, k])
        for k, name in enumerate(indicators)
        for c in range(len(channels))
    }
    machine = config.machines[window.point.partition("/")[0]]
    if machine.vibration_class is None or "velocity_rms_mm_s" not in indicators:
        return Features(values, None)
    if window.rate_hz < VELOCITY_BAND_RATE_HZ:  # a part of the band would look better than the whole
        return Features(values, None)
    worst_mm_s = float(values_ck[:, indicators.index("velocity_rms_mm_s")].max())
    return Features(values, zone(worst_mm_s, machine.vibration_class))


def channel_name(name: str, channels: Sequence[int | str], channel: int) -> str:
    """Return an indicator's name with its channel before the unit, as vibration meters have it.

    ``velocity_rms_x_mm_s``, ``crest_ch1``: axes by their letter, numbered channels by their number on the device.
    """
    if len(channels) == 1:
        return name
    label = channels[channel] if isinstance(channels[channel], str) else f"ch{channels[channel]}"
    stem, unit = split_unit(name)
    return f"{stem}_{label}_{unit}" if unit else f"{stem}_{label}"
