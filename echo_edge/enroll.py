"""Enrollment: collect windows of a healthy machine until they can teach a normal state. One object for every caller."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from echo_edge.baseline import Baseline, How, Learned, Origin
from echo_edge.config import PointConfig
from echo_edge.errors import EnrollError, RecordingError
from echo_edge.material import Material
from echo_edge.normal import MIN_WINDOWS, NormalState
from echo_edge.recordings import recorded_windows, recordings_in
from echo_edge.records import Embedding, Window

MAX_KEPT = 4096  # windows per state: beyond, every second one is let go, so that memory and search stay bounded
log = logging.getLogger(__name__)

RECORDED = "recordings: "  # what begins the identity of what was not learned from a sensor
BATCH = 8  # recorded windows per turn of the pipeline: live streams get theirs in between
MAX_EXCLUDED = 0.5  # more unusable windows than this, and the sensor is the problem, not the machine


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an enrollment has come."""

    point: str
    state: str
    useful: int
    needed: int
    """Useful windows that complete it; 0 when it goes on to the end of the recordings."""

    excluded: dict[str, int]


class Enrollment:
    """Collects the embeddings of one point for one state.

    Args:
        point: ``machine/point``.
        state: name of the normal state to learn or to learn anew.
        needed: useful windows after which it is complete; 0 for recordings, which end by themselves.
        identity: which sensor or recordings the windows come from; may be set until it is finished, like ``settings``.
    """

    def __init__(self, point: str, state: str, needed: int, identity: str = "") -> None:
        self.point = point
        self.state = state
        self.identity = identity
        self.author, self.note = "unknown", ""
        self.how: How = "live"
        self.checks: tuple[dict[str, Any], ...] = ()
        self.self_test: dict[str, Any] = {}
        """What the checks of sensor and machine found, and the self-test, for the baseline's manifest."""

        self.settings: dict[str, str] = {}
        self.left_out: str | None = None
        """States of the active baseline that the new one cannot hold, and why; known once it is finished."""

        self._needed = needed
        self._embeddings: list[Embedding] = []
        self._useful = 0
        self._stride = 1  # of so many useful windows, one is kept
        self._learned_s, self._heard_ns = 0.0, 0
        self._excluded: Counter[str] = Counter()
        self._origin: Origin | None = None

    @property
    def progress(self) -> Progress:
        return Progress(self.point, self.state, self._useful, self._needed, dict(self._excluded))

    @property
    def material(self) -> Material:
        """What was collected so far, at least one window."""
        return Material.of(self._embeddings)

    @property
    def complete(self) -> bool:
        return 0 < self._needed <= self._useful

    def exclude(self, reason: str) -> None:
        """Count a window that must not be learned.

        Raises:
            EnrollError: so many are unusable that the sensor needs a person.
        """
        self._excluded[reason] += 1
        bad = sum(self._excluded.values())
        if bad >= MIN_WINDOWS and bad > MAX_EXCLUDED * (bad + self._useful):
            reasons = ", ".join(f"{n} {reason}" for reason, n in self._excluded.most_common())
            raise EnrollError(f"{self.point}: most windows are unusable ({reasons}); look at the sensor first", 3)

    def add(self, embedding: Embedding, origin: Origin) -> None:
        """Learn a window.

        Raises:
            EnrollError: the sensor's rate changed half-way.
        """
        if self._origin is not None and (difference := self._origin.difference(origin)):
            raise EnrollError(f"{self.point}: the enrollment began with {difference}; start again", 3)
        self._origin = origin
        if self._useful % self._stride == 0:
            self._embeddings.append(embedding)
        self._useful += 1
        self._learned_s += max(0, embedding.end_ns - max(embedding.time_ns, self._heard_ns)) / 1e9
        self._heard_ns = embedding.end_ns
        if len(self._embeddings) > MAX_KEPT:
            self._embeddings, self._stride = self._embeddings[::2], 2 * self._stride

    def finish(self, active: Baseline | None) -> Baseline:
        """Make the baseline that is to follow ``active``; nothing is stored yet.

        States of ``active`` are kept as long as model, rate, channels, window length and gain are the same.

        Raises:
            EnrollError: too little or useless material.
        """
        if self._origin is None:
            raise EnrollError(f"{self.point}: no useful window was seen")
        state = NormalState.learn(self.state, self.material, self._learned_s)
        told = Learned(self.how, self._useful, dict(self._excluded), self.checks, self.self_test)
        learned = Baseline(self.point, self._origin, self.identity, (state,), {self.state: told}, dict(self.settings))
        if active is None:
            return learned
        if (difference := active.difference(learned)) is None:
            return active.followed_by(learned)
        names = ", ".join(s.name for s in active.states)
        self.left_out = f"{names}: made with {difference}"
        log.warning("%s: left out of the new baseline: %s", self.point, self.left_out)
        return learned


def windows_needed(minutes: float, length_s: float, hop_s: float) -> int:
    """How many windows ``minutes`` of signal give; at least the fewest that can teach anything."""
    return max(MIN_WINDOWS, math.floor((minutes * 60 - length_s) / hop_s) + 1)


def recorded_enrollment(
    config: PointConfig, point: str, state: str, files: Sequence[Path], scale: float | None = None
) -> tuple[Enrollment, Iterator[list[Window]]]:
    """An enrollment from recordings (files or folders), and the batches of windows to feed it.

    Raises:
        RecordingError: a recording is named twice; or, from the iterator, cannot be used.
    """
    window = config.window
    recordings = [file for path in files for file in recordings_in(path)]
    twice = [file for file, count in Counter(file.resolve() for file in recordings).items() if count > 1]
    if twice:
        raise RecordingError(f"{twice[0]}: is given twice; what is repeated teaches nothing and would look like more")
    cut = recorded_windows(point, config.channel_numbers, window.length_s, window.hop_s, recordings, scale)
    identity = RECORDED + ", ".join(path.name for path in recordings)
    enrollment = Enrollment(point, state, 0, identity)
    enrollment.how = "recordings"
    return enrollment, iter(lambda: list(islice(cut, BATCH)), [])
