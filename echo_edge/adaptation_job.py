"""Adaptation's work: from a point's history to the next version of its baseline, and when that is done."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from echo_edge import adaptation, lineage
from echo_edge.adaptation import MAX_GROWTH, Line
from echo_edge.baseline import Baseline
from echo_edge.baseline_store import BaselineStore
from echo_edge.config import Config
from echo_edge.errors import EchoEdgeError
from echo_edge.history_reader import HistoryReader, Part
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.normal_state import NormalState

log = logging.getLogger(__name__)

DAY_S = 86400.0
FIRST_AFTER_S = 900.0  # the start of a gateway is busy enough


def adapt(config: Config, point: str, history: HistoryReader, store: BaselineStore, now_ns: int) -> Baseline | str:
    """Make the next version of a point's baseline, not stored yet, or say in words why there is none.

    Raises:
        BaselineError, HistoryError: what is stored cannot be read.
    """
    settings, allowance = config.points()[point], config.machines[point.partition("/")[0]].adaptation
    present = store.active(point)
    if present is None or allowance is None:
        return "not enrolled" if present is None else "adaptation is off"
    if why := lineage.rests(store, present, now_ns):
        return why
    versions = lineage.line(store, present)
    line = adaptation.line_of(versions, now_ns)
    parts, _ = history.parts(point, 0, now_ns)
    if why := adaptation.frozen(parts, now_ns):
        return why
    ancestor = store.load(line.ancestor)
    judge = Normal(ancestor.id, ancestor.states, config.target_per_month(point), settings.window.hop_s, settings.alert)
    parts = _of_origin(parts, present)
    ids = [version.id for version in versions]
    more: dict[str, Material] = {}
    refusals: list[str] = []
    for state in present.states:
        try:
            more[state.name] = _joining(state, judge, parts, ids, line, allowance.share_per_month, history, now_ns)
        except _RefusedError as refusal:
            refusals.append(f"'{state.name}': {refusal}")
    return present.grown("adaptation", more) if more else "; ".join(refusals)


def _of_origin(parts: list[Part], present: Baseline) -> list[Part]:
    """The parts that can be learned together, and those that only tell of trouble."""
    fitting = [
        part
        for part in parts
        if part.circumstances.shapes and present.origin.difference(part.circumstances.origin) is None
    ]
    newest = fitting[-1].circumstances if fitting else None
    names = present.states[0].indicator_names or (newest.indicators if newest else ())
    return [
        part
        for part in parts
        if not part.circumstances.shapes
        or (
            any(part is other for other in fitting)
            and newest is not None
            and (part.circumstances.shapes, part.circumstances.indicators) == (newest.shapes, names)
        )
    ]


class _RefusedError(Exception):
    """A state does not grow now, for the reason that the message says."""


def _joining(
    state: NormalState,
    judge: Normal,
    parts: list[Part],
    ids: list[str],
    line: Line,
    share_per_month: float,
    history: HistoryReader,
    now_ns: int,
) -> Material:
    """The windows that may join a state; raises _RefusedError."""
    count = adaptation.allowed(state, share_per_month, line.added.get(state.name, 0))
    if not count:
        raise _RefusedError("this month's share is used up")
    masks = adaptation.candidates(parts, state.name, ids, now_ns)
    if not any(mask.any() for mask in masks):
        raise _RefusedError(
            "no window was normal with margin, old enough and far enough from every alert and sensor finding"
        )
    what, ratio = adaptation.growth(judge.states[state.name], parts, masks)
    if ratio > MAX_GROWTH:
        raise _RefusedError(
            f"{what} has grown to {ratio:.2f} times what {judge.baseline} learned; enroll again if that is well"
        )
    picked = adaptation.chosen(masks, count)
    material, _ = history.material(list(zip(parts, picked, strict=True)))
    if material is None:
        raise _RefusedError("the vectors of the windows are gone")
    rate_hz = next(part for part, mask in zip(parts, picked, strict=True) if mask.any()).circumstances.origin.rate_hz
    calm = adaptation.calm_by(judge, state.name, material, "", rate_hz)
    if calm is None:
        raise _RefusedError(
            f"together its windows are less usual than what {judge.baseline} learned; enroll again if that is well"
        )
    if not calm.any():
        raise _RefusedError(f"no window was normal with margin to {judge.baseline}, too")
    return material.pick(calm)


class AdaptationJob:
    """Once a day, in a thread of its own, for every point whose machine wants it.

    Args:
        deliver: takes the next version of a baseline, in the job's thread; it posts it to the pipeline's.
        first_after_s: seconds until the work begins for the first time.
    """

    def __init__(
        self,
        config: Config,
        history: HistoryReader,
        store: BaselineStore,
        deliver: Callable[[Baseline], None],
        first_after_s: float = FIRST_AFTER_S,
    ) -> None:
        self._config = config
        self._history = history
        self._store = store
        self._deliver = deliver
        self._points = [
            name for name in config.points() if config.machines[name.partition("/")[0]].adaptation is not None
        ]
        self._due_s = time.monotonic() + first_after_s
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Begin the day's work when it is due; never waits."""
        if not self._points or time.monotonic() < self._due_s or (self._thread and self._thread.is_alive()):
            return
        self._due_s = time.monotonic() + DAY_S
        self._thread = threading.Thread(target=self.work, name="adaptation", daemon=True)
        self._thread.start()

    def work(self) -> None:
        """One day's work."""
        for point in self._points:
            try:
                result = adapt(self._config, point, self._history, self._store, time.time_ns())
            except EchoEdgeError as error:
                log.error("%s: not adapted: %s", point, error)
                continue
            if isinstance(result, str):
                log.info("%s: not adapted: %s", point, result)
            else:
                self._deliver(result)
