"""What changes around and within a machine at work: load, temperature, mains, neighbours, knocks, the sensor. Pure.

Everything is stationary from day to day: whatever is drawn for the second day has the distribution of the first. One
value per window of 5 s; a longer stay in the hall has the shorter one as its beginning. No weekend and no season: a
week is seven times the same day, and what a season does has to be learned as a state.

Shape suffixes: W = windows, K = neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr

HOP_S = 5.0
DAY_S = 24 * 3600
DAY_WINDOWS = round(DAY_S / HOP_S)
NEIGHBOURS = 3
Floats = NDArray[np.float64]

DAY_SWING_K = 4.0  # half of what an unheated hall in use goes up and down between night and afternoon
WANDER_K, WANDER_H = 0.6, 3.0  # doors, sun and clouds, heating: below one degree, over hours
STIFFNESS_PER_K = (0.001, 0.0022)  # steel alone 0.0002; joints, rubber and oil films add the rest: 1-2 % a day
DAMPING_PER_K = (0.005, 0.015)  # rubber and oil lose a percent of their damping per degree; joints differ in sign
LOAD_RANGE = (0.55, 0.85)  # a machine that is well chosen for its work, and is never left to idle
LOAD_MIN = 20.0  # how long a batch, a tank or a valve holds the load: tens of minutes
SHIFT_H = (6.0, 22.0)  # two shifts
BREAKS_H = ((9.0, 9.33), (12.0, 12.67), (17.0, 17.33))
SLIP_SHARE = 0.015  # an asynchronous motor slows down by so much between no load and full load
MAINS_SHARE, MAINS_S = 0.0003, 60.0  # 15 mHz of 50 Hz within minutes: the usual wander of a large grid
AMBIENT_NIGHT_DB, AMBIENT_DB, AMBIENT_MIN = -6.0, 1.0, 10.0  # ventilation goes on at night, people and trucks do not
NEIGHBOUR_ON_MIN = (5.0, 60.0)
NEIGHBOUR_OFF_MIN, NIGHT_FACTOR = 40.0, 3.0  # mean of an exponential: nobody plans it; at night three times as rare
NEIGHBOUR_DB, NEIGHBOUR_SPEED = 0.7, 0.003  # each run of a neighbour is as much louder or softer, faster or slower
KNOCKS_BY_DAY, KNOCKS_BY_NIGHT = 5.0, 0.5  # doors and dropped tools in 16 and in 8 hours
DRIFT_DB, DRIFT_H = 0.03, 6.0  # a sensor of 0.01 dB/K in this hall


@dataclass(frozen=True, slots=True)
class Knock:
    """A door, or a tool that falls."""

    window: int
    at_s: float
    """Within the window."""

    tool: bool
    loudness: float
    """Around 1."""

    pitch: float
    """0 to 1, within what doors or tools sound like."""


@dataclass(frozen=True, slots=True)
class Hall:
    """What happens in each window."""

    hour_w: Floats
    """Time of day, 0 to 24."""

    stiffness_w: Floats
    """Factor on the structure's frequencies."""

    damping_w: Floats
    load_w: Floats
    speed_w: Floats
    """Factor on the shaft's speed."""

    ambient_w: Floats
    """Factor on the amplitude of the ambient noise, 1 by day."""

    neighbours_wk: Floats
    """Amplitude of each neighbour at the window's end, 0 when it is off, about 1 when it is on."""

    neighbour_speeds_wk: Floats
    drift_w: Floats
    """Factor on the sensor's output."""

    knocks: tuple[Knock, ...]


