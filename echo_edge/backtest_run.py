"""Run a backtest: recordings or remembered hours through the pipeline, ours and plain detectors side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from echo_edge.backtest import Assessment, Course, Fault, assess
from echo_edge.backtest_labels import faults_of, read_labels, timeline
from echo_edge.backtest_past import remembered_verdicts
from echo_edge.baseline import Baseline
from echo_edge.baseline_store import BaselineStore
from echo_edge.config import AlertConfig, Config
from echo_edge.embedder import Embedder
from echo_edge.enroll import BATCH, RECORDED, Enrollment, recorded_batches
from echo_edge.errors import BaselineError, EnrollError, RecordingError
from echo_edge.history_reader import HistoryReader
from echo_edge.pipeline import Pipeline, Verdict
from echo_edge.plain_detectors import Learned, PlainDetector, plain_detectors
from echo_edge.recordings import cut_recordings, recordings_in
from echo_edge.records import FalseAlarmRate, Window
from echo_edge.tail import Persistence

OURS = "echo-edge"
Show = Callable[[str, int, int], None]
"""Told of progress: what is going on, how many windows are done, of how many; 0 when that is not known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be replayed, and by which baseline."""

    files: Sequence[Path]
    """Recordings in order of time."""

    starts_ns: Sequence[int] | None = None
    """When each begins; None lets the first begin in 1970 and each follow on the one before, as ``replay`` does."""

    labels: Path | None = None
    """Table of what was faulty when, see ``backtest_labels``; without it all counts as normal."""

    scale: float | None = None
    baseline: str | None = None
    """Id of a stored baseline; None takes the active one."""

    learn: Sequence[Path] = ()
    """Recordings to learn a baseline from that is used here alone."""

    learn_minutes: float | None = None
    """So much of ``files`` is learned instead, and the rest judged."""

    past_ns: tuple[int, int] | None = None
    """Instead of ``files``: what is remembered from one time to another, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """What came out."""

    point: str
    baseline: str
    model: str
    target_per_month: float
    files: tuple[Path, ...]
    real_times: bool
    """The recordings' times were given; else they follow on from 1970."""

    labelled: bool
    faults: tuple[Fault, ...]
    hop_s: float
    learned_s: float
    ours: Assessment
    plain: tuple[Assessment, ...]
    not_compared: str | None
    """Why there are no plain detectors to compare with."""


def backtest(
    config: Config,
    point: str,
    plan: Plan,
    embedder: Embedder,
    store: BaselineStore,
    history: HistoryReader,
    show: Show = lambda *_: None,
) -> Backtest:
    """Replay a plan.

    Raises:
        HistoryError: what is remembered cannot be read.
        RecordingError: a recording or a table cannot be used, or not one window could be judged.
        BaselineError: there is no baseline, it is damaged, or another point's.
        EnrollError: what is to be learned teaches nothing.
    """
    spans = timeline(plan.files, plan.starts_ns)
    labels = [] if plan.labels is None else read_labels(plan.labels, plan.files)
    faults = faults_of(labels, plan.files, spans)
    scales = {file: plan.scale for file in plan.files if plan.scale is not None}
    scales |= {label.path: label.scale for label in labels if label.scale is not None}
    settings = config.points()[point]
    window = settings.window
    cut = (settings.channel_numbers, window.length_s, window.hop_s)
    recordings = cut_recordings(point, *cut, plan.files, scales, [start_ns for start_ns, _ in spans])
    windows: Iterator[Window] = (one for recording in recordings for one in recording.windows)
    pipeline = Pipeline(config, embedder)
    total = sum(max(0, int(((b - a) / 1e9 - window.length_s) / window.hop_s) + 1) for a, b in spans)
    if plan.learn:
        baseline, known = _learned_from(pipeline, point, plan, show)
    elif plan.learn_minutes is not None:
        ends_ns = spans[0][0] + round(plan.learn_minutes * 60e9)
        if any(fault.start_ns < ends_ns for fault in faults):
            raise RecordingError(
                f"{plan.labels}: something is faulty within the first {plan.learn_minutes:g} minutes, which are learned"
            )
        baseline, known, windows = _learned_first(pipeline, point, windows, ends_ns, total, show)
    else:
        baseline = _stored(store, point, plan.baseline)
        known = [Learned.restored(state) for state in baseline.states]
    watched = pipeline.points[point]
    watched.adopt(baseline)
    promise = watched.false_alarm_rate
    if promise is None:
        raise BaselineError(f"{point}: baseline {baseline.id} promises nothing")
    target = config.target_per_month(point)
    plain, problem = _plain(known, target, window.hop_s, settings.alert)
    ours, others, thresholds = Course(), [Course() for _ in plain], {}
    if plan.past_ns is None:
        verdicts: Iterator[Verdict] = (verdict for one in windows for verdict in pipeline.step([one]))
    else:
        verdicts = remembered_verdicts(watched, history, plan.past_ns, embedder.model_sha256)
    for done, verdict in enumerate(verdicts):
        one = verdict.window
        ours.add(one.time_ns, one.end_ns, verdict.score, verdict.event, verdict.reason)
        if verdict.score is not None:
            thresholds[verdict.score.state] = verdict.score.threshold
        _add_plain(plain, others, verdict)
        show("judging", done + 1, total)
    if not ours.judged.any():
        reasons = "; ".join(f"{n} windows: {reason}" for reason, n in ours.reasons.most_common(3))
        raise RecordingError(f"{point}: not one window could be judged ({reasons or 'there is none'})")
    return Backtest(
        point,
        baseline.id,
        embedder.model_name,
        target,
        tuple(plan.files),
        plan.starts_ns is not None or plan.past_ns is not None,
        plan.labels is not None,
        tuple(faults),
        window.hop_s,
        sum(state.learned_s for state in baseline.states),
        _assessed(OURS, ours, faults, promise, window.hop_s, thresholds, watched.persistence),
        tuple(
            _assessed(
                *(one.name, course, faults, one.normal.false_alarm_rate(), window.hop_s),
                *(one.normal.thresholds, one.normal.persistence),
            )
            for one, course in zip(plain, others, strict=True)
        ),
        problem,
    )


