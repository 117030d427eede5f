"""False alarms over real recordings of what is normal; they last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from echo_edge.config import AlertConfig
from echo_edge.embedder import Embedder
from echo_edge.normal import Normal
from echo_edge.normal_state import NormalState
from echo_edge.records import Window
from tests.torture.alert_counts import opened
from tests.torture.features import Heard, hear, make_embedder
from tests.torture.judging import embedding, material

OUTDOORS = "S4A03895"  # one recorder in the open, ten seconds every quarter of an hour for a day


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is learned, state by state, and what is judged after it, all of it normal."""

    name: str
    hop_s: float
    learned: dict[str, list[Window]]
    judged: list[Window]


def count_real(data: Path, targets: Sequence[float]) -> list[dict[str, Any]]:
    """Return one row per recording and target."""
    embedder = make_embedder()
    return [row for recorded in recordings(data) for row in _count(recorded, targets, embedder)]


def recordings(data: Path) -> list[Recorded]:
    """CWRU at both ends, the motor without its propeller, and a day in the open."""
    from tests.bench import verdict_worlds  # noqa: PLC0415 - reads recordings, with a library that the rest does without

    worlds = [verdict_worlds.cwru(data / "cwru", end) for end in ("DE", "FE")]
    worlds.append(verdict_worlds.propeller(data / "bldc_motor_mic"))
    found = [
        Recorded(w.name, w.hop_s, w.learned, [window for kind, window in w.judged if kind == "recorded normal"])
        for w in worlds
    ]
    return [*found, _outdoors(data / "audio" / "scikit_maad")]


def _outdoors(folder: Path) -> Recorded:
    """Every second file is learned, the others are judged."""
    from echo_edge.recordings import recorded_windows  # noqa: PLC0415

    files = sorted(folder.glob(f"{OUTDOORS}*"))
    sides = [list(recorded_windows("real/ambient", [0], 1.0, 1.0, files[i::2])) for i in (0, 1)]
    return Recorded("a day in the open (scikit-maad)", 1.0, {"day": sides[0]}, sides[1])


def _count(recorded: Recorded, targets: Sequence[float], embedder: Embedder) -> list[dict[str, Any]]:
    heard = {name: _heard(windows, recorded.hop_s, embedder) for name, windows in recorded.learned.items()}
    states = [NormalState.learn(name, material(one)) for name, one in heard.items()]
    judged = _heard(recorded.judged, recorded.hop_s, embedder)
    rows = []
    for target in targets:
        normal = Normal("measured", states, target, recorded.hop_s, AlertConfig())
        scores = [normal.score(embedding(judged, i)) for i in range(len(judged))]
        ratios = np.array([score.value / score.threshold for score in scores])
        rows.append(
            {
                "name": recorded.name,
                "rule": f"{target:g}",
                "learned_s": normal.learned_s,
                "judged_s": len(judged) * recorded.hop_s,
                "alerts": len(opened(ratios, normal.persistence, recorded.hop_s)),
                "above": int((ratios > 1).sum()),
                "windows": len(judged),
            }
        )
    return rows


def _heard(windows: Sequence[Window], hop_s: float, embedder: Embedder) -> Heard:
    """With times as if they had been heard one after the other."""
    hop_ns = round(hop_s * 1e9)
    return hear((replace(w, time_ns=i * hop_ns) for i, w in enumerate(windows)), embedder, hop_ns)
