"""How two baselines of a point differ: what they were made with, what they know, what they promise, how far apart."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from echo_edge.baseline import Baseline
from echo_edge.errors import BaselineError

MAX_SCORED = 512  # windows of a state, evenly spread: a share needs no more, and a person waits for it
TARGET_PER_MONTH = 1.0  # whose threshold is taken for the share of strange windows


def difference(old: Baseline, new: Baseline) -> dict[str, Any]:
    """Everything that differs between two versions, as JSON.

    ``strange_share`` of a state: which part of its windows would have been above the old threshold, by encoder and
    spectrum; None where the two cannot be compared, and ``incomparable`` then says why.

    Raises:
        BaselineError: they are of two points.
    """
    if old.point != new.point:
        raise BaselineError(f"{old.id} is of {old.point} and {new.id} of {new.point}: compare two of one point")
    incomparable = old.origin.difference(new.origin)
    if incomparable is None and not _thresholds(old):
        incomparable = f"no threshold was stored with {old.id}"
    shares = shares_strange(old, new) if incomparable is None else {}
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


def shares_strange(old: Baseline, new: Baseline) -> dict[str, float]:
    """Part (0..1) of each new state's windows that no state of the old baseline would have taken for normal."""
    thresholds = _thresholds(old)
    return {
        state.name: float(
            np.all([k.strange_windows(state, thresholds[k.name], MAX_SCORED) for k in old.states], axis=0).mean()
        )
        for state in new.states
    }


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
