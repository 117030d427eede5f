"""Is this window the sound of a machine, or of a broken sensor? Pure: a window in, findings out.

A finding speaks of the sensor, never of the machine: it is published as ``quality`` and raises no machine alarm. A
*bad* one says that the window tells nothing, so it is neither judged nor learned; a warning lets it pass.

The start values follow the enrollment specification; ``docs/results/signal-health.md`` has what they find and miss.
Shape suffixes: C = channels of the point, S = samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from echo_edge.records import Window
from sensors import FULL_SCALE

MAX_SAMPLE = 1e15  # the spectrum of anything larger would overflow
ZERO_S = 0.2  # digital silence for longer is a muted or dead input
SAME_S = 0.1  # one value for longer is a converter that hangs
FEW_CODES, LOOKED_AT = 4, 1000  # so few values in so many samples are no signal
NOISE_LSB = 3 / math.sqrt(12)  # three times the rounding noise of a converter, in its steps
CLIPPED_RUN = 3  # more consecutive samples at the limit than a sine's crest has
CLIPPED_SHARE, CLIPPED_BAD_SHARE = 1e-4, 1e-2
DC_SHARE = 0.2  # of the range
GRAVITY_G = (0.8, 1.2)
HUM_LINES, HUM_NEEDED, HUM_DB, HUM_SHARE = 8, 4, 20.0, 0.3
HUM_MIN_S, HUM_MAX_S = 1.0, 4.0
PLAUSIBLE_RMS = {  # below: nothing is connected; above: the scale is wrong or the sensor is overdriven
    "g": (1e-5, 200.0),
    "Pa": (1e-4, 200.0),  # 14 and 140 dB SPL
    FULL_SCALE: (1e-5, 0.7),  # -100 and -3 dBFS
}

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a signal."""

    check: str
    """A word for a program: ``silence``, ``stuck``, ``clipping``, ``dc``, ``gravity``, ``level``, ``mains_hum`` ..."""

    bad: bool
    """True when the window says nothing of the machine."""

    text: str
    """What was seen, with its unit."""

    advice: str
    """What a person can do."""


def check_signal(window: Window) -> tuple[Finding, ...]:
    """Return what is wrong with a window, the worst first; empty for a good one."""
    samples = window.samples
    if not np.isfinite(samples).all():
        return (Finding("not_finite", True, "samples that are no numbers", "the driver or the recording is broken"),)
    if (peak := np.abs(samples).max()) > MAX_SAMPLE:
        return (Finding("out_of_range", True, f"a sample of {peak:.3g} {window.unit}", "look at the scale"),)
    found: dict[str, Finding] = {}
    for channel in range(len(samples)):
        for finding in _channel(window, channel):
            before = found.get(finding.check)
            if before is None or (finding.bad and not before.bad):
                found[finding.check] = finding
    found |= {f.check: f for f in _gravity(window)}
    return tuple(sorted(found.values(), key=lambda finding: not finding.bad))


def _channel(window: Window, channel: int) -> Iterator[Finding]:
    x = window.samples[channel]
    where = f"channel {channel}: " if len(window.samples) > 1 else ""
    dead = _dead(window, channel, where)
    if dead is not None:
        yield dead
        return
    mean = float(x.mean(dtype=np.float64))
    rms = float(np.sqrt(np.mean(np.square(x - np.float32(mean)), dtype=np.float64)))
    yield from _clipping(window, channel, where)
    full_scale = _of(window.limits.full_scale, channel)
    gravity_g = 1.0 if window.unit == "g" else 0.0  # a single axis that feels gravity may show all of it
    if full_scale is not None and not window.limits.gravity and abs(mean) > DC_SHARE * full_scale + gravity_g:
        yield Finding(
            "dc",
            False,
            f"{where}the mean is {mean:.3g} {window.unit}, {abs(mean) / full_scale:.0%} of the range",
            "check wiring, bias and range",
        )
    low, high = PLAUSIBLE_RMS.get(window.unit, (0.0, math.inf))
    if not low <= rms <= high:
        what = "nothing seems to be connected" if rms < low else "look at scale, gain and mounting"
        yield Finding("level", False, f"{where}{rms:.3g} {window.unit} RMS is outside {low:g} to {high:g}", what)
    if window.unit != "g":
        yield from _mains_hum(x, window.rate_hz, where)


def _dead(window: Window, channel: int, where: str) -> Finding | None:
    """No signal at all: zeros, one value, or no more than the converter's own rounding."""
    x = window.samples[channel]
    changes = np.flatnonzero(x[1:] != x[:-1])
    if len(changes) == 0:
        longest, value = len(x), float(x[0])
    else:
        runs = np.diff(changes, prepend=-1, append=len(x) - 1)
        at = int(runs.argmax())
        longest, value = int(runs[at]), float(x[changes[at]] if at < len(changes) else x[-1])
    lasted_s = longest / window.rate_hz
    whole = longest == len(x)
    if value == 0 and (whole or lasted_s > ZERO_S):
        return Finding(
            "silence", True, f"{where}nothing but zeros for {lasted_s:.1f} s", "muted, switched off or not connected?"
        )
    if value != 0 and (whole or lasted_s > SAME_S) and not _at_limit(window, channel, value):
        return Finding(
            "stuck", True, f"{where}the same {value:.6g} {window.unit} for {lasted_s:.1f} s", "power-cycle the sensor"
        )
    few = np.unique(x[:LOOKED_AT])
    if len(few) <= FEW_CODES and len(x) >= LOOKED_AT and np.isin(x, few).all():
        return Finding("stuck", True, f"{where}no more than {len(few)} different values", "power-cycle the sensor")
    lsb = _of(window.limits.lsb, channel)
    if lsb is not None and float(np.std(x, dtype=np.float64)) < NOISE_LSB * lsb:
        return Finding(
            "silence",
            True,
            f"{where}no more than the converter's own noise",
            "muted, range far too large, or no sensor",
        )
    return None


