"""Clip job: record a few seconds of a point in a thread of its own, and keep the folder of clips small and young."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from echo_edge.capture import Capture
from echo_edge.clip_keys import read_public_key
from echo_edge.clips import SUFFIX, flac, seal
from echo_edge.config_clips import ClipsConfig
from echo_edge.errors import ClipError, EchoEdgeError, OrderError
from echo_edge.records import Window
from echo_edge.speech import speech_score
from echo_edge.store import write_durably
from sensors import Block, SourceInfo

log = logging.getLogger(__name__)

MAX_S = 5.0
MAX_BYTES, MAX_AGE_S = 100 << 20, 7 * 86400.0
PRUNE_EVERY_S = 3600.0
PATIENCE_S = 5.0  # beyond the clip's own length: a device that delivers less than that is not well
SPEECH = 0.75  # what might be a voice is enough: the calmest limit of those that an enrollment has
EXIT_USAGE, EXIT_SENSOR, EXIT_CONFLICT = 2, 3, 6

Note = Callable[[str, str, str, str, str], object]
"""Writes a row of the audit log: who, what, why, point, object. In the pipeline's thread."""


class ClipJob:
    """Records clips, one at a time.

    Args:
        folder: where they are kept.
        settings: None: nothing is ever recorded.
        post: has the pipeline's thread do something.
        note: writes what became of a clip.
    """

    def __init__(
        self, folder: Path, settings: ClipsConfig | None, post: Callable[[Callable[[], None]], bool], note: Note
    ) -> None:
        self._folder, self._settings, self._post, self._note = folder, settings, post, note
        self._thread: threading.Thread | None = None
        self._pruned_s = -PRUNE_EVERY_S

    @property
    def on(self) -> bool:
        return self._settings is not None

    def check(self, point: str, capture: Capture | None) -> None:
        """Insist that a clip can be recorded now.

        Raises:
            OrderError: clips are off (2), the sensor is not well (3), or one is being recorded (6).
        """
        if self._settings is None:
            raise OrderError(
                "clips are off: no sound is stored without 'gateway.clips' in the configuration", EXIT_USAGE
            )
        if self._thread is not None and self._thread.is_alive():
            raise OrderError("another clip is being recorded; try again in a few seconds", EXIT_CONFLICT)
        if capture is None or capture.status.state != "ok":
            why = "is not open" if capture is None else f"is {capture.status.state}"
            raise OrderError(f"{point}: its sensor {why}", EXIT_SENSOR)

    def start(self, point: str, capture: Capture, channels: list[int], seconds: float, by: str) -> str:
        """Begin to record; returns the name of the file that there will be, unless somebody speaks.

        Raises:
            OrderError: as ``check``.
        """
        self.check(point, capture)
        now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{point.replace('/', '-')}-{now}{SUFFIX}"

        def run() -> None:
            try:
                outcome = self._record(name, point, capture, channels, seconds)
            except EchoEdgeError as error:
                outcome = f"not recorded: {error}"
            except Exception as error:  # noqa: BLE001 - the thread's outermost line
                outcome = f"not recorded, by a defect: {error!r}"
            log.warning("%s: clip %s, ordered by %s: %s", point, name, by, outcome)
            self._post(lambda: self._tell(by, "clip.record", outcome, point, name))

        self._thread = threading.Thread(target=run, name=f"clip:{point}", daemon=True)
        self._thread.start()
        return name

    def tick(self) -> None:
        """Delete what is too old or too much, once an hour; in the pipeline's thread."""
        if time.monotonic() - self._pruned_s < PRUNE_EVERY_S:
            return
        self._pruned_s = time.monotonic()
        self.prune()

    def prune(self) -> None:
        """Delete clips that are too old, and the oldest of what is too much; each is audited."""
        try:
            found = sorted(
                (path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob(f"*{SUFFIX}")
            )
            left = sum(size for _, size, _ in found)
            for made_s, size, path in found:
                old = abs(time.time() - made_s) > MAX_AGE_S  # of a time to come: made before the clock was set
                if not old and left <= MAX_BYTES:
                    continue
                path.unlink(missing_ok=True)
                left -= size
                self._tell("echo-edge", "clip.delete", "older than 7 days" if old else "over 100 MiB", "", path.name)
        except OSError as error:
            log.error("%s: %s", self._folder, error)

    def _tell(self, who: str, what: str, why: str, point: str, name: str) -> None:
        try:
            self._note(who, what, why, point, name)
        except EchoEdgeError as error:
            log.error("clip %s: %s: not in the audit log: %s", name, why, error)

    # in the clip's own thread

    def _record(self, name: str, point: str, capture: Capture, channels: list[int], seconds: float) -> str:
        """Record, listen for a voice, encrypt and store; returns what became of it, in words."""
        if self._settings is None:
            raise ClipError("clips are off")
        try:
            recipient = read_public_key(self._settings.public_key_file)
        except (OSError, ValueError) as error:
            raise ClipError(str(error)) from error
        window = _heard(point, capture, channels, seconds)
        if speech_score(window) > SPEECH:
            return "dropped: somebody seems to speak"
        sealed = seal(flac(window), recipient)
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            write_durably(self._folder / name, sealed)
        except OSError as error:
            raise ClipError(f"{self._folder}: cannot be written: {error.strerror}") from error
        self._post(self.prune)
        return f"{window.length_s:.1f} s recorded, {len(sealed)} bytes"


def _heard(point: str, capture: Capture, channels: list[int], seconds: float) -> Window:
    """The next stretch of so many seconds without a gap; raises ClipError when there is none in time."""
    deadline_s = time.monotonic() + seconds + PATIENCE_S
    blocks: list[Block] = []
    with capture.tapped() as tap:  # before the status is read: a device that is closed in between ends the tap
        info = capture.status.info
        if info is None:
            raise ClipError("its sensor was closed")
        needed = round(seconds * info.rate_hz)
        while sum(len(block.samples) for block in blocks) < needed:
            block = tap.take(0.2)
            if block is None and (tap.ended or time.monotonic() > deadline_s):
                raise ClipError("its sensor was closed" if tap.ended else "not enough samples came in time")
            if block is not None:
                blocks = [block] if block.after_gap else [*blocks, block]
    return _window(point, blocks, channels, info, needed)


def _window(point: str, blocks: list[Block], channels: list[int], info: SourceInfo, needed: int) -> Window:
    samples = np.concatenate([block.samples for block in blocks])[:needed, channels].T
    return Window(point, np.ascontiguousarray(samples, np.float32), info.rate_hz, blocks[0].time_ns, info.unit)
