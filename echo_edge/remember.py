"""Remember: from a verdict of the pipeline to what the history keeps of it."""

from __future__ import annotations

from echo_edge.memory import Circumstances, Memory, shapes_of
from echo_edge.pipeline import Point, Verdict


def memory_of(verdict: Verdict, point: Point) -> Memory:
    """What is to be remembered of a window that was judged, or could not be."""
    window, score, embedding = verdict.window, verdict.score, verdict.embedding
    baseline = point.baseline
    alert = verdict.event or point.open_alert  # the window that clears an alert is still within it
    return Memory(
        Circumstances(
            point.origin(window),
            point.identity,
            dict(point.settings),
            "" if baseline is None else baseline.id,
            () if baseline is None else tuple(state.name for state in baseline.states),
            () if embedding is None else embedding.indicator_names,
            {} if embedding is None else shapes_of(embedding),
        ),
        window.time_ns,
        window.end_ns,
        verdict.level if score is not None else _without_score(verdict, point),
        None if score is None else score.value,
        None if score is None else score.value / score.threshold,
        "" if verdict.operating_state is None else verdict.operating_state.name,
        bool(verdict.findings),
        "" if alert is None else alert.alert_id,
        embedding,
    )


def _without_score(verdict: Verdict, point: Point) -> str:
    """Whether there is only nothing to judge by, or something is wrong with the sensor or the moment."""
    baseline = point.baseline
    if verdict.embedding is None or any(finding.bad for finding in point.sensor_findings):
        return "not_monitored"
    if verdict.window.time_ns < point.unsettled_ns:
        return "not_monitored"
    if verdict.resting:
        return "resting"
    if baseline is None or verdict.level == "unknown" or baseline.origin.difference(point.origin(verdict.window)):
        return "unjudged"
    if any(state.other_indicators(verdict.embedding.indicator_names) for state in baseline.states):
        return "unjudged"
    return "not_monitored"
