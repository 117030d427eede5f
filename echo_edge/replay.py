"""Replay: recordings through the daemon's own pipeline, without threads, so that every verdict can be reproduced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from echo_edge.album import save_picture
from echo_edge.assembly import make_embedder
from echo_edge.baseline_store import open_store
from echo_edge.config import Config
from echo_edge.errors import BaselineError
from echo_edge.features import zoned
from echo_edge.pipeline import Pipeline, Verdict
from echo_edge.recordings import recorded_windows, recordings_in
from echo_edge.store import state_folder


def replay(
    config: Config, point: str, files: Sequence[Path], scale: float | None = None, pictures: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Judge recordings (files or folders) with the point's active baseline; yield a dict per window and per event.

    Args:
        pictures: a folder for a PNG of every event but ``clear``.

    Raises:
        StoreError: a picture cannot be written.
        BaselineError: the point was never enrolled, or its baseline is damaged.
        RecordingError: a recording cannot be used.
    """
    baseline = open_store(config, state_folder(config.gateway.id)).active(point)
    if baseline is None:
        raise BaselineError(f"{point}: not enrolled yet; run 'echo-edge enroll start' first")
    pipeline = Pipeline(config, make_embedder(config))
    pipeline.points[point].adopt(baseline)
    yield from replay_through(pipeline, point, files, scale, pictures)


def replay_through(
    pipeline: Pipeline, point: str, files: Sequence[Path], scale: float | None = None, pictures: Path | None = None
) -> Iterator[dict[str, Any]]:
    """As ``replay``, through a pipeline whose point has a baseline."""
    settings = pipeline.points[point].config
    window = settings.window
    recordings = [file for path in files for file in recordings_in(path)]
    windows = recorded_windows(point, settings.channel_numbers, window.length_s, window.hop_s, recordings, scale)
    for one in windows:
        for verdict in pipeline.step([one]):
            yield from _lines(pipeline.config, verdict, pipeline.model_name, pictures)


def _lines(config: Config, verdict: Verdict, model: str, pictures: Path | None) -> Iterator[dict[str, Any]]:
    score = verdict.score
    line: dict[str, Any] = {
        "t_s": round(verdict.window.time_ns / 1e9, 3),
        "point": verdict.window.point,
        "level": verdict.level,
        "model": model,
    }
    if score is None:
        yield line | {"reason": verdict.reason}
        return
    yield line | {
        "score": round(score.value, 6),
        "threshold": round(score.threshold, 6),
        "state": score.state,
        "channel": score.channel,
        "bands": [{"hz": [b.low_hz, b.high_hz], "share": round(b.share, 4)} for b in score.bands],
    }
    if (event := verdict.event) is not None and (evidence := zoned(config, verdict)) is not None:
        title = config.title(event.point)
        name = f"{event.point.replace('/', '_')}_{event.time_ns / 1e9:.3f}s_{event.type}.png"
        since = f"{event.opened_ns / 1e9:.1f} s of the recordings"
        drawn = pictures is not None and save_picture(pictures / name, event, evidence, title, since)
        yield {
            "t_s": round(event.time_ns / 1e9, 3),
            "point": event.point,
            "event": event.type,
            "rev": event.rev,
            "severity": event.severity,
            "peak": round(event.peak_value, 6),
            "indicators": [one.words for one in evidence.moved],
            **({"picture": name} if drawn else {}),
        }
