"""Capture: one thread per device that reads, cuts windows and posts them, and reopens what fails. Waits for nobody."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from echo_edge.baseline import moved_settings
from echo_edge.config import PointConfig
from echo_edge.mailbox import Mailbox
from echo_edge.records import Limits
from echo_edge.tap import Tap
from echo_edge.windows import Windower
from sensors import Block, SensorEnded, SensorError, Source, SourceInfo

log = logging.getLogger(__name__)

RETRY_FIRST_S = 1.0
RETRY_LAST_S = 60.0
REPORT_EVERY_S = 0.5
MIN_RATE_HZ = 1000  # one band of the encoder's, 13 bins wide
PPM_STEP = 5.0  # a smaller change of the measured rate is no news


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """How a device is; the newest one counts."""

    device: str
    state: str
    """``opening``, ``ok``, ``lost`` or ``ended``."""

    reason: str | None = None
    info: SourceInfo | None = None
    counters: dict[str, int] = field(default_factory=dict)
    rate_ppm: float | None = None
    """Measured minus nominal rate, parts per million."""

    settings: dict[str, str] = field(default_factory=dict)
    """What the level depends on besides the calibration (gain, range, mixer), as it is now."""

    readings: dict[str, float] = field(default_factory=dict)
    """The newest value of each indicator, when the device delivers readings and no waveform."""

    read_ns: int = 0
    """Capture time of the readings."""

    refused: dict[str, str] = field(default_factory=dict)
    """Points that this device cannot serve as they are configured, and why."""


def point_windower(name: str, point: PointConfig, info: SourceInfo) -> Windower:
    """The windower of a point on the device that was opened.

    Raises:
        ValueError: the device lacks a channel, or its rate does not suit the window's length.
    """
    channels, window = point.channel_numbers, point.window
    if info.indicators:
        raise ValueError("it measures indicators, not a waveform: they are published, and there is no verdict")
    if info.rate_hz < MIN_RATE_HZ:
        raise ValueError(f"{info.rate_hz} Hz is too slow for a verdict: the encoder needs at least {MIN_RATE_HZ} Hz")
    if max(channels) >= info.channels:
        have = f"channels 0..{info.channels - 1}" if info.channels > 1 else "only channel 0"
        raise ValueError(f"there is no channel {max(channels)}, the device has {have}")
    try:
        return Windower(name, channels, info.rate_hz, window.length_s, window.hop_s, info.unit, limits(info, channels))
    except ValueError as error:
        raise ValueError(f"window of {window.length_s:g} s: {error}") from error


def limits(info: SourceInfo, channels: list[int]) -> Limits:
    """What the device can deliver on these of its channels."""
    full_scale = tuple(info.full_scale[c] for c in channels) if info.full_scale else ()
    lsb = tuple(info.lsb[c] for c in channels) if info.lsb else ()
    return Limits(full_scale, lsb, gravity=info.gravity and sorted(channels) == [0, 1, 2])


class Capture(threading.Thread):
    """Owns one device from open to close.

    Args:
        device: its name in the configuration.
        make_source: makes the driver; called in this thread.
        points: the points that listen to this device.
        mailbox: where windows and status go.
    """

    def __init__(
        self,
        device: str,
        make_source: Callable[[], Source],
        points: dict[str, PointConfig],
        mailbox: Mailbox[SensorStatus],
    ) -> None:
        super().__init__(name=f"capture:{device}", daemon=True)
        self.failure: BaseException | None = None
        self.device = device
        self.last_block_s: float | None = None
        """When the newest block came (monotonic)."""

        self._make_source = make_source
        self._points = points
        self._mailbox = mailbox
        self._stop_asked = threading.Event()
        self._refused: dict[str, str] = {}
        self._counters: dict[str, int] = {}  # of the sources before this one
        self._readings: dict[str, float] = {}
        self._read_ns = 0
        self._delivered = False
        self._status = SensorStatus(device, "opening")
        self._taps: tuple[Tap, ...] = ()  # replaced as a whole: the loop below reads it without a lock
        self._tapping = threading.Lock()

    @property
    def status(self) -> SensorStatus:
        """How the device is now."""
        return self._status

    @contextmanager
    def tapped(self) -> Iterator[Tap]:
        """Let another thread have a copy of every block."""
        tap = Tap()
        with self._tapping:
            self._taps = (*self._taps, tap)
        try:
            yield tap
        finally:
            with self._tapping:
                self._taps = tuple(other for other in self._taps if other is not tap)

    def stop(self) -> None:
        """Ask the thread to end; it does within a fraction of a second, or when the driver's read returns."""
        self._stop_asked.set()

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # the thread's outermost line: the supervisor ends the process
            log.exception("%s: capture failed", self.device)
            self.failure = error

    def _run(self) -> None:
        self._post(self._status)
        delay_s = RETRY_FIRST_S
        while not self._stop_asked.is_set():
            source = self._make_source()
            self._delivered = False
            try:
                info = source.open()
                windowers = self._windowers(info)
                self._say("ok", None, info, source)
                self._stream(source, windowers)
            except SensorEnded as error:
                self._say("ended", error.message, None, source)
                return
            except SensorError as error:
                self._say("lost", error.message, None, source)
            finally:
                for tap in self._taps:
                    tap.ended = True
                source.close()
                self._counters = self._totals(source)
            # a device that opens and then delivers nothing is as good as one that does not open
            delay_s = RETRY_FIRST_S if self._delivered else min(2 * delay_s, RETRY_LAST_S)
            self._stop_asked.wait(delay_s)

    def _windowers(self, info: SourceInfo) -> list[Windower]:
        """One per point; a point that the device cannot serve is left out and named, the others are served."""
        self._refused, self._readings = {}, {}
        windowers = []
        for name, point in self._points.items():
            try:
                windowers.append(point_windower(name, point, info))
            except ValueError as error:
                self._refused[name] = f"{self.device}: {error}"
        for name, reason in self._refused.items():
            log.warning("%s: %s", name, reason)
        return windowers

    def _stream(self, source: Source, windowers: list[Windower]) -> None:
        info = self._status.info
        told = time.monotonic()
        while not self._stop_asked.is_set():
            block: Block | None = source.read()
            if block is not None:
                self._delivered = True
                self.last_block_s = time.monotonic()
                for tap in self._taps:
                    tap.offer(block)
                for windower in windowers:
                    for window in windower.push(block):
                        self._mailbox.put(window)
            if info is not None and info.indicators and block is not None:
                self._readings = dict(zip(info.indicators, block.samples[-1].tolist(), strict=True))
                self._read_ns = block.time_ns
                self._say("ok", None, info, source)
            elif time.monotonic() - told >= REPORT_EVERY_S:
                told = time.monotonic()
                if self._news(source):
                    self._say("ok", None, info, source)

    def _news(self, source: Source) -> bool:
        """True when something changed that others want to know."""
        before, ppm = self._status, source.rate_ppm
        drifted = ppm is not None and (before.rate_ppm is None or abs(ppm - before.rate_ppm) > PPM_STEP)
        return drifted or source.settings() != before.settings or self._totals(source) != before.counters

    def _totals(self, source: Source) -> dict[str, int]:
        return {k: self._counters.get(k, 0) + source.counters[k] for k in {*self._counters, *source.counters}}

    def _say(self, state: str, reason: str | None, info: SourceInfo | None, source: Source) -> None:
        changed = (state, reason) != (self._status.state, self._status.reason)
        if changed:
            level = logging.INFO if state == "ok" else logging.WARNING
            log.log(level, "%s: %s%s", self.device, state, f": {reason}" if reason else "")
        settings = source.settings() if state == "ok" else {}
        if state == "ok" and (moved := moved_settings(self._status.settings, settings)):
            log.warning("%s: settings changed: %s", self.device, moved)
        self._status = SensorStatus(
            self.device,
            state,
            reason=reason,
            info=info,
            counters=self._totals(source),
            rate_ppm=source.rate_ppm if state == "ok" else None,
            settings=settings,
            readings=self._readings if state == "ok" else {},
            read_ns=self._read_ns,
            refused=dict(self._refused),
        )
        self._post(self._status)

    def _post(self, status: SensorStatus) -> None:
        self._mailbox.report(status.device, status)
