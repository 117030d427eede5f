"""Adaptation: let a state's bank grow by what was clearly normal a week ago. Off by default. Pure decisions.

A machine that fails slowly must not teach itself. So windows must be normal with margin by the present baseline and by
its *ancestor*, the newest version of its line that a person made, and together as ordinary as what that one learned;
they wait a week, stay away from every alert and sensor finding, are few, and may not vibrate by more than a quarter
above the ancestor. Scales, tails and thresholds stay: what changes is that windows like the new ones come nearer.

Shape suffixes: W = windows, C = channels, K = indicators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from echo_edge.history_reader import Mask, Part
from echo_edge.indicators import strangeness_scale
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.normal_state import NormalState
from echo_edge.spread import Spread

DAY_NS = 24 * 3600 * 10**9
QUARANTINE_NS = 7 * DAY_NS
CLEARANCE_NS = DAY_NS  # before an alert or a finding of the sensor
MONTH_NS = 30 * DAY_NS
EVERY_NS = 7 * DAY_NS  # a version a week at most: each holds its whole bank
MARGIN = 0.7  # of the threshold
ORDINARY = 0.6  # quantile of the ancestor's own scores that the median of the new windows may reach
MAX_GROWTH = 1.25  # of velocity RMS, or of the amplitude that a level is of
VELOCITY = "velocity_rms_mm_s"


@dataclass(frozen=True, slots=True)
class Version:
    """What adaptation asks of one version in the line of a baseline, newest first."""

    id: str
    created_ns: int
    added: Mapping[str, int] | None
    """Windows that adaptation added, by state; None for a version that a person made."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line of a baseline back to its ancestor."""

    ancestor: str
    added: Mapping[str, int]
    """Windows that adaptation added within the last 30 days, by state."""


def line_of(versions: Sequence[Version], now_ns: int) -> Line:
    """Follow a line, newest first, to the first version that a person made."""
    added: Counter[str] = Counter()
    for version in versions:
        if version.added is None:
            return Line(version.id, added)
        if now_ns - version.created_ns < MONTH_NS:
            added.update(version.added)
    raise ValueError("the line has no version that a person made")


def allowed(state: NormalState, share_per_month: float, added: int) -> int:
    """How many windows may be added to a state now."""
    return max(0, int(share_per_month * state.windows) - added)


def frozen(parts: Sequence[Part], now_ns: int) -> str | None:
    """Why nothing may be learned now, in words; None when nothing is wrong.

    Args:
        parts: everything that is remembered; an alert within the clearance freezes as an open one does.
    """
    for part in parts:
        if np.any(part.in_alert & (part.facts["end_ns"] > now_ns - CLEARANCE_NS)):
            return "an alert is open, or was within the last day"
    return None


def candidates(parts: Sequence[Part], state: str, baseline_ids: Sequence[str], now_ns: int) -> list[Mask]:
    """Which remembered windows might be added to a state, by the verdicts that they got then.

    Args:
        baseline_ids: versions of the present line; what others said does not count.

    Returns:
        For each part a mask of shape (W,).
    """
    troubled = np.sort(
        np.concatenate(
            [
                np.empty(0, np.int64),
                *(
                    p.facts["start_ns"][p.in_alert | p.is_level("not_monitored") | (p.facts["finding"] > 0)]
                    for p in parts
                ),
            ]
        )
    )
    masks: list[Mask] = []
    for part in parts:
        facts = part.facts
        calm = part.is_level("normal") & (facts["ratio"] < MARGIN) & (facts["finding"] == 0)
        own = facts["state"] == part.circumstances.state_number(state)
        age_ns = now_ns - facts["end_ns"]
        old = (age_ns > QUARANTINE_NS) & (age_ns < QUARANTINE_NS + MONTH_NS)
        after = np.searchsorted(troubled, facts["start_ns"])  # the next trouble from this window on
        next_ns = np.append(troubled, np.iinfo(np.int64).max)[after]
        clear = next_ns - CLEARANCE_NS > facts["end_ns"]
        known = part.circumstances.baseline in baseline_ids
        masks.append(np.asarray(calm & own & old & clear & known))
    return masks


def growth(ancestor: NormalState, parts: Sequence[Part], masks: Sequence[Mask]) -> tuple[str, float]:
    """How much stronger some windows vibrate than what the ancestor learned: what was compared, and the largest ratio.

    Velocity RMS by its median; without it the level, by the 1 % quantile that a state keeps of its own.
    """
    facts = [part.facts[mask] for part, mask in zip(parts, masks, strict=True) if mask.any()]
    learned = ancestor.parts.get("indicators")
    if VELOCITY in ancestor.indicator_names and isinstance(learned, Spread):
        values = np.median(np.concatenate([rows["indicators"] for rows in facts]).astype(np.float64), axis=0)
        more = strangeness_scale(values, ancestor.indicator_names) - learned.middle  # decades
        return VELOCITY, float(np.max(10 ** more[:, ancestor.indicator_names.index(VELOCITY)]))
    level_db = np.quantile(np.concatenate([rows["level_db"] for rows in facts]).astype(np.float64), 0.01, axis=0)
    return "level", float(np.max(10 ** ((level_db - ancestor.quiet_db) / 20)))


def chosen(masks: Sequence[Mask], count: int) -> list[Mask]:
    """At most ``count`` of the candidates, evenly over their time."""
    total = sum(int(mask.sum()) for mask in masks)
    if total <= count:
        return list(masks)
    taken = np.zeros(total, np.bool_)
    taken[np.linspace(0, total - 1, count).astype(np.int64)] = True
    picked, before = [], 0
    for mask in masks:
        some = mask.copy()
        own = int(mask.sum())
        some[mask] = taken[before : before + own]
        picked.append(some)
        before += own
    return picked


def calm_by(ancestor: Normal, state: str, material: Material, point: str, rate_hz: int) -> Mask | None:
    """Which windows are normal with margin by the ancestor, too; shape (W,). None where all of them have moved.

    A growing fault shifts all windows a little, long before one of them is strange: the newer half of them must be
    about as ordinary as what the ancestor learned.
    """
    scores = [ancestor.score(one, told=state) for one in material.embeddings(point, rate_hz)]
    values = np.array([score.value for score in scores])
    if np.median(values[len(values) // 2 :]) > np.quantile(ancestor.states[state].held_out, ORDINARY):
        return None
    return np.array([score.value < MARGIN * score.threshold for score in scores], np.bool_)
