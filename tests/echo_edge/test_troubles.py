"""Alarms about sensors and about the gateway: when they open, grow and clear, and what is no alarm at all."""

from __future__ import annotations

from itertools import pairwise

import pytest

from echo_edge.payload import Quality
from echo_edge.signal_checks import Finding
from echo_edge.troubles import GatewayAlarms, SensorAlarm, Trouble, starting, trouble_of

POINT = "pump/de"
NOW_NS = 1_777_885_512_000_000_000
LOST = Trouble("fault", ("sensor_lost",), "the sensor is lost: unplugged")
BAD = Trouble("warning", ("clipping",), "the sensor: clipping")
GAIN = Trouble("warning", ("gain_changed",), "the sensor: gain_changed")


def play(*seconds: tuple[float, Trouble | None], alarm: SensorAlarm | None = None) -> list[tuple[float, str, str]]:
    """What is told when a sensor is so from each of these times on; the last one is the end."""
    alarm = alarm or SensorAlarm(POINT)
    told: list[tuple[float, str, str]] = []
    for (begin_s, trouble), (end_s, _) in pairwise(seconds):
        ticks = range(round(2 * begin_s), round(2 * end_s))
        steps = [(tick / 2, alarm.update(trouble, tick / 2, NOW_NS + tick * 500_000_000)) for tick in ticks]
        told += [(at_s, step.type, step.severity) for at_s, step in steps if step is not None]
    return told


def quality(state: str = "ok", *reasons: str, findings: tuple[Finding, ...] = ()) -> Quality:
    return Quality(POINT, NOW_NS, state, reasons, findings=findings)


def test_a_sensor_that_is_lost_for_five_seconds_is_a_fault_and_clears_when_it_was_well_for_as_long() -> None:
    assert play((0, LOST), (7, None), (20, None)) == [(5, "open", "fault"), (12, "clear", "fault")]


def test_a_sensor_that_is_reopened_within_five_seconds_is_no_alarm() -> None:
    assert play((0, LOST), (4, None), (5, LOST), (9, None), (60, None)) == []


def test_a_bad_signal_has_thirty_seconds_and_is_a_warning() -> None:
    assert play((0, BAD), (29, None), (30, BAD), (62, None), (70, None)) == [
        (60, "open", "warning"),
        (67, "clear", "warning"),
    ]


def test_a_sensor_that_is_now_lost_and_now_bad_is_still_unwell() -> None:
    assert play((0, BAD), (20, LOST), (23, BAD), (35, BAD)) == [(30, "open", "warning")]


def test_a_warning_grows_to_a_fault_and_never_back() -> None:
    assert play((0, BAD), (40, LOST), (50, BAD), (55, BAD)) == [(30, "open", "warning"), (45, "escalate", "fault")]


def test_other_reasons_are_news_at_most_every_ten_seconds() -> None:
    assert play((0, BAD), (31, GAIN), (36, BAD), (37, GAIN), (60, GAIN)) == [
        (30, "open", "warning"),
        (40, "update", "warning"),
    ]


def test_a_plug_that_comes_and_goes_is_one_alarm() -> None:
    flaps = [(t, LOST if t % 4 == 0 else None) for t in range(10, 60, 2)]
    assert play((0, LOST), *flaps, (60, None), (80, None)) == [(5, "open", "fault"), (63, "clear", "fault")]


def test_after_a_pause_the_time_counts_anew() -> None:
    alarm = SensorAlarm(POINT)
    assert play((0, LOST), (4, LOST), alarm=alarm) == []
    alarm.settle()
    assert play((4, LOST), (10, LOST), alarm=alarm) == [(9, "open", "fault")]


@pytest.mark.parametrize(
    ("told", "severity"),
    [
        (quality(), None),
        (quality("degraded", "gap"), None),
        (quality("degraded", "clipping", findings=(Finding("clipping", False, "0.3 %", "less gain"),)), None),
        (quality("degraded", "silence", findings=(Finding("silence", True, "zeros", "look"),)), "warning"),
        (quality("degraded", "gain_changed", findings=(Finding("gain_changed", True, "+6 dB", "back"),)), "warning"),
        (quality("degraded", "rate_wrong", findings=(Finding("rate_wrong", False, "501 ppm", "x"),)), "warning"),
        (quality("lost", "sensor_lost", "unplugged"), "fault"),
        (quality("lost", "sensor_ended", "the recording is over"), "fault"),
    ],
)
def test_what_forbids_to_judge_is_an_alarm_and_what_only_degrades_is_none(told: Quality, severity: str | None) -> None:
    trouble = trouble_of(told)
    assert (None if trouble is None else trouble.severity) == severity
    if trouble is not None:
        assert trouble.reasons == told.reasons[:1]


def test_a_sensor_that_delivers_no_whole_window_is_unusable_and_one_that_starts_is_not_known() -> None:
    trouble = trouble_of(quality(), "no whole window comes")
    assert trouble == Trouble("warning", ("no_window",), "the sensor: no whole window comes")
    assert starting(quality("lost", "starting"))
    assert not starting(quality("lost", "sensor_lost"))


def gateway(*calls: tuple[float, dict[str, str]]) -> list[tuple[float, str, str]]:
    alarms = GatewayAlarms()
    told: list[tuple[float, str, str]] = []
    for at_s, problems in calls:
        steps = alarms.update(problems, NOW_NS + round(at_s * 1e9))
        told += [(at_s, step.about, step.type) for step in steps]
    return told


def test_each_problem_of_the_gateway_has_an_alarm_of_its_own() -> None:
    both = {"outbox": "disk_full", "mqtt_denied": "alert"}
    assert gateway((0, both), (1, both), (2, {"outbox": "disk_full"}), (3, {})) == [
        (0, "outbox", "open"),
        (0, "mqtt_denied", "open"),
        (2, "mqtt_denied", "clear"),
        (3, "outbox", "clear"),
    ]


def test_a_count_that_rises_is_news_once_a_minute() -> None:
    counts = [(float(s), {"overload": f"{s} windows dropped"}) for s in range(0, 130, 10)]
    assert gateway(*counts) == [(0, "overload", "open"), (60, "overload", "update"), (120, "overload", "update")]


def test_a_problem_that_comes_and_goes_opens_no_alarm_every_second() -> None:
    calls = [(float(s), {"mqtt_denied": "alert"} if s % 2 else {}) for s in range(1, 80)]
    assert gateway(*calls) == [
        (1, "mqtt_denied", "open"),
        (2, "mqtt_denied", "clear"),
        (63, "mqtt_denied", "open"),
        (64, "mqtt_denied", "clear"),
    ]
