"""Enroll from the command line: through the running daemon, or alone while none runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from echo_edge.baseline import BaselineStore
from echo_edge.config import Config
from echo_edge.control import send_order
from echo_edge.daemon import make_embedder
from echo_edge.enroll import Enrollment, recorded_enrollment, windows_needed
from echo_edge.errors import EnrollError
from echo_edge.monitor import summary
from echo_edge.pipeline import Pipeline
from echo_edge.records import Window
from echo_edge.store import StoreBusyError, control_socket, database, exclusive, state_folder
from echo_edge.windows import Windower
from sensors import SensorError, create_source

BATCH = 8

Show = Callable[[dict[str, Any]], None]


def enroll_point(
    config: Config, point: str, state: str, minutes: float, files: list[Path], scale: float | None, show: Show
) -> dict[str, Any]:
    """Enroll and return a summary; ``show`` is told of progress.

    Raises:
        EnrollError: refused, with the exit code that says why. The active baseline is untouched.
        RecordingError: a recording cannot be used.
    """
    folder = state_folder(config.gateway.id)
    try:
        with exclusive(folder):
            return _alone(config, folder, point, state, minutes, files, scale, show)
    except StoreBusyError:
        order = {"order": "enroll", "point": point, "state": state, "minutes": minutes, "scale": scale}
        return _through_daemon(folder, {**order, "files": [str(f) for f in files]}, show)


def _through_daemon(folder: Path, order: dict[str, Any], show: Show) -> dict[str, Any]:
    try:
        for answer in send_order(control_socket(folder), order):
            if "progress" in answer:
                show(answer["progress"])
            elif answer["ok"]:
                result: dict[str, Any] = answer["result"]
                return result
            else:
                raise EnrollError(answer["error"], answer["code"])
    except OSError as error:
        raise EnrollError(f"{folder}: in use, but no daemon answers: {error}", 6) from error
    raise EnrollError("the daemon went away before it finished; nothing was changed", 1)


def _alone(
    config: Config,
    folder: Path,
    point: str,
    state: str,
    minutes: float,
    files: list[Path],
    scale: float | None,
    show: Show,
) -> dict[str, Any]:
    settings = config.points()[point]
    pipeline = Pipeline(config, make_embedder(config))
    store = BaselineStore(database(folder))
    if files:
        enrollment, windows = recorded_enrollment(settings, point, state, files, scale)
        for first in range(0, len(windows), BATCH):
            pipeline.learn(enrollment, windows[first : first + BATCH])
            show(asdict(enrollment.progress))
    else:
        enrollment = _listen(config, pipeline, point, state, minutes, show)
    watched = pipeline.points[point]
    watched.adopt(store.add(enrollment.finish(store.active(point))))
    return summary(watched, enrollment)


def _listen(config: Config, pipeline: Pipeline, point: str, state: str, minutes: float, show: Show) -> Enrollment:
    settings = config.points()[point]
    device = config.devices[settings.device]
    source = create_source(device.kind, settings.device, **device.model_dump(exclude={"kind"}))
    window = settings.window
    try:
        info = source.open()
        needed = windows_needed(minutes, window.length_s, window.hop_s)
        enrollment = Enrollment(point, state, needed, info.identity)
        channels = settings.channel_numbers
        windower = Windower(point, channels, info.rate_hz, window.length_s, window.hop_s, info.unit)
        for windows in _batches(source.read, windower):
            pipeline.learn(enrollment, windows)
            show(asdict(enrollment.progress))
            if enrollment.complete:
                return enrollment
    except (SensorError, ValueError) as error:
        raise EnrollError(str(error), 3) from error
    finally:
        source.close()
    raise EnrollError(f"{point}: the sensor ended early")


def _batches(read: Callable[[], Any], windower: Windower) -> Iterator[list[Window]]:
    while True:
        block = read()
        if block is not None and (windows := windower.push(block)):
            yield windows