def _add_plain(plain: Sequence[PlainDetector], courses: Sequence[Course], verdict: Verdict) -> None:
    """Let the plain detectors judge the windows that ours has judged, and no others."""
    one = verdict.window
    for detector, course in zip(plain, courses, strict=True):
        if verdict.score is None or verdict.embedding is None:
            course.add(one.time_ns, one.end_ns, None, None, verdict.reason)
        else:
            course.add(one.time_ns, one.end_ns, *detector.judge(verdict.embedding, verdict.score))


def _stored(store: BaselineStore, point: str, id_: str | None) -> Baseline:
    baseline = store.active(point) if id_ is None else store.load(id_)
    if baseline is None:
        raise BaselineError(f"{point}: not enrolled yet; run 'echo-edge enroll start' first, or say what to learn from")
    if baseline.point != point:
        raise BaselineError(f"{id_} is a baseline of {baseline.point}, not of {point}")
    return baseline


def _learned_from(pipeline: Pipeline, point: str, plan: Plan, show: Show) -> tuple[Baseline, list[Learned | None]]:
    learned = {file.resolve() for path in plan.learn for file in recordings_in(path)}
    if both := learned & {file.resolve() for file in plan.files}:
        raise RecordingError(f"{sorted(both)[0]}: is to be learned and judged as well; the figures would be false")
    config = pipeline.points[point].config
    identity, batches = recorded_batches(config, point, plan.learn, plan.scale)
    enrollment = Enrollment(point, "run", 0, identity)
    for batch in batches:
        pipeline.learn(enrollment, batch)
        show("learning", enrollment.useful, 0)
    return _finished(enrollment)


def _learned_first(
    pipeline: Pipeline, point: str, windows: Iterator[Window], ends_ns: int, total: int, show: Show
) -> tuple[Baseline, list[Learned | None], Iterator[Window]]:
    """Learn the windows that end in time; return those that begin after it, too."""
    enrollment = Enrollment(point, "run", 0, f"{RECORDED}the first part of what is replayed")
    rest: list[Window] = []
    while not rest and (batch := list(islice(windows, BATCH))):
        pipeline.learn(enrollment, [one for one in batch if one.end_ns <= ends_ns])
        rest = [one for one in batch if one.time_ns >= ends_ns]
        show("learning", enrollment.useful, total)
    return *_finished(enrollment), _both(rest, windows)


def _both(first: Sequence[Window], then: Iterator[Window]) -> Iterator[Window]:
    yield from first
    yield from then


def _finished(enrollment: Enrollment) -> tuple[Baseline, list[Learned | None]]:
    baseline = replace(enrollment.finish(None), id="learned here")
    return baseline, [Learned.of(state, enrollment.material()) for state in baseline.states]


def _plain(
    known: Sequence[Learned | None], target: float, hop_s: float, alert: AlertConfig
) -> tuple[list[PlainDetector], str | None]:
    whole = [one for one in known if one is not None]
    if len(whole) < len(known):
        return (
            [],
            "the baseline keeps only some of the windows that it learned; learn anew for a comparison",
        )
    try:
        return plain_detectors(whole, target, hop_s, alert), None
    except EnrollError as error:
        return [], str(error)


def _assessed(
    name: str,
    course: Course,
    faults: Sequence[Fault],
    promise: FalseAlarmRate,
    hop_s: float,
    thresholds: Mapping[str, float],
    persistence: Persistence,
) -> Assessment:
    about = {
        "threshold": ", ".join(
            f"{value:.2f}" + (f" ({state})" if len(thresholds) > 1 else "") for state, value in thresholds.items()
        ),
        "persistence": f"{persistence.strange} of {persistence.windows}",
    }
    return assess(name, course, faults, promise, hop_s, about)
