"""A voice that does not exist: glottal pulses of a moving pitch through moving formants, in syllables. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

VOWELS_HZ = (
    (730, 1090, 2440, 3400),  # father
    (530, 1840, 2480, 3500),  # bed
    (270, 2290, 3010, 3600),  # see
    (570, 840, 2410, 3300),  # law
    (300, 870, 2240, 3300),  # boot
    (640, 1190, 2390, 3400),  # but
)  # formants of men, rounded from G. E. Peterson and H. L. Barney, JASA 24 (1952)
BANDWIDTHS_HZ = (70, 90, 130, 200)
Array = NDArray[np.float32]


def talk(seconds: float, rate_hz: int, seed: int = 0, pitch_hz: float = 120.0) -> Array:
    """Return about four syllables a second with a pause now and then, shape (S,), at RMS 1."""
    random = np.random.default_rng(seed)
    parts: list[NDArray[np.float64]] = []
    left = 0
    pitch, before = pitch_hz, random.choice(len(VOWELS_HZ))
    while sum(len(part) for part in parts) < seconds * rate_hz:
        if left == 0:
            left = int(random.integers(4, 8))
            parts.append(np.zeros(round(random.uniform(0.15, 0.35) * rate_hz)))
        else:
            left -= 1
            goal = pitch_hz * random.uniform(0.8, 1.3)
            after = random.choice(len(VOWELS_HZ))
            parts.append(_consonant(random, rate_hz))
            parts.append(_vowels(random, rate_hz, (pitch, goal), (VOWELS_HZ[before], VOWELS_HZ[after])))
            pitch, before = goal, after
    voice = np.concatenate(parts)[: round(seconds * rate_hz)]
    return (voice / np.sqrt(np.mean(voice**2))).astype(np.float32)


def _vowels(
    random: np.random.Generator,
    rate_hz: int,
    pitch: tuple[float, float],
    formants: tuple[tuple[int, ...], tuple[int, ...]],
) -> NDArray[np.float64]:
    """One vowel that glides into another."""
    n = round(random.uniform(0.14, 0.26) * rate_hz)
    turns = np.cumsum(np.linspace(*pitch, n) * (1 + 0.01 * random.standard_normal())) / rate_hz
    pulses = np.diff(np.floor(turns), prepend=0.0)
    glottis = lfilter([1.0], [1.0, -0.95], pulses) + 0.01 * random.standard_normal(n)
    glide = np.linspace(0, 1, n)
    mouth = [_formants(glottis, rate_hz, hz) for hz in formants]
    return np.sin(np.pi * np.linspace(0, 1, n)) ** 0.7 * ((1 - glide) * mouth[0] + glide * mouth[1])


def _formants(source: NDArray[np.float64], rate_hz: int, formants_hz: tuple[int, ...]) -> NDArray[np.float64]:
    for hz, width_hz in zip(formants_hz, BANDWIDTHS_HZ, strict=True):
        if hz < 0.45 * rate_hz:
            radius = np.exp(-np.pi * width_hz / rate_hz)
            denominator = [1.0, -2 * radius * np.cos(2 * np.pi * hz / rate_hz), radius**2]
            source = lfilter([sum(denominator)], denominator, source)
    return np.asarray(source)


def _consonant(random: np.random.Generator, rate_hz: int) -> NDArray[np.float64]:
    """A short hiss."""
    n = round(random.uniform(0.03, 0.08) * rate_hz)
    return np.asarray(0.03 * np.hanning(n) * np.diff(random.standard_normal(n + 1)))
