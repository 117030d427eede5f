"""Machines that do not exist, each heard once: an endless, licence-free source of machine-like signals. Pure.

``sensors/machine.py`` invents one machine for hours, for demos; here every call draws another machine: its bearings,
gears, fans, structure, transducer and load, so that nothing about one of them can be learned by heart.

Sources: impact trains with slip through resonances, R. B. Randall and J. Antoni, "Rolling element bearing diagnostics
- a tutorial", Mechanical Systems and Signal Processing 25 (2011); defect orders from the geometry of the bearing,
ibid. equations (1) to (4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

PARTS = ("impacts", "tones", "flow", "structure")
RATES_HZ = (8_000, 12_000, 12_800, 16_000, 20_000, 24_000, 25_600, 32_000, 44_100, 48_000, 51_200)
Array = NDArray[np.float64]


def machine_signal(random: np.random.Generator, rate_hz: int, frames: int) -> NDArray[np.float32]:
    """Return ``frames`` samples of a machine drawn from ``random``; RMS between 0.01 and 2, log-uniform."""
    return machine_states(random, rate_hz, frames, 1)[0]


def machine_states(random: np.random.Generator, rate_hz: int, frames: int, states: int) -> list[NDArray[np.float32]]:
    """Return one machine in several states: as it is, and each time with one or two of its parts drawn anew.

    A part is its impacts (a bearing fails, or is replaced), its tones, its flow, or a share of its structure. The
    level stays within 6 dB of the first state's; noise is drawn anew each time.
    """
    seeds = {part: int(random.integers(2**62)) for part in ("speed", *PARTS)}
    level, blend, heard = random.uniform(-2, 0.3), None, []
    for state in range(states):
        if state:
            for part in random.choice(PARTS, size=int(random.integers(1, 3)), replace=False).tolist():
                if part == "structure":
                    blend = (int(random.integers(2**62)), random.uniform(0.05, 0.5))
                else:
                    seeds[part] = int(random.integers(2**62))
        loud = 10 ** (level + (random.uniform(-0.3, 0.3) if state else 0))
        signal = _heard(random, seeds, blend, rate_hz, frames)
        heard.append(np.asarray(loud * _unit(signal), dtype=np.float32))
    return heard


def _heard(
    random: np.random.Generator, seeds: dict[str, int], blend: tuple[int, float] | None, rate_hz: int, frames: int
) -> Array:
    """Return a machine whose parts follow from ``seeds``; its noise, and where in a turn it begins, from ``random``."""
    part = {name: np.random.default_rng(seed) for name, seed in seeds.items()}
    turns = random.random() + _turns(part["speed"], rate_hz, frames)
    forces = random.standard_normal(frames, np.float32) * _flow(part["flow"], turns)
    for _ in range(part["impacts"].integers(0, 3)):
        loud, train = _decibels(part["impacts"], -15, 20), _impacts(part["impacts"], random, turns)
        forces += loud * train / max(float(train.std()), 1e-12)
    heard = _unit(_structure(part["structure"], forces, rate_hz, blend))
    heard += _decibels(part["tones"], -25, 10) * _unit(_tones(part["tones"], turns, rate_hz))
    transducer = random.standard_normal(frames, np.float32)
    heard += _decibels(part["speed"], -60, -20) * transducer
    if part["speed"].random() < 0.2:
        heard *= _cycles(part["speed"], rate_hz, frames)
    return heard


def bearing_orders(random: np.random.Generator) -> tuple[float, float, float, float]:
    """Return defect frequencies per shaft turn of a random bearing: outer race, inner race, ball, cage."""
    balls, contact = int(random.integers(6, 17)), np.cos(np.radians(random.uniform(0, 40)))
    ratio = random.uniform(0.12, 0.35) * contact  # ball over pitch diameter
    cage = (1 - ratio) / 2
    return balls * cage, balls * (1 + ratio) / 2, (1 - ratio**2) / (2 * ratio) * contact * 2, cage


def _turns(random: np.random.Generator, rate_hz: int, frames: int) -> Array:
    """Angle of the shaft in turns: 5 to 100 Hz, wandering by some tenths of a percent, at times ramping."""
    knots = max(2, frames // (rate_hz // 4))
    speed = 1 + random.uniform(0, 0.004) * np.cumsum(random.standard_normal(knots)) / np.sqrt(knots)
    if random.random() < 0.15:
        speed *= np.linspace(1, random.uniform(0.5, 1.5), knots)
    shaft_hz = 5 * 20 ** random.random()
    steps = np.interp(np.linspace(0, knots - 1, frames), np.arange(knots), np.maximum(speed, 0.05))
    return np.asarray(np.cumsum(steps) * shaft_hz / rate_hz)


def _impacts(part: np.random.Generator, chance: np.random.Generator, turns: Array) -> Array:
    """A train of impacts: a bearing's race, ball or cage, a gear tooth, a valve; with slip and a load zone.

    What it is follows from ``part``, how it slips from ``chance``.
    """
    outer, inner, ball, cage = bearing_orders(part)
    order, swing = [
        (outer, 0.0),
        (inner, 1.0),
        (ball, cage),
        (cage, 0.0),
        (float(part.integers(1, 9)), 0.0),
        (0.5, 0.0),
    ][part.choice(6, p=(0.28, 0.28, 0.22, 0.04, 0.12, 0.06))]
    count = max(1, int((turns[-1] - turns[0]) * order))
    slip = part.uniform(0, 0.03) if order != int(order) else part.uniform(0, 0.003)
    at = turns[0] + np.cumsum(1 + slip * chance.standard_normal(count)) / order
    at = at[(at > turns[0]) & (at < turns[-1])]
    height = 1 + part.uniform(0, 0.4) * chance.standard_normal(len(at))
    if swing:
        height *= 1 - part.uniform(0.2, 1.0) / 2 * (1 - np.cos(2 * np.pi * swing * at))
    index = np.interp(at, turns, np.arange(len(turns)))
    whole = index.astype(np.int64)
    train = np.zeros(len(turns) + 1)
    np.add.at(train, whole, height * (1 - (index - whole)))
    np.add.at(train, whole + 1, height * (index - whole))
    return train[:-1]


def _structure(
    random: np.random.Generator, forces: Array, rate_hz: int, blend: tuple[int, float] | None = None
) -> Array:
    """What the structure makes of the forces; ``blend`` is the seed of another structure and its share."""
    size = fft.next_fast_len(len(forces) + rate_hz // 4, real=True)
    freq_hz = fft.rfftfreq(size, 1 / rate_hz).astype(np.float32)
    response = _response(random, freq_hz, rate_hz)
    if blend:
        seed, share = blend
        response += np.complex64(share) * (_response(np.random.default_rng(seed), freq_hz, rate_hz) - response)
    return np.asarray(fft.irfft(fft.rfft(forces.astype(np.float32), size) * response, size)[: len(forces)], np.float64)


def _response(random: np.random.Generator, freq_hz: NDArray[np.float32], rate_hz: int) -> NDArray[np.complex64]:
    """Up to 12 modes and a direct path."""
    response = np.full(len(freq_hz), _decibels(random, -40, 0), dtype=np.complex64)
    squared = freq_hz * freq_hz
    for _ in range(random.integers(2, 13)):
        mode_hz = 100 * (0.48 * rate_hz / 100) ** random.random()
        damping = 0.004 * 25 ** random.random()
        weight = random.choice((-1, 1)) * _decibels(random, -25, 0)
        losses, apart = np.float32(2 * damping * mode_hz) * freq_hz, np.float32(mode_hz**2) - squared
        gain = np.float32(weight) * losses / (apart * apart + losses * losses)  # i losses / (apart + i losses)
        response.real += gain * losses
        response.imag += gain * apart
    response *= (1 + freq_hz) ** np.float32(-random.uniform(0, 0.5))
    if random.random() < 0.5:  # an anti-aliasing or transducer roll-off
        response /= np.sqrt(1 + (freq_hz / (random.uniform(0.15, 0.5) * rate_hz)) ** (2 * random.integers(1, 9)))
    return np.asarray(response, np.complex64)


def _tones(random: np.random.Generator, turns: Array, rate_hz: int) -> Array:
    """Shaft harmonics, blade pass, gear mesh with sidebands, the mains: what hums."""
    shaft_hz = (turns[-1] - turns[0]) / len(turns) * rate_hz
    families = [(1.0, int(random.integers(2, 12)), 0.0)]
    if random.random() < 0.5:
        families.append((float(random.integers(3, 13)), int(random.integers(1, 8)), 0.0))
    if random.random() < 0.4:
        families.append((float(random.integers(13, 80)), int(random.integers(1, 5)), random.uniform(0.1, 0.6)))
    total = np.zeros(len(turns), dtype=np.float32)
    shaft = _rotor(turns)
    for order, harmonics, sideband in families:
        loud, fall = _decibels(random, -25, 0), random.uniform(0.3, 1.5)
        swing = 1 + np.float32(sideband) * shaft.real if sideband else np.float32(1)
        count = min(harmonics, int(0.48 * rate_hz / (order * shaft_hz)))
        total += loud * swing * _series(random, _rotor(order * turns), count, fall)
    if random.random() < 0.4:
        mains_hz = 100 if random.random() < 0.5 else 120
        mains = _rotor(mains_hz / rate_hz * np.arange(len(turns)))
        total += _decibels(random, -30, 0) * _series(random, mains, int(random.integers(2, 8)), 1.0)
    return np.asarray(total, dtype=np.float64)


def _rotor(turns: NDArray[np.floating[Any]]) -> NDArray[np.complex64]:
    """Return a unit phasor at an angle in turns."""
    angle = (2 * np.pi * (turns - np.floor(turns))).astype(np.float32)
    phasor = np.empty(len(angle), np.complex64)
    np.cos(angle, out=phasor.real)
    np.sin(angle, out=phasor.imag)
    return phasor


def _series(random: np.random.Generator, rotor: NDArray[np.complex64], count: int, fall: float) -> NDArray[np.float32]:
    """Add ``count`` harmonics of random phase, the k-th of amplitude k ** -fall; powers cost less than cosines."""
    total, power = np.zeros(len(rotor), dtype=np.float32), rotor
    for k in range(1, count + 1):
        total += (power * np.complex64(k**-fall * np.exp(2j * np.pi * random.random()))).real
        power = power * rotor
    return total


def _flow(random: np.random.Generator, turns: Array) -> Array:
    """How the noise swells: with the blades, with the shaft, or not at all."""
    if random.random() < 0.5:
        return np.ones(len(turns))
    order = float(random.integers(1, 9))
    return np.asarray(1 + random.uniform(0.1, 0.9) * np.cos(2 * np.pi * order * turns))


def _cycles(random: np.random.Generator, rate_hz: int, frames: int) -> Array:
    """A machine that works in strokes: on and off, with soft edges."""
    period_s, share = 0.3 * 20 ** random.random(), random.uniform(0.2, 0.8)
    phase = (np.arange(frames) / rate_hz / period_s + random.random()) % 1.0
    edge = np.clip((share - phase) * period_s / 0.02, 0, 1) * np.clip(phase * period_s / 0.02, 0, 1)
    return np.asarray(_decibels(random, -50, -6) + edge)


def _unit(signal: Array) -> Array:
    """Scale to RMS 1; silence stays silence."""
    return signal / max(float(np.sqrt(np.mean(signal**2))), 1e-12)


def _decibels(random: np.random.Generator, low: float, high: float) -> float:
    """Draw an amplitude between two levels in dB."""
    return float(10 ** (random.uniform(low, high) / 20))
