"""Enroll from the command line: through the running daemon, or alone while none runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from echo_edge.audit import check_words
from echo_edge.baseline_store import open_store
from echo_edge.capture import point_windower
from echo_edge.config import Config
from echo_edge.control_client import ask_daemon
from echo_edge.daemon import make_embedder
from echo_edge.enroll import Enrollment, recorded_enrollment, windows_needed
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.monitor import conclude
from echo_edge.pipeline import Pipeline
from echo_edge.store import StoreBusyError, exclusive, state_folder
from sensors import SensorError, create_source

log = logging.getLogger(__name__)

Show = Callable[[dict[str, Any]], None]


def enroll_point(
    config: Config,
    point: str,
    state: str,
    minutes: float,
    files: list[Path],
    scale: float | None,
    show: Show,
    by: str,
    note: str,
) -> dict[str, Any]:
    """Enroll for ``by`` and return a summary; ``show`` is told of progress.

    Raises:
        OrderError: refused, with the exit code that says why. The active baseline is untouched.
        RecordingError: a recording cannot be used.
        BaselineError: no name, or a name or note that cannot be kept.
    """
    check_words(by, note)  # now, and not when all has been learned
    folder = state_folder(config.gateway.id)
    try:
        with exclusive(folder):
            return _alone(config, folder, point, state, minutes, files, scale, show, by, note)
    except StoreBusyError:
        order = {"order": "enroll", "point": point, "state": state, "minutes": minutes, "scale": scale}
        return ask_daemon(folder, {**order, "files": [str(f) for f in files], "by": by, "note": note}, show)


def _alone(
    config: Config,
    folder: Path,
    point: str,
    state: str,
    minutes: float,
    files: list[Path],
    scale: float | None,
    show: Show,
    by: str,
    note: str,
) -> dict[str, Any]:
    settings = config.points()[point]
    pipeline = Pipeline(config, make_embedder(config))
    store = open_store(config, folder)
    try:
        active = store.active(point)
    except BaselineError as error:  # it is to be replaced
        log.warning("%s", error)
        active = None
    if files:
        enrollment, batches = recorded_enrollment(settings, point, state, files, scale)
        for batch in batches:
            pipeline.learn(enrollment, batch)
            show(asdict(enrollment.progress))
    else:
        enrollment = _listen(config, pipeline, point, state, minutes, show)
    enrollment.author, enrollment.note = by, note
    return conclude(store, pipeline.points[point], enrollment, active)


def _listen(config: Config, pipeline: Pipeline, point: str, state: str, minutes: float, show: Show) -> Enrollment:
    settings = config.points()[point]
    device = config.devices[settings.device]
    source = create_source(device.kind, settings.device, **device.options)
    needed = windows_needed(minutes, settings.window.length_s, settings.window.hop_s)
    try:
        info = source.open()
        enrollment = Enrollment(point, state, needed, info.identity)
        enrollment.settings = info.settings
        windower = point_windower(point, settings, info)
        while not enrollment.complete:
            block = source.read()
            if block is not None and (windows := windower.push(block)):
                pipeline.learn(enrollment, windows)
                show(asdict(enrollment.progress))
    except (SensorError, ValueError) as error:
        raise EnrollError(f"{point}: {error}", 3) from error
    finally:
        source.close()
    return enrollment