def _at_limit(window: Window, channel: int, value: float) -> bool:
    """A long run at full scale is clipping, not a hanging converter."""
    full_scale = _of(window.limits.full_scale, channel)
    return full_scale is not None and abs(value) >= full_scale * (1 - CLIPPED_SHARE)


def _clipping(window: Window, channel: int, where: str) -> Iterator[Finding]:
    """Samples at the limit of the range; without a known range, crests that are cut off flat."""
    x = window.samples[channel]
    full_scale = _of(window.limits.full_scale, channel)
    if full_scale is not None:
        lsb = _of(window.limits.lsb, channel) or full_scale * 1e-6
        at_limit = np.abs(x) >= full_scale - 1.5 * lsb  # float32 rounds, and the positive limit is a step lower
        if not at_limit.any():
            return
        run = _longest_run(at_limit)
        limit = f"its full scale of {full_scale:.4g} {window.unit}"
    else:
        high, low = float(x.max()), float(x.min())
        at_limit = (x == high) | (x == low)
        near = 0.01 * (high - low)
        just_inside = int(((x >= high - near) | (x <= low + near)).sum()) - int(at_limit.sum())
        # A crest thins out towards its top, even a slow sine's in coarse steps; what was cut off piles up there.
        if at_limit.sum() <= 2 * max(CLIPPED_RUN, just_inside) or not _finely_stepped(x):
            return
        run = _longest_run(at_limit)
        limit = f"a limit near {max(abs(high), abs(low)):.4g} {window.unit}"
    share = float(at_limit.mean())
    if run > CLIPPED_RUN or share > CLIPPED_SHARE:
        yield Finding(
            "clipping",
            share > CLIPPED_BAD_SHARE,
            f"{where}{share:.2%} of the samples are at {limit}",
            "choose a larger range or a lower gain",
        )


def _finely_stepped(x: Array) -> bool:
    """True when the steps between samples are far smaller than the signal: else equal neighbours mean nothing."""
    steps = np.abs(np.diff(x))
    steps = steps[steps > 0]
    return len(steps) > 0 and float(np.ptp(x)) > 200 * float(steps.min())


def _longest_run(mask: NDArray[np.bool_]) -> int:
    """The most consecutive True values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _gravity(window: Window) -> Iterator[Finding]:
    """The 1 g test: at rest or shaking, the mean of three axes is gravity."""
    if not window.limits.gravity or len(window.samples) != 3:
        return
    felt_g = float(np.linalg.norm(window.samples.mean(axis=1, dtype=np.float64)))
    if not GRAVITY_G[0] <= felt_g <= GRAVITY_G[1]:
        yield Finding(
            "gravity",
            False,
            f"the three axes feel {felt_g:.2f} g of gravity instead of 1",
            "wrong range or scale, a dead axis, or a loose mount",
        )


def _mains_hum(x: Array, rate_hz: int, where: str) -> Iterator[Finding]:
    """Lines at 50 or 60 Hz and their multiples that stand out and carry much of the sound: a cable picks them up."""
    if len(x) < HUM_MIN_S * rate_hz:
        return
    x = x[: round(HUM_MAX_S * rate_hz)]
    power_f = np.abs(fft.rfft((x - x.mean()) * np.hanning(len(x)).astype(np.float32))) ** 2
    bin_hz = rate_hz / len(x)
    total = float(power_f.sum())
    for mains_hz in (50, 60):
        standing, carried = 0, 0.0
        for line_hz in range(mains_hz, mains_hz * HUM_LINES + 1, mains_hz):
            if line_hz + 12 > rate_hz / 2:
                break
            at, near, far = round(line_hz / bin_hz), math.ceil(1.5 / bin_hz), round(12 / bin_hz)
            line = power_f[at - near : at + near + 1]
            around = np.concatenate((power_f[at - far : at - near], power_f[at + near + 1 : at + far + 1]))
            if line.max() > 10 ** (HUM_DB / 10) * np.median(around):
                standing, carried = standing + 1, carried + float(line.sum())
        if standing >= HUM_NEEDED and carried > HUM_SHARE * total:
            yield Finding(
                "mains_hum",
                False,
                f"{where}{carried / total:.0%} of the sound are lines of {mains_hz} Hz mains",
                "check the cable's shield and the supply's ground",
            )


def _of(values: tuple[float, ...], channel: int) -> float | None:
    return values[channel] if values else None
