"""A machine at work, days long, as one sensor hears it: windows of 5 s, in a hall where everything changes slowly.

The machine itself is ``sensors.Machine``; what goes on around it is drawn by ``hall.py``. Parts of the stream, such as
its days, are invented apart from each other, so that they can be made in any order; load, temperature and neighbours go
on across them.

Shape suffixes: S = samples of one window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from echo_edge.records import Window
from sensors.machine import Machine, Resonance
from tests.torture.hall import HOP_S, NEIGHBOURS, Hall, Knock, stay

RMS = 0.1  # of a healthy machine of level 1, in its unit
SHAFTS_HZ = (24.6, 29.5, 49.2, 16.4)
AROUND_DB = {"Pa": 0.0, "g": -14.0}  # through the air a hall comes as it is; through foundations so much less of it
AMBIENT_DB = -12.0  # below the machine, by day: a microphone half a metre away from it
NEIGHBOURS_DB = (-16.0, -8.0)  # below the machine: one to three metres further away
AMBIENT_CUT_HZ = 250.0  # rumble of ventilation and traffic, falling by 6 dB an octave above
KNOCK = 4.0  # peak of a door or a tool, in RMS of the machine
DOOR_HZ, TOOL_HZ = (60.0, 160.0), (1500.0, 3300.0)
DOOR_S, TOOL_S = 0.12, 0.06  # how soon a knock has decayed to a third
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Site:
    """Which machine, and how it is listened to."""

    number: int
    rate_hz: int
    unit: str
    shaft_hz: float
    build: float
    """Factor on the frequencies of its structure: larger machines sound lower."""

    level: float

    @property
    def point(self) -> str:
        return f"machine-{self.number}/{'mic' if self.unit == 'Pa' else 'de'}"


def site(number: int) -> Site:
    """Return machine ``number``: rates of 8 and 16 kHz, microphone and accelerometer, four speeds in turn."""
    random = np.random.default_rng([number, 2_000_000])
    rate_hz = (8000, 16_000)[number % 2]
    unit = ("g", "Pa")[number // 2 % 2]
    level = float(10 ** random.uniform(-0.4, 0.4))
    return Site(number, rate_hz, unit, SHAFTS_HZ[number // 4 % 4], float(random.uniform(0.8, 1.2)), level)


class Operation:
    """Windows of one machine from a midnight on.

    Args:
        site: which machine.
        windows: how many.
        fault: what grows, one of ``sensors.FAULTS``; None: nothing.
        severity_w: 0 to 1 for each window of the whole stay, reached at the window's end.
    """

    def __init__(
        self, site: Site, windows: int, fault: str | None = None, severity_w: NDArray[np.float64] | None = None
    ) -> None:
        self.site = site
        self.windows = windows
        self._hall = stay(site.number, self.windows)
        self._fault, self._severity_w = fault, severity_w

    def part(self, first: int, last: int) -> Iterator[Window]:
        """Windows ``first`` to ``last`` (not included), one gapless signal; another part is another one."""
        site, hall = self.site, self._hall
        machine = Machine(
            site.number,
            site.rate_hz,
            1,
            site.unit,
            shaft_hz=site.shaft_hz,
            level=site.level,
            slices=round(HOP_S / 0.05),
            run=first,
        )
        around = _Around(site, hall, first)
        for w in range(first, last):
            machine.load, machine.shaft_hz = float(hall.load_w[w]), site.shaft_hz * float(hall.speed_w[w])
            machine.tune(site.build * float(hall.stiffness_w[w]), float(hall.damping_w[w]))
            if self._fault is not None and self._severity_w is not None:
                severity = float(self._severity_w[w])
                machine.set_fault(self._fault if severity else None, severity)
            heard = machine.samples(round(HOP_S * site.rate_hz))[:, 0] + around(w)
            heard *= np.float32(hall.drift_w[w])
            yield Window(site.point, heard[None], site.rate_hz, round(w * HOP_S * 1e9), site.unit)


class _Around:
    """All that is not the machine: ambient noise, neighbours that run, knocks."""

    def __init__(self, site: Site, hall: Hall, first: int) -> None:
        built = np.random.default_rng([site.number, 2_000_001])
        self._random = np.random.default_rng([site.number, 2_000_002, first])
        self._hall, self._rate_hz, self._first = hall, site.rate_hz, first
        self._scale = RMS * site.level * 10 ** (AROUND_DB[site.unit] / 20)
        keep = np.exp(-2 * np.pi * AMBIENT_CUT_HZ / site.rate_hz)
        self._rumble = np.array([1.0, -keep], np.float32)
        self._rumble_gain = np.array([10 ** (AMBIENT_DB / 20) * np.sqrt(1 - keep**2)], np.float32)
        self._state = np.zeros(1, np.float32)
        self._neighbours = [_Neighbour(built, site.rate_hz) for _ in range(NEIGHBOURS)]
        self._knocks: dict[int, list[Knock]] = {}
        for knock in hall.knocks:
            self._knocks.setdefault(knock.window, []).append(knock)

    def __call__(self, w: int) -> Array:
        """Shape (S,)."""
        samples = round(HOP_S * self._rate_hz)
        rumble, self._state = lfilter(self._rumble_gain, self._rumble, self._white(samples), zi=self._state)
        heard = rumble * np.float32(self._hall.ambient_w[w])
        for k, neighbour in enumerate(self._neighbours):
            before = float(self._hall.neighbours_wk[w - 1, k]) if w > self._first else None
            now = float(self._hall.neighbours_wk[w, k])
            if now or before:
                speed = float(self._hall.neighbour_speeds_wk[w, k])
                rises = np.linspace(now if before is None else before, now, samples, dtype=np.float32)
                heard += rises * neighbour(self._white(samples), speed)
        for knock in self._knocks.get(w, ()):
            heard += self._knock(knock, samples)
        return np.asarray(heard * np.float32(self._scale), np.float32)

    def _white(self, samples: int) -> Array:
        return self._random.standard_normal(samples, dtype=np.float32)

    def _knock(self, knock: Knock, samples: int) -> Array:
        """A burst that decays; it ends with the window."""
        (low, high), decay_s = (TOOL_HZ, TOOL_S) if knock.tool else (DOOR_HZ, DOOR_S)
        at = round(knock.at_s * self._rate_hz)
        t = np.arange(samples - at) / self._rate_hz
        ring = np.sin(2 * np.pi * (low + (high - low) * knock.pitch) * t) + 0.3 * self._white(len(t))
        burst = np.zeros(samples, np.float32)
        burst[at:] = KNOCK * knock.loudness * np.exp(-t / decay_s) * ring
        return burst


class _Neighbour:
    """Another machine: a hum of a few orders and noise through its own structure, RMS about ``loudness``."""

    def __init__(self, built: np.random.Generator, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._loudness = 10 ** (built.uniform(*NEIGHBOURS_DB) / 20)
        self._hz = built.uniform(15, 60)
        self._orders = ((1, 0.5), (2, 0.3), (int(built.integers(3, 9)), 0.4), (int(built.integers(9, 30)), 0.3))
        frequency_hz, damping = built.uniform(400, 3000), built.uniform(0.03, 0.1)
        self._body = Resonance(frequency_hz, damping, rate_hz)
        self._noise = np.float32(0.7 / np.sqrt(2 * np.pi * frequency_hz * damping / rate_hz))  # RMS 0.7
        self._turns = 0.0

    def __call__(self, white: Array, speed: float) -> Array:
        """Shape (S,), with the noise made of ``white``."""
        step = self._hz * speed / self._rate_hz
        turns = (self._turns + step * np.arange(1, len(white) + 1)) % 1.0  # orders are whole: one turn is enough
        self._turns = float(turns[-1])
        angle = (2 * np.pi * turns).astype(np.float32)
        heard = self._noise * self._body(white[:, None])[:, 0]
        for order, height in self._orders:
            if order * self._hz < 0.45 * self._rate_hz:
                heard += np.float32(height) * np.sin(np.float32(order) * angle)
        return heard * np.float32(self._loudness)
