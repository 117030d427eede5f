"""Enrollment: collects the windows that are to teach one normal state, within a bound of memory. Decides nothing."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from echo_edge.baseline import Baseline, How, Learned, Origin
from echo_edge.config import PointConfig
from echo_edge.errors import EnrollError, RecordingError
from echo_edge.material import Material
from echo_edge.normal_state import MIN_WINDOWS, NormalState
from echo_edge.recordings import recorded_windows, recordings_in
from echo_edge.records import Embedding, Window
from echo_edge.signal_checks import Finding

MAX_BYTES = 256 << 20  # of one enrollment; beyond, every second minute is let go
MINUTE_NS = 60_000_000_000
log = logging.getLogger(__name__)

RECORDED = "recordings: "  # what begins the identity of what was not learned from a sensor
BATCH = 8  # recorded windows per turn of the pipeline: live streams get theirs in between
MAX_EXCLUDED = 0.5  # more unusable windows than this, and the sensor is the problem, not the machine
NOT_THE_SENSOR = {"speech", "starting"}  # reasons to leave a window out that say nothing against the sensor


class Enrollment:
    """The useful windows of one point for one state, and a count of the others.

    Windows are kept by the minute. When they take more than ``max_bytes``, every second minute is forgotten, so that
    runs of windows stay whole; what was learned goes on counting.

    Args:
        point: ``machine/point``.
        state: name of the normal state to learn or to learn anew.
        needed: useful windows after which it is complete; 0 for recordings, which end by themselves.
        identity: which sensor or recordings the windows come from; may be set until it is finished, like ``settings``.
    """

    def __init__(self, point: str, state: str, needed: int, identity: str = "", *, max_bytes: int = MAX_BYTES) -> None:
        self.point = point
        self.state = state
        self.needed = needed
        self.identity = identity
        self.how: How = "live"
        self.checks: tuple[dict[str, Any], ...] = ()
        self.self_test: dict[str, Any] = {}
        """What the checks of sensor and machine found, and the self-test, for the baseline's manifest."""

        self.settings: dict[str, str] = {}
        self.left_out: str | None = None
        """States of the active baseline that the new one cannot hold, and why; known once it is finished."""

        self.useful = 0
        self.learned_s = 0.0
        """Seconds of signal that the useful windows cover; overlapping ones count once."""

        self.excluded: Counter[str] = Counter()
        self.origin: Origin | None = None
        self._max_bytes = max_bytes
        self._minute: list[Embedding] = []
        self._minutes: list[tuple[int, Material]] = []  # with their number
        self._number, self._stride = 0, 1  # of the minutes, those whose number is a multiple of the stride are kept
        self._heard_ns = self._started_ns = 0  # end and begin of the newest window, as they are kept
        self._later_ns = 0  # how much later windows are dated than they came

    @property
    def complete(self) -> bool:
        return 0 < self.needed <= self.useful

    def hear(self, _window: Window, embedding: Embedding | None, findings: tuple[Finding, ...], origin: Origin) -> None:
        """Learn a window, or count it out for its worst finding where there is no embedding of it.

        Raises:
            EnrollError: as ``add`` and ``exclude``.
        """
        if embedding is None:
            self.exclude(findings[0].check)
        else:
            self.add(embedding, origin)

    def exclude(self, reason: str) -> None:
        """Count a window that must not be learned.

        Raises:
            EnrollError: so many are unusable that the sensor needs a person.
        """
        self.excluded[reason] += 1
        bad = sum(n for why, n in self.excluded.items() if why not in NOT_THE_SENSOR)
        if bad >= MIN_WINDOWS and bad > MAX_EXCLUDED * (bad + self.useful):
            reasons = ", ".join(f"{n} {reason}" for reason, n in self.excluded.most_common())
            raise EnrollError(f"{self.point}: most windows are unusable ({reasons}); look at the sensor first", 3)

    def add(self, embedding: Embedding, origin: Origin) -> None:
        """Learn a window.

        Raises:
            EnrollError: the sensor's rate or unit changed half-way.
        """
        self._same(origin)
        embedding = self._in_order(embedding)
        if self._minute and embedding.end_ns - self._minute[0].time_ns > MINUTE_NS:
            self._close_minute()
        half = (embedding.bands.astype(np.float16), embedding.spectrum.astype(np.float16))
        self._minute.append(replace(embedding, bands=half[0], spectrum=half[1]))  # type: ignore[arg-type]  # Material's
        self.useful += 1
        self.learned_s += max(0, embedding.end_ns - max(embedding.time_ns, self._heard_ns)) / 1e9
        self._heard_ns = embedding.end_ns

    def _in_order(self, embedding: Embedding) -> Embedding:
        """The same, so dated that it never lies before what was learned already: the clock may be set back."""
        if embedding.time_ns + self._later_ns < self._started_ns:
            self._later_ns = self._heard_ns - embedding.time_ns
        self._started_ns = embedding.time_ns + self._later_ns
        return replace(embedding, time_ns=self._started_ns, end_ns=embedding.end_ns + self._later_ns)

    def take(self, material: Material, origin: Origin, heard: int, learned_s: float) -> None:
        """Learn what was kept of past hours, at once.

        Args:
            heard, learned_s: windows and seconds of signal that it stands for; not all of them need be in it.

        Raises:
            EnrollError: it was made with something else than the windows before.
        """
        self._same(origin)
        self._close_minute()
        self._minutes.append((0, material))
        self.useful += heard
        self.learned_s += learned_s

    def _same(self, origin: Origin) -> None:
        if self.origin is not None and (difference := self.origin.difference(origin)):
            raise EnrollError(f"{self.point}: the enrollment began with {difference}; start again", 3)
        self.origin = origin

    def _close_minute(self) -> None:
        if not self._minute:
            return
        if self._number % self._stride == 0:
            self._minutes.append((self._number, Material.of(self._minute)))
        self._minute = []
        self._number += 1
        while sum(minute.nbytes for _, minute in self._minutes) > self._max_bytes and len(self._minutes) > 1:
            self._stride *= 2
            self._minutes = [(n, minute) for n, minute in self._minutes if n % self._stride == 0]

    def material(self) -> Material:
        """All that is kept, in order of time.

        Raises:
            EnrollError: nothing was learned.
        """
        parts = [minute for _, minute in self._minutes]
        if self._minute:
            parts.append(Material.of(self._minute))
        if not parts:
            raise EnrollError(f"{self.point}: no useful window was seen")
        return Material.joined(parts)

    def finish(self, active: Baseline | None, learned: NormalState | None = None) -> Baseline:
        """Make the baseline that is to follow ``active``; nothing is stored yet.

        States of ``active`` are kept as long as model, rate, channels, window length and gain are the same.

        Args:
            learned: the state, where it was learned already.

        Raises:
            EnrollError: too little or useless material.
        """
        state = learned or NormalState.learn(self.state, self.material(), self.learned_s)
        if self.origin is None:
            raise EnrollError(f"{self.point}: no useful window was seen")
        told = Learned(self.how, self.useful, dict(self.excluded), self.checks, self.self_test)
        own = Baseline(self.point, self.origin, self.identity, (state,), {self.state: told}, dict(self.settings))
        self.left_out = None
        if active is None:
            return own
        if (difference := active.difference(own.origin, own.settings, state.indicator_names)) is None:
            return active.followed_by(own)
        names = ", ".join(s.name for s in active.states)
        self.left_out = f"{names}: made with {difference}"
        log.warning("%s: left out of the new baseline: %s", self.point, self.left_out)
        return replace(own, parent=active.id)


def windows_needed(minutes: float, length_s: float, hop_s: float) -> int:
    """How many windows ``minutes`` of signal give; at least the fewest that can teach anything."""
    return max(MIN_WINDOWS, math.floor((minutes * 60 - length_s) / hop_s) + 1)


def recorded_batches(
    config: PointConfig, point: str, files: Sequence[Path], scale: float | None = None
) -> tuple[str, Iterator[list[Window]]]:
    """The identity of recordings (files or folders), and their windows in batches.

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
    return identity, iter(lambda: list(islice(cut, BATCH)), [])
