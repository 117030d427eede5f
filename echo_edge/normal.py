"""Normal states of one point: the verdict on a window, and thresholds that keep a target rate.

Shape suffixes: N = bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from echo_edge.config import AlertConfig
from echo_edge.errors import BaselineError
from echo_edge.frontend import band_edges_hz
from echo_edge.normal_state import NormalState
from echo_edge.promise import most
from echo_edge.records import BandShare, Embedding, FalseAlarmRate, Score
from echo_edge.tail import MONTH_S, Persistence

FIRM_AFTER_S = 24 * 3600  # an enrollment shorter than this has not seen a day, and its alerts stay warnings
LEAST_SHARE = 1 / 24  # of the target, that the threshold of an enrollment of less than an hour is set for
WITHIN_S = 60.0  # an alert is to open so soon
PERSISTENCES = (Persistence(1, 1), Persistence(2, 3), Persistence(3, 5), Persistence(6, 10))

Array = NDArray[np.float64]


class Normal:
    """All normal states of one point, and the verdict on a window: unlike every one of them or not.

    Args:
        baseline: the stored baseline's id.
        states: at least one.
        target_per_month: accepted false alarms per month of this point; its states share them.
        hop_s: seconds between windows.
        alert: how many strange windows make an alert; chosen here where it does not say.
    """

    def __init__(
        self, baseline: str, states: Sequence[NormalState], target_per_month: float, hop_s: float, alert: AlertConfig
    ) -> None:
        self.baseline = baseline
        self.states = {state.name: state for state in states}
        self._target = target_per_month
        self.learned_s = sum(state.learned_s for state in states)
        # what a day brings was heard only in part: until all of it was, thresholds are more careful
        share = target_per_month / len(states) * min(1.0, max(self.learned_s / FIRM_AFTER_S, LEAST_SHARE))
        tails = {rule: [state.episodes(rule, hop_s) for state in states] for rule in _rules(alert, hop_s)}
        # Persistence that gains nothing, because neighbouring windows are alike, only costs time: take what lets the
        # thresholds be lowest at the same rate of false alarms.
        self.persistence = min(tails, key=lambda rule: sum(tail.threshold(share) for tail in tails[rule]))
        self._tails = dict(zip(self.states, tails[self.persistence], strict=True))
        self.thresholds = {name: tail.threshold(share) for name, tail in self._tails.items()}
        self._shape = states[0].shape

    def false_alarm_rate(self, monitored_s: float = 0.0, alerts: int = 0) -> FalseAlarmRate:
        """The promise in force, after so many seconds of monitoring and alerts in them.

        The enrollment counts as time without an alert: its windows were judged as if they had not been learned.
        *Estimated* is what the tails say of all that was heard, and for what never was the mean of a Poisson rate of
        which n events were seen (Jeffreys): (n + 0.5) / T. *Demonstrated* is the bound on it: ``promise.most`` over T,
        3 / T for none.
        """
        months = (self.learned_s + monitored_s) / MONTH_S
        heard = sum(self._tails[name].per_month(threshold) for name, threshold in self.thresholds.items())
        return FalseAlarmRate(self._target, heard + (alerts + 0.5) / months, most(alerts) / months)

    def score(self, embedding: Embedding, told: str | None = None, *, provisional: bool = False) -> Score:
        """Compare a window with the state in force, or with every state, and keep the one it is most like.

        Args:
            told: the state in force, where something outside says so; one of ``states``.

        Raises:
            BaselineError: the embedding has another shape than the baseline's.
        """
        if embedding.bands.shape != self._shape:
            raise BaselineError(
                f"{embedding.point}: baseline {self.baseline} has (channels, bands, width) {self._shape}, "
                f"the sensor now gives {embedding.bands.shape}; enroll again"
            )
        names = list(self.states) if told is None else [told]
        verdicts = {name: self.states[name].judge(embedding) for name in names}
        best = min(names, key=lambda name: verdicts[name].value / self.thresholds[name])
        verdict = verdicts[best]
        if not math.isfinite(verdict.value):
            raise BaselineError(f"{embedding.point}: the distance to baseline {self.baseline} is not a finite number")
        return Score(
            point=embedding.point,
            time_ns=embedding.time_ns,
            end_ns=embedding.end_ns,
            value=verdict.value,
            threshold=self.thresholds[best],
            state=best,
            channel=verdict.channel,
            bands=_shares(verdict.band_ratios, embedding.rate_hz),
            baseline=self.baseline,
            provisional=provisional,
            rarities=verdict.rarities,
        )


def _rules(alert: AlertConfig, hop_s: float) -> list[Persistence]:
    if alert.windows is not None and alert.strange_windows is not None:
        return [Persistence(alert.strange_windows, alert.windows)]
    return [rule for rule in PERSISTENCES if rule.windows * hop_s <= WITHIN_S] or [PERSISTENCES[0]]


def _shares(ratios: Array, rate_hz: int) -> tuple[BandShare, ...]:
    """Each band's part of the mean square that made the score."""
    squares = np.square(ratios)
    total = squares.sum() or 1.0  # a window that was itself learned lies at distance 0 in every band
    return tuple(
        BandShare(low, high, float(share))
        for (low, high), share in zip(band_edges_hz(rate_hz), squares / total, strict=True)
    )
