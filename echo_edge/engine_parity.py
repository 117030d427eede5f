"""Does another engine give the same verdicts? A machine learned with the CPU's engine, judged with both.

Baselines are learned by whatever engine serves at the time, and must hold for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from echo_edge.artifact import verify
from echo_edge.config import AlertConfig
from echo_edge.embedder import Embedder
from echo_edge.engine.base import Engine
from echo_edge.errors import ArtifactError
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.normal_state import NormalState
from echo_edge.records import Window
from sensors import Machine

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

RATE_HZ, WINDOW_S = 16_000, 0.5
LEARNED, JUDGED = 30, 10  # windows; judged are so many of every condition, at every start
FAULTS = (None, "outer_race", "cavitation")
MAX_DRIFT = 0.01


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an engine is from what the exporter saw, and from the CPU's verdicts."""

    cosine: float
    """The worst of any band of the package's test vectors."""

    difference: float
    """The largest of any number of them."""

    windows: int
    """How many were judged by both engines; all verdicts were equal."""

    drift: float
    """The largest difference of a score, as a part of it or of the threshold, whichever is more."""


def check_parity(package: ModelPackage, engine: Engine, cpu: Engine) -> Parity:
    """Compare an engine with the package's test vectors, and its verdicts on an invented machine with the CPU's.

    Raises:
        ArtifactError: it computes something else; says what and by how much.
        EngineError: inference failed.
    """
    cosine, difference = verify(package, engine)
    ours, theirs = Embedder(package, cpu), Embedder(package, engine)
    machine = Machine(1, RATE_HZ)
    learned = ours.embed(_windows(machine, None, LEARNED))
    state = NormalState.learn("run", Material.of(learned))
    normal = Normal("parity", [state], target_per_month=1.0, hop_s=WINDOW_S, alert=AlertConfig())
    threshold = normal.thresholds["run"]
    flips, drift, judged = 0, 0.0, 0
    for fault in FAULTS:
        windows = _windows(machine, fault, JUDGED)
        for a, b in zip(ours.embed(windows), theirs.embed(windows), strict=True):
            one, other = normal.score(a).value, normal.score(b).value
            flips += (one > threshold) != (other > threshold)
            drift = max(drift, abs(one - other) / max(one, threshold))
            judged += 1
    if flips or not drift <= MAX_DRIFT:
        raise ArtifactError(
            f"{package.onnx_path}: engine {engine.name} gives {flips} of {judged} other verdicts than {cpu.name}, and "
            f"scores that differ by up to {drift:.2%} (at most {MAX_DRIFT:.0%})"
        )
    return Parity(cosine, difference, judged, drift)


def _windows(machine: Machine, fault: str | None, count: int) -> Sequence[Window]:
    """What the machine does next, in that condition."""
    machine.set_fault(fault)
    machine.samples(RATE_HZ)  # a fault sets in softly
    parts = np.split(machine.samples(round(count * WINDOW_S * RATE_HZ)).T, count, axis=1)
    return [Window("parity", part, RATE_HZ, round(i * WINDOW_S * 1e9), "g") for i, part in enumerate(parts)]