def stay(seed: int, windows: int) -> Hall:
    """Draw what happens to machine ``seed`` within its first ``windows`` windows, from midnight on."""

    def random(process: int) -> np.random.Generator:
        return np.random.default_rng([seed, 1_000_000 + process])

    hour_w = (np.arange(windows) * HOP_S / 3600) % 24
    built = random(0)
    sunny_w = DAY_SWING_K * np.sin(2 * np.pi * (hour_w - 9) / 24)  # warmest at three in the afternoon
    temperature_w = sunny_w + WANDER_K * wander(random(1), windows, WANDER_H * 3600)
    busy_w = by_day(hour_w)
    wish_w = wander(random(2), windows, LOAD_MIN * 60) + 1.2 * (busy_w - 0.6) - 1.2 * at_rest(hour_w)
    low, high = LOAD_RANGE
    load_w = low + (high - low) * ndtr(wish_w / 1.2)
    mains_w = MAINS_SHARE * wander(random(3), windows, MAINS_S)
    ambient_db_w = AMBIENT_NIGHT_DB * (1 - busy_w) + AMBIENT_DB * wander(random(4), windows, AMBIENT_MIN * 60)
    runs = [neighbour(random(10 + k), windows) for k in range(NEIGHBOURS)]
    return Hall(
        hour_w=hour_w,
        stiffness_w=1 - built.uniform(*STIFFNESS_PER_K) * temperature_w,
        damping_w=1 - built.uniform(*DAMPING_PER_K) * temperature_w,
        load_w=load_w,
        speed_w=1 - SLIP_SHARE * (load_w - 0.7) + mains_w,
        ambient_w=10 ** (ambient_db_w / 20),
        neighbours_wk=np.stack([loudness for loudness, _ in runs], axis=1),
        neighbour_speeds_wk=np.stack([speed for _, speed in runs], axis=1),
        drift_w=10 ** (DRIFT_DB * wander(random(5), windows, DRIFT_H * 3600) / 20),
        knocks=knocks(random(6), windows),
    )


def wander(random: np.random.Generator, windows: int, memory_s: float) -> Floats:
    """An Ornstein-Uhlenbeck process of variance 1 that forgets within ``memory_s``, steady from the start: (W,)."""
    keep = np.exp(-HOP_S / memory_s)
    noise = random.standard_normal(windows + 1)
    walk, _ = lfilter([np.sqrt(1 - keep**2)], [1.0, -keep], noise[1:], zi=np.array([keep * noise[0]]))
    return np.asarray(walk)


def by_day(hour_w: Floats) -> Floats:
    """1 within the shifts, 0 at night, half an hour of change between."""
    begin, end = SHIFT_H
    return np.clip(2 * (hour_w - begin) + 0.5, 0, 1) * np.clip(2 * (end - hour_w) + 0.5, 0, 1)


def at_rest(hour_w: Floats) -> Floats:
    """1 within a break, 0 outside, six minutes of change."""
    parts = [np.clip(10 * (hour_w - a), 0, 1) * np.clip(10 * (b - hour_w), 0, 1) for a, b in BREAKS_H]
    return np.asarray(np.max(parts, axis=0))


def neighbour(random: np.random.Generator, windows: int) -> tuple[Floats, Floats]:
    """When a neighbour runs, how loud and how fast: shape (W,) each. It starts and stops within a window."""
    loudness_w, speed_w = np.zeros(windows), np.ones(windows)
    at_s = -float(DAY_S)  # long ago: at the first window it may be on
    while at_s < windows * HOP_S:
        night = by_day(np.array([at_s / 3600 % 24]))[0] < 0.5
        at_s += random.exponential(NEIGHBOUR_OFF_MIN * 60 * (NIGHT_FACTOR if night else 1))
        on_s = 60 * np.exp(random.uniform(*np.log(NEIGHBOUR_ON_MIN)))
        first, last = (max(0, round(t / HOP_S)) for t in (at_s, at_s + on_s))
        loudness_w[first:last] = 10 ** (NEIGHBOUR_DB * random.standard_normal() / 20)
        speed_w[first : last + 1] = 1 + NEIGHBOUR_SPEED * random.standard_normal()
        at_s += on_s
    return loudness_w, speed_w


def knocks(random: np.random.Generator, windows: int) -> tuple[Knock, ...]:
    """Doors and tools: about half and half, most of them by day."""
    found: list[Knock] = []
    at_s = 0.0
    hours = SHIFT_H[1] - SHIFT_H[0]
    by_day_s, by_night_s = 3600 * hours / KNOCKS_BY_DAY, 3600 * (24 - hours) / KNOCKS_BY_NIGHT
    while True:  # thinned: drawn as by day, at night most of them do not happen
        at_s += random.exponential(by_day_s)
        counts, tool = random.random() < by_day_s / by_night_s, random.random() < 0.5
        loudness, pitch = float(np.exp(0.5 * random.standard_normal())), float(random.random())
        if at_s >= windows * HOP_S:
            return tuple(found)
        if counts or SHIFT_H[0] <= at_s / 3600 % 24 < SHIFT_H[1]:
            found.append(Knock(int(at_s / HOP_S), at_s % HOP_S, tool, loudness, pitch))
