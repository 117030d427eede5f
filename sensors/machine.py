"""A machine that does not exist: how a pump and its motor sound, healthy or with a fault of chosen severity. Pure.

Shape suffixes: T = frames, C = channels.
Sources: the signal model of localized bearing faults (impact train with slip, exciting a resonance, modulated by the
load zone) after R. B. Randall and J. Antoni, "Rolling element bearing diagnostics - a tutorial",
Mechanical Systems and Signal Processing 25 (2011); bearing 6205 as in the data of Case Western Reserve University.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

FAULTS = ("outer_race", "inner_race", "imbalance", "loose_foot", "cavitation")
BPFO, BPFI = 3.5848, 5.4152  # impacts per shaft turn: outer race, inner race (6205)
TEETH, VANES = 23, 5
SLIP = 0.015  # the rolling elements slide: each interval between impacts differs by about this share
RESONANCES = ((900.0, 0.03, 1.0), (2600.0, 0.02, 0.6), (5200.0, 0.02, 0.35))  # frequency Hz, damping ratio, weight
IMPACT_HZ, IMPACT_DAMPING = 4200.0, 0.03  # what a rolling impact rings
SLICE_S = 0.05  # speed and bubbles wander from slice to slice

Array = NDArray[np.float32]


class Resonance:
    """One structural mode: a two-pole filter with unit peak gain that remembers its state."""

    def __init__(self, frequency_hz: float, damping: float, rate_hz: int, channels: int = 1) -> None:
        self._rate_hz, self._frequency_hz, self._damping = rate_hz, frequency_hz, damping
        self._state = np.zeros((2, channels), dtype=np.float32)
        self.tune()

    def tune(self, frequency: float = 1.0, damping: float = 1.0) -> None:
        """Move to these multiples of the frequency and damping ratio it was made with; it rings on."""
        frequency_hz = min(frequency * self._frequency_hz, 0.35 * self._rate_hz)
        radius = math.exp(-2 * math.pi * frequency_hz * damping * self._damping / self._rate_hz)
        angle = 2 * math.pi * frequency_hz / self._rate_hz
        self._a = np.array([1.0, -2 * radius * math.cos(angle), radius * radius], dtype=np.float32)
        gain = (1 - radius) * abs(1 - radius * np.exp(-2j * angle))
        self._b = np.array([gain], dtype=np.float32)
        self.peak_of_impulse = gain / math.sin(angle)  # about: the height of the ringing that one impulse starts

    def __call__(self, x_tc: Array) -> Array:
        """Filter shape (T, C)."""
        y_tc, self._state = lfilter(self._b, self._a, x_tc, axis=0, zi=self._state)
        return np.asarray(y_tc, dtype=np.float32)


class Machine:
    """The vibration or sound of one machine, invented sample by sample; the same seed makes the same signal.

    The signal does not depend on how it is asked for: 100 and then 100 samples are the same as 200.
    """

    def __init__(
        self,
        seed: int = 0,
        rate_hz: int = 25_600,
        channels: int = 1,
        unit: str = "g",
        *,
        shaft_hz: float = 29.5,
        load: float = 0.7,
        level: float = 1.0,
        gravity: bool = False,
        slices: int = 1,
        run: int | None = None,
    ) -> None:
        """Build the machine.

        Args:
            shaft_hz, load: turns per second, and 0 to 1; both may be set while it runs, and hold from the next chunk.
            level: scales everything (1.0: about 0.1 of the unit RMS when healthy).
            gravity: the last channel feels it, as the upright axis of an accelerometer in g does.
            slices: of 50 ms, invented at a time, as one chunk: 100 are three times as fast as 1.
            run: another number is another run of the same machine: built alike, but other noise.
        """
        self.rate_hz, self.channels, self.unit = rate_hz, channels, unit
        self.shaft_hz, self.load = shaft_hz, load
        self._level = level
        self._rest_c = np.zeros(channels, dtype=np.float32)
        self._rest_c[-1] = gravity
        self._random = np.random.default_rng(seed)
        self._slices, self._slice = slices, max(16, round(SLICE_S * rate_hz))
        self._chunk = self._slices * self._slice
        self._ready_tc: Array = np.zeros((0, channels), dtype=np.float32)
        self._turns = 0.0
        self._speed = 1.0
        self._phases_c = 2 * np.pi * self._random.random((8, channels)).astype(np.float32)
        self._gain_c = (0.7 + 0.3 * self._random.random(channels)).astype(np.float32)
        self._modes = [(Resonance(f, d, rate_hz, channels), w) for f, d, w in RESONANCES if f < 0.45 * rate_hz]
        self._ring = Resonance(IMPACT_HZ, IMPACT_DAMPING, rate_hz)
        self._hiss = Resonance(0.3 * rate_hz, 0.3, rate_hz, channels)
        if run is not None:
            self._random = np.random.default_rng([seed, run])
        self._next_impact = 0.0
        self._bubbles = 0.0
        self._asked: tuple[str | None, float] = (None, 0.0)
        self._fault: str | None = None
        self._severity = 0.0

    def set_fault(self, fault: str | None, severity: float = 1.0) -> None:
        """Change the machine's condition from now on; may be called from another thread.

        Args:
            fault: one of ``FAULTS``, None for a healthy machine.
            severity: 0 to 1.
        """
        if fault is not None and fault not in FAULTS:
            raise ValueError(f"no fault {fault!r}; there is: {', '.join(FAULTS)}")
        if not 0 <= severity <= 1:
            raise ValueError(f"severity {severity} is not within 0 to 1")
        self._asked = (fault, severity if fault else 0.0)

    def tune(self, frequency: float = 1.0, damping: float = 1.0) -> None:
        """From the next chunk on, move all resonances to these multiples of how they were built."""
        for resonance in (*(mode for mode, _ in self._modes), self._ring):
            resonance.tune(frequency, damping)

    def samples(self, frames: int) -> Array:
        """Return the next ``frames`` samples, shape (T, C), in ``unit``."""
        parts = [self._ready_tc]
        have = len(self._ready_tc)
        while have < frames:
            parts.append(self._next_chunk())
            have += self._chunk
        all_tc = np.concatenate(parts)
        self._ready_tc = all_tc[frames:]
        return all_tc[:frames]

    def _next_chunk(self) -> Array:
        turns_t = self._turn()
        severity_t = self._ramp()
        x_tc = self._noise()
        x_tc += self._tones(turns_t)
        if self._fault is not None:
            x_tc += severity_t[:, None] * self._fault_signal(turns_t)
        return np.asarray(x_tc * np.float32(self._level) + self._rest_c, dtype=np.float32)

    def _turn(self) -> NDArray[np.float64]:
        """Advance the shaft; its speed wanders by some tenths of a percent."""
        steps = np.empty((self._slices, 1))
        for i in range(self._slices):
            self._speed += 0.02 * (1.0 - self._speed) + 0.0005 * self._random.standard_normal()
            steps[i] = self.shaft_hz * self._speed / self.rate_hz
        begins = self._turns + self._slice * (np.cumsum(steps, axis=0) - steps)
        turns_t = np.ravel(begins + steps * np.arange(1, self._slice + 1))
        self._turns = float(turns_t[-1])
        return turns_t

    def _ramp(self) -> Array:
        """Follow the order to change the condition, within one chunk and without a click."""
        fault, severity = self._asked
        target = severity if fault == self._fault else 0.0
        ramp_t = np.linspace(self._severity, target, self._chunk, dtype=np.float32)
        if fault != self._fault and self._severity == 0.0:  # the former fault has faded: the next chunk has the new one
            self._fault = fault
        self._severity = target
        return ramp_t

    def _noise(self) -> Array:
        white_tc = self._random.standard_normal((self._chunk, self.channels), dtype=np.float32)
        x_tc = 0.02 * white_tc
        for mode, weight in self._modes:
            x_tc += (0.5 * weight * (0.5 + self.load)) * mode(white_tc)
        return np.asarray(x_tc * self._gain_c, dtype=np.float32)

    def _tones(self, turns_t: NDArray[np.float64]) -> Array:
        """Shaft harmonics, vane pass, gear mesh with sidebands: what a healthy machine hums."""
        x_tc = np.zeros((self._chunk, self.channels), dtype=np.float32)
        lines = ((1, 0.05), (2, 0.02), (3, 0.01), (VANES, 0.03 * self.load), (TEETH, 0.04 * self.load))
        for row, (order, height) in enumerate(lines):
            if order * self.shaft_hz < 0.45 * self.rate_hz:
                x_tc += height * _wave(order, turns_t, self._phases_c[row])
        return x_tc

    def _fault_signal(self, turns_t: NDArray[np.float64]) -> Array:
        """What the fault in force adds at severity 1."""
        if self._fault == "outer_race":
            return self._ringing(turns_t, BPFO, 0.0)
        if self._fault == "inner_race":
            return self._ringing(turns_t, BPFI, 0.8)  # the spot passes through the load zone once per turn
        if self._fault == "imbalance":
            quarter_c = np.arange(self.channels, dtype=np.float32) * np.float32(np.pi / 2)
            return np.asarray(0.6 * _wave(1, turns_t, quarter_c), dtype=np.float32)
        if self._fault == "loose_foot":
            return self._rattle(turns_t)
        return self._cavitation(turns_t)

    def _ringing(self, turns_t: NDArray[np.float64], per_turn: float, modulation: float) -> Array:
        """Impacts ``per_turn`` with slip, each setting off the resonance."""
        hits_t = np.zeros((self._chunk, 1), dtype=np.float32)
        end = self._slice - 1
        for begin in range(0, self._chunk, self._slice):  # within a slice the speed is constant
            first, last = float(turns_t[begin]), float(turns_t[begin + end])
            if self._next_impact < first - 1:
                self._next_impact = first
            while self._next_impact <= last:
                at = min(max(0, round((self._next_impact - first) / (last - first) * end)), end)
                zone = 1 - modulation / 2 * (1 - math.cos(2 * math.pi * self._next_impact))
                hits_t[begin + at, 0] += zone * (1 + 0.15 * self._random.standard_normal()) / self._ring.peak_of_impulse
                self._next_impact += (1 + SLIP * self._random.standard_normal()) / per_turn
        return np.asarray(0.9 * self._ring(hits_t) * self._gain_c, dtype=np.float32)

    def _rattle(self, turns_t: NDArray[np.float64]) -> Array:
        """A loose foot: half orders and many harmonics, cut off where the foot meets the ground."""
        x_tc = np.zeros((self._chunk, self.channels), dtype=np.float32)
        for row, order in enumerate((0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)):
            x_tc += (0.25 / (1 + 0.3 * row)) * _wave(order, turns_t, self._phases_c[row])
        return np.clip(x_tc, -0.25, 0.5) * self._gain_c

    def _cavitation(self, turns_t: NDArray[np.float64]) -> Array:
        """Collapsing bubbles: wide-band noise in bursts, stronger as each vane passes."""
        swells = np.empty(self._slices)
        for i in range(self._slices):
            self._bubbles += 0.2 * (self._random.standard_normal() - self._bubbles)
            swells[i] = 0.7 + 0.5 * abs(self._bubbles)
        swell_t = np.repeat(swells, self._slice)
        vane_t = 1 + 0.6 * np.cos(2 * np.pi * VANES * turns_t)
        white_tc = self._random.standard_normal((self._chunk, self.channels), dtype=np.float32)
        hiss_tc = 0.3 * self._hiss(white_tc) + 0.1 * white_tc
        return np.asarray((swell_t * vane_t)[:, None] * hiss_tc * self._gain_c, dtype=np.float32)


def _wave(order: float, turns_t: NDArray[np.float64], phase_c: Array) -> Array:
    """Return a unit sine of ``order`` per turn, shape (T, C); one sine and cosine serve all channels."""
    all_t = order * turns_t
    angle_t = (2 * np.pi * (all_t - np.floor(all_t))).astype(np.float32)[:, None]  # three times as fast as the rest % 1
    return np.asarray(np.sin(angle_t) * np.cos(phase_c) + np.cos(angle_t) * np.sin(phase_c), dtype=np.float32)
