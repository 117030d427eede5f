"""False alarms over real recordings of what is normal; they last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echo_edge.embedder import Embedder
from echo_edge.records import Embedding, Window
from tests.torture.alert_counts import opened
from tests.torture.features import make_embedder, mean_log_spectrum
from tests.torture.judging import ALERT, judge, judge_vectors, learn, normal_for

AMBIENT = "S4A03895"  # one recorder in the open, ten seconds every quarter of an hour for a day


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is learned, state by state, and what is judged after it, all of it normal."""

    name: str
    hop_s: float
    learned: dict[str, list[Window]]
    judged: list[Window]


def count_real(data: Path, targets: Sequence[float]) -> list[dict[str, Any]]:
    """Return one row per recording, method and target."""
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
    """Every second file is learned, the others are judged: a day in the open is no enrollment for the next one."""
    from echo_edge.recordings import recorded_windows  # noqa: PLC0415

    files = sorted(folder.glob(f"{AMBIENT}*"))
    sides = [list(recorded_windows("real/ambient", [0], 1.0, 1.0, files[i::2])) for i in (0, 1)]
    return Recorded("a day in the open (scikit-maad)", 1.0, {"day": sides[0]}, sides[1])


def _count(recorded: Recorded, targets: Sequence[float], embedder: Embedder) -> list[dict[str, Any]]:
    rows = []
    methods = (("echo-edge", embedder.embed, judge), ("mean log spectrum", _spectra, judge_vectors))
    for method, embed, score in methods:
        states = [learn(embed(_in_order(ws, recorded.hop_s)), name) for name, ws in recorded.learned.items()]
        judged = embed(_in_order(recorded.judged, recorded.hop_s))
        learned_s = sum(state.calibration.learned_s for state in states)
        normals = {target: normal_for(states, target, recorded.hop_s) for target in targets}
        values = np.array([score(next(iter(normals.values())), embedding) for embedding in judged])
        for target, normal in normals.items():
            ratios = values / normal.threshold
            rows.append(
                {
                    "name": recorded.name,
                    "method": method,
                    "rule": f"{target:g}",
                    "learned_s": learned_s,
                    "judged_s": len(judged) * recorded.hop_s,
                    "alerts": len(opened(ratios, ALERT, recorded.hop_s)),
                    "above": int((ratios > 1).sum()),
                    "windows": len(judged),
                }
            )
    return rows


def _in_order(windows: Sequence[Window], hop_s: float) -> list[Window]:
    """With times as if they had been heard one after the other."""
    hop_ns = round(hop_s * 1e9)
    return [Window("real/normal", w.samples, w.rate_hz, i * hop_ns, w.unit, w.limits) for i, w in enumerate(windows)]


def _spectra(windows: Sequence[Window]) -> list[Embedding]:
    return [
        Embedding(w.point, mean_log_spectrum(w).reshape(len(w.samples), 1, -1), w.rate_hz, w.time_ns, w.end_ns)
        for w in windows
    ]
