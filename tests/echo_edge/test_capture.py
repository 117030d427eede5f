"""Capture: one thread per device, with the shipped simulator and a device that fails on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from echo_edge import capture as capture_module
from echo_edge.capture import Capture, SensorStatus, point_windower
from echo_edge.config import PointConfig
from echo_edge.mailbox import Mailbox
from echo_edge.records import Window
from sensors import Block, SensorFault, SensorUnavailable, Source, SourceInfo, create_source

POINT = PointConfig.model_validate({"device": "dev", "window": {"length_s": 0.1, "hop_s": 0.1}})


class Scripted(Source):
    """Delivers blocks of a ramp, shorter than a window; each entry of the script is a block (True) or an exception."""

    def __init__(self, script: list[object]) -> None:
        super().__init__("dev")
        self._script = script
        self._frames = 0

    def open(self) -> SourceInfo:
        if self._script and isinstance(self._script[0], SensorUnavailable):
            raise self._next_error()
        return SourceInfo(8000, 1, "g", "scripted:1")

    def read(self) -> Block | None:
        if not self._script:
            time.sleep(0.02)
            return None
        if isinstance(self._script[0], Exception):
            raise self._next_error()
        self._script.pop(0)
        ramp = np.arange(self._frames, self._frames + 500, dtype=np.float32)[:, None]
        self._frames += 500
        return Block(ramp, time.time_ns())

    def _next_error(self) -> Exception:
        error = self._script.pop(0)
        assert isinstance(error, Exception)
        return error

    def close(self) -> None:
        self.counters["closed"] += 1


class Inbox:
    """Collects what a capture thread posts."""

    def __init__(self, mailbox: Mailbox[SensorStatus]) -> None:
        self._mailbox = mailbox
        self.windows: list[Window] = []
        self.statuses: list[SensorStatus] = []

    def until(self, done: Callable[[Inbox], bool]) -> None:
        deadline_s = time.monotonic() + 10
        while not done(self):
            assert time.monotonic() < deadline_s, (len(self.windows), self.statuses)
            mail = self._mailbox.take(0.1)
            self.windows += mail.windows
            self.statuses += mail.reports


@contextmanager
def capturing(
    make_source: Callable[[], Source], points: dict[str, PointConfig] | None = None
) -> Iterator[tuple[Capture, Inbox]]:
    mailbox: Mailbox[SensorStatus] = Mailbox()
    thread = Capture("dev", make_source, points or {"m/p": POINT}, mailbox)
    thread.start()
    try:
        yield thread, Inbox(mailbox)
    finally:
        thread.stop()
        thread.join(5)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "RETRY_FIRST_S", 0.02)


def test_a_device_becomes_windows() -> None:
    options = {"rate_hz": 8000, "channels": 2, "seed": 3}
    with capturing(lambda: create_source("simulator", "dev", **options)) as (_, inbox):
        inbox.until(lambda box: len(box.windows) >= 3)
    assert inbox.windows[0].samples.shape == (1, 800)
    assert inbox.statuses[-1].info == SourceInfo(8000, 2, "g", "simulator:3", calibration="sensor")


def test_a_device_that_fails_is_opened_again_and_no_window_spans_the_gap() -> None:
    scripts: list[list[object]] = [[True, True, True, SensorFault("dev", "unplugged")], [True, True, True, True]]
    with capturing(lambda: Scripted(scripts.pop(0))) as (_, inbox):
        inbox.until(lambda box: len(box.windows) >= 3 and box.statuses[-1].state == "ok")
    assert [int(w.samples[0, 0]) for w in inbox.windows] == [0, 0, 800]  # 700 left over before the gap are let go
    assert all((np.diff(w.samples[0]) == 1).all() for w in inbox.windows)


def test_a_device_that_is_not_there_is_reported_and_tried_again() -> None:
    script: list[object] = [
        SensorUnavailable("dev", "no such port"),
        SensorUnavailable("dev", "no such port"),
        *[True] * 3,
    ]
    with capturing(lambda: Scripted(script)) as (_, inbox):
        inbox.until(lambda box: any(s.state == "lost" for s in box.statuses))
        assert "no such port" in str(inbox.statuses[-1].reason)
        inbox.until(lambda box: bool(box.windows))
    assert inbox.statuses[-1].state in {"ok", "lost"}


def test_a_channel_that_the_device_lacks_costs_only_the_point_that_asks_for_it() -> None:
    wrong = PointConfig.model_validate({"device": "dev", "channels": [3]})
    with capturing(lambda: Scripted([True] * 5), {"m/p": POINT, "m/q": wrong}) as (_, inbox):
        inbox.until(lambda box: bool(box.windows))
    assert inbox.statuses[-1].refused == {"m/q": "dev: there is no channel 3, the device has only channel 0"}
    assert {w.point for w in inbox.windows} == {"m/p"}


def test_a_window_that_is_too_long_at_the_devices_rate_is_said() -> None:
    long = PointConfig.model_validate({"device": "dev", "window": {"length_s": 20, "hop_s": 20}})
    options = {"rate_hz": 22_050}
    with capturing(lambda: create_source("simulator", "dev", **options), {"m/p": long}) as (_, inbox):
        inbox.until(lambda box: bool(box.statuses) and box.statuses[-1].state == "ok")
    assert "window of 20 s: " in inbox.statuses[-1].refused["m/p"]


def test_a_defect_in_a_driver_ends_the_thread_and_is_kept_for_the_supervisor() -> None:
    with capturing(lambda: Scripted([ZeroDivisionError("a bug")])) as (thread, inbox):
        thread.join(5)
        assert isinstance(thread.failure, ZeroDivisionError)
    assert not inbox.windows


def test_counters_add_up_over_reopenings() -> None:
    scripts: list[list[object]] = [[SensorFault("dev", "one")], [SensorFault("dev", "two")], [True]]
    with capturing(lambda: Scripted(scripts.pop(0))) as (_, inbox):
        inbox.until(lambda box: bool(box.statuses) and box.statuses[-1].counters.get("closed") == 2)


class Meter(Source):
    """Delivers two readings; its settings may be moved."""

    def __init__(self) -> None:
        super().__init__("dev")
        self.gain = "0 dB"
        self._reading = 0.0

    def open(self) -> SourceInfo:
        return SourceInfo(10, 2, "", "meter:1", indicators=("velocity_x_mm_s", "temperature_c"))

    def settings(self) -> dict[str, str]:
        return {"gain": self.gain}

    @property
    def rate_ppm(self) -> float | None:
        return 12.0

    def read(self) -> Block | None:
        time.sleep(0.02)
        self._reading += 1
        return Block(np.array([[self._reading, 40.0]], dtype=np.float32), 5)

    def close(self) -> None:
        pass


def test_readings_of_a_meter_are_told_and_give_no_windows() -> None:
    with capturing(Meter) as (_, inbox):
        inbox.until(lambda box: bool(box.statuses) and box.statuses[-1].readings.get("velocity_x_mm_s", 0) >= 3)
    status = inbox.statuses[-1]
    assert (status.readings["temperature_c"], status.read_ns, status.rate_ppm) == (40.0, 5, 12.0)
    assert "not a waveform" in status.refused["m/p"]
    assert not inbox.windows


def test_a_gain_that_moves_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter()
    with capturing(lambda: meter) as (_, inbox):
        inbox.until(lambda box: any(s.settings == {"gain": "0 dB"} for s in box.statuses))
        meter.gain = "6 dB"
        inbox.until(lambda box: box.statuses[-1].settings == {"gain": "6 dB"})
    assert "dev: settings changed: gain was 0 dB, is 6 dB" in caplog.text


def test_a_rate_too_slow_for_the_encoder_is_refused_for_the_point_alone() -> None:
    with pytest.raises(ValueError, match="200 Hz is too slow for a verdict: the encoder needs at least 1000 Hz"):
        point_windower("m/p", POINT, SourceInfo(200, 1, "g", "witmotion"))
