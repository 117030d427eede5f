"""What a sound input's full scale is in a physical unit, who says so, and when nobody does. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sensors import digiducer
from sensors.source import FULL_SCALE


@dataclass(frozen=True)
class MicrophoneScale:
    """How a device's samples, -1 to 1, become physical ones."""

    full_scale: tuple[float, ...]
    """What 1.0 is on each channel, in ``unit``."""

    unit: str
    source: str
    """``configuration``, ``device name`` or ``none``."""

    identity: str | None = None
    """Of a sensor that names itself."""


def microphone_scale(
    channels: int,
    names: Iterable[str],
    *,
    scale: float | None = None,
    unit: str | None = None,
    sensitivity_dbfs: float | None = None,
) -> MicrophoneScale:
    """Return the scale of a device: what the configuration says, else what its name says, else none.

    Args:
        channels: how many are opened.
        names: what the device calls itself.
        scale: of the configuration, in ``unit`` per full scale.
        sensitivity_dbfs: of the configuration: 20 log10(RMS / full scale) that 94 dB SPL, 1 Pa RMS, gives. In this
            sense a sine of full scale has -3.01 dBFS (AES17 calls the same 0 dBFS).
    Raises:
        ValueError: the device names a calibration that cannot be read, or has fewer channels.
    """
    try:
        named = digiducer.find(names)
    except ValueError as error:
        if (scale, unit, sensitivity_dbfs) == (None, None, None):
            raise ValueError(f"{error}; give 'scale' and 'unit' yourself") from error
        named = None
    identity = f"digiducer:{named.serial}" if named else None
    if scale is not None or unit is not None:
        return MicrophoneScale((1.0 if scale is None else scale,) * channels, unit or "unit", "configuration", identity)
    if sensitivity_dbfs is not None:
        return MicrophoneScale((10 ** (-sensitivity_dbfs / 20),) * channels, "Pa", "configuration", identity)
    if named is None:
        return MicrophoneScale((1.0,) * channels, FULL_SCALE, "none")
    if channels > len(named.full_scale):
        raise ValueError(f"{named.model} {named.serial} has {len(named.full_scale)} channels, not {channels}")
    return MicrophoneScale(named.full_scale[:channels], named.unit, "device name", identity)
