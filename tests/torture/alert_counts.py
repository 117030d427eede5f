"""How often the daemon's alert policy opens an alert over given scores, and what such a count says of the rate.

Shape suffixes: W = windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from echo_edge.alerts import AlertPolicy
from echo_edge.config import AlertConfig
from echo_edge.records import Score
from echo_edge.tail import MONTH_S, Persistence
from tests.torture.hall import DAY_WINDOWS, HOP_S

CONFIG = AlertConfig()
MONTH_WINDOWS = round(MONTH_S / HOP_S)
BLOCK_H = (2.0, 6.0)
LEAST_BLOCK = round(600 / HOP_S)
Values = NDArray[np.float64]


def opened(ratios_w: Values, rule: Persistence, hop_s: float = HOP_S) -> list[int]:
    """Return the windows at which the daemon's policy opens an alert; scores are in parts of the threshold."""
    policy = AlertPolicy(CONFIG, rule)
    events = (policy.update(_score(float(ratio), w, hop_s)) for w, ratio in enumerate(ratios_w))
    return [w for w, event in enumerate(events) if event is not None and event.type == "open"]


def opened_at_once(ratios_w: Values, rule: Persistence) -> list[int]:
    """As ``opened`` for windows of ``HOP_S``, from alert to alert instead of window by window: for months of them."""
    above_w = ratios_w > 1
    strange_w = np.concatenate([np.zeros(rule.windows, np.int64), np.cumsum(above_w)])
    opens = np.flatnonzero(above_w & (strange_w[rule.windows :] - strange_w[: -rule.windows] >= rule.strange))
    loud = np.concatenate([np.zeros(rule.windows, np.int64), np.cumsum(ratios_w >= CONFIG.clear_ratio)])
    clears = np.flatnonzero(loud[rule.windows :] == loud[: -rule.windows])
    clears = clears[clears >= rule.windows - 1]
    hold_off = math.ceil(CONFIG.hold_off_s / HOP_S)
    begins: list[int] = []
    w = 0
    while (i := int(np.searchsorted(opens, w))) < len(opens):
        begins.append(int(opens[i]))
        if (j := int(np.searchsorted(clears, begins[-1]))) == len(clears):
            break
        w = int(clears[j]) + max(1, hold_off)
    return begins


def _score(ratio: float, w: int, hop_s: float) -> Score:
    begin_ns = round(w * hop_s * 1e9)
    return Score("m/p", begin_ns, begin_ns + round(hop_s * 1e9), ratio, 1.0, "run", 0, (), "measured", False, {})


@dataclass(frozen=True, slots=True)
class Count:
    """Alerts in a time."""

    alerts: int
    months: float

    @property
    def per_month(self) -> float:
        return self.alerts / self.months

    @property
    def interval(self) -> tuple[float, float]:
        """The rates per month that explain such a count, with 95 % (Garwood 1936)."""
        low = float(chi2.ppf(0.025, 2 * self.alerts)) / 2 if self.alerts else 0.0
        return low / self.months, float(chi2.ppf(0.975, 2 * self.alerts + 2)) / 2 / self.months

    def against(self, target: float) -> str:
        """``kept``, or on which side of the target the whole interval lies."""
        low, high = self.interval
        return "too many" if low > target else "fewer" if high < target else "kept"

    def __add__(self, other: Count) -> Count:
        return Count(self.alerts + other.alerts, self.months + other.months)


def resampled_month(values_w: Values, first: int, random: np.random.Generator) -> Values:
    """A month of scores made of blocks of some hours, each at the time of day at which it was heard.

    Args:
        values_w: scores of windows in a row.
        first: the first one's number, counted from a midnight.

    Where no day was heard at some time of day, any other time is taken.
    """
    parts: list[Values] = []
    at = 0
    while at < MONTH_WINDOWS:
        length = round(random.uniform(*BLOCK_H) * 3600 / HOP_S)
        begins = np.arange((at - first) % DAY_WINDOWS, len(values_w) - LEAST_BLOCK + 1, DAY_WINDOWS)
        begin = int(random.choice(begins)) if len(begins) else int(random.integers(max(1, len(values_w) - length + 1)))
        part = values_w[begin : min(begin + length, begin + MONTH_WINDOWS - at)]
        parts.append(part)
        at += len(part)
    return np.concatenate(parts)
