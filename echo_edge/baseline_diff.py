"""How two baselines of a point differ: what they were made with, what they know, what they promise, how far apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.baseline import Baseline
from echo_edge.errors import BaselineError
from echo_edge.normal import NormalState, combine

MAX_SCORED = 512  # windows of a state, evenly spread: a share needs no more, and a person waits for it
TARGET_PER_MONTH = 1.0  # whose threshold is taken for the share of strange windows

Strange = Callable[[Baseline, NormalState], NDArray[np.bool_]]
"""Which windows of a state's bank lie above the threshold of every state of the baseline; shape (W,)."""


def difference(old: Baseline, new: Baseline) -> dict[str, Any]:
    """Everything that differs between two versions, as JSON.

    ``strange_share`` of a state: which part of its windows would have been above the old threshold; None where the two
    cannot be compared, and ``incomparable`` then says why.

    Raises:
        BaselineError: they are of two points.
    """
    if old.point != new.point:
        raise BaselineError(f"{old.id} is of {old.point} and {new.id} of {new.point}: compare two of one point")
    incomparable = old.origin.difference(new.origin)
    if incomparable is None and not _thresholds(old):
        incomparable = f"no threshold was stored with {old.id}"
    shares = shares_strange(old, new, above_threshold) if incomparable is None else {}
    before, after = ({state.name: state.about() for state in one.states} for one in (old, new))
    return {
        "point": old.point,
        "old": old.id,
        "new": new.id,
        "changed": [change for change in _changes(old, new) if change["old"] != change["new"]],
        "states": [
            {"name": name, "old": before.get(name), "new": after.get(name), "strange_share": shares.get(name)}
            for name in {**before, **after}
        ],
        "incomparable": incomparable,
        "false_alarms": {
            "old": [asdict(row) for row in old.false_alarms],
            "new": [asdict(r) for r in new.false_alarms],
        },
    }


def shares_strange(old: Baseline, new: Baseline, strange: Strange) -> dict[str, float]:
    """Part (0..1) of each new state's windows that the old baseline would have called strange."""
    return {state.name: float(np.mean(strange(old, state))) for state in new.states}


def above_threshold(old: Baseline, state: NormalState) -> NDArray[np.bool_]:
    """The windows of ``state``, at most ``MAX_SCORED``, that no state of ``old`` takes for normal; see ``Strange``."""
    vectors = state.arrays()["vectors"]
    picked = np.unique(np.linspace(0, len(vectors) - 1, min(MAX_SCORED, len(vectors))).astype(np.int64))
    thresholds = _thresholds(old)
    return np.array(
        [
            all(combine(known.ratios(window)).max() > thresholds[known.name] for known in old.states)
            for window in vectors[picked].astype(np.float32)
        ]
    )


def _thresholds(baseline: Baseline) -> dict[str, float]:
    nearest = min(baseline.false_alarms, key=lambda row: abs(row.target - TARGET_PER_MONTH), default=None)
    return {} if nearest is None else nearest.thresholds


def _changes(old: Baseline, new: Baseline) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = [{"what": "sensor", "old": old.identity, "new": new.identity}]
    origins = (asdict(old.origin), asdict(new.origin))
    changes += [{"what": name, "old": origins[0][name], "new": origins[1][name]} for name in origins[0]]
    names = {**old.settings, **new.settings}
    changes += [{"what": name, "old": old.settings.get(name), "new": new.settings.get(name)} for name in names]
    return changes
