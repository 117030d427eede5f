"""The promise in operation: does a point alarm more often than its threshold promised? Pure.

Alerts of a healthy machine are rare and independent, so their number in a time is Poisson; an alert that a person
labelled a fault is none of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import chdtri

from echo_edge.records import FalseAlarmRate
from echo_edge.tail import MONTH_S

ACCEPTED = 0.05  # chance of ever calling a promise broken that is kept, however often one looks
USUALLY = 5.0  # a broken promise is about so many times the target: where its evidence is looked for first
FEWEST = 2  # one alert may always happen


@dataclass(slots=True)
class Operation:
    """What became of a point under one baseline, over all restarts. Its only owner is the pipeline's thread."""

    monitored_s: float = 0.0
    alerts: int = 0
    faults: int = 0
    """Alerts that a person labelled a fault."""

    @property
    def false_alerts(self) -> int:
        """Alerts that nobody labelled a fault."""
        return max(0, self.alerts - self.faults)

    def kept(self, target_per_month: float) -> bool | None:
        """False when so many alerts are hardly possible at the rate that was promised; None before any monitoring."""
        if self.monitored_s <= 0:
            return None
        return not broken(self.false_alerts, self.monitored_s, target_per_month)


def name_of(version: str, target_per_month: float, configured: float) -> str:
    """What a promise is kept under: the version of its thresholds, and the target where another one is configured."""
    return version if target_per_month == configured else f"{version}@{target_per_month:g}"


def expected(monitored_s: float, target_per_month: float) -> float:
    """How many false alarms the target allows in a time."""
    return target_per_month * monitored_s / MONTH_S


def broken(alerts: int, monitored_s: float, target_per_month: float) -> bool:
    """True when at least two alerts came, more than expected, and twenty times as likely at another rate.

    Looked at every minute for years, a plain Poisson test would call one kept promise of four broken. The likelihood
    of n alerts where mu are expected, averaged over exponential rates of mean ``USUALLY`` and divided by that of the
    target, stays below 20 for ever in 19 of 20 kept promises (Ville's inequality; Robbins 1970).
    """
    mu, weight = expected(monitored_s, target_per_month), 1 / USUALLY
    evidence = math.log(weight) + math.lgamma(alerts + 1) - (alerts + 1) * math.log(weight + mu) + mu
    return alerts >= FEWEST and alerts > mu and evidence >= -math.log(ACCEPTED)


def most(alerts: int) -> float:
    """The largest mean of a Poisson count of which so many were seen, with 95 % confidence: 3.0 for none.

    Half the 95 % quantile of chi-square with 2 n + 2 degrees of freedom (Garwood 1936).
    """
    return float(chdtri(2 * alerts + 2, 0.05)) / 2


def in_words(operation: Operation, rate: FalseAlarmRate, learned_s: float) -> str:
    """The verdict for a person, with what can be done.

    Args:
        rate: after this operation.
        learned_s: seconds of enrollment behind the baseline; they count as time without an alert.
    """
    if operation.kept(rate.target) is False:
        hours = operation.monitored_s / 3600
        return (
            f"BROKEN: {operation.false_alerts} alerts in {hours:.0f} h, "
            f"{expected(operation.monitored_s, rate.target):.2g} were promised; label the faults among them, "
            "or learn longer over the machine's usual work"
        )
    if rate.demonstrated_upper_95 <= rate.target:
        return "kept, and demonstrated"
    if operation.false_alerts:
        return "not contradicted"
    days = (rate.demonstrated_upper_95 / rate.target - 1) * (learned_s + operation.monitored_s) / 86400
    return f"not contradicted; demonstrated after {days:.0f} more days without a false alarm"
