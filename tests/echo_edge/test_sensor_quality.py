"""What is told of a sensor: from its status, its counters, its rate, its gain and what its windows showed."""

from __future__ import annotations

import pytest

from echo_edge.capture import SensorStatus
from echo_edge.report import SensorQuality
from echo_edge.signal_checks import Finding
from sensors import SourceInfo

POINT = "pump/de"
INFO = SourceInfo(26_667, 3, "g", "ee1:A7")


def quality(status: SensorStatus | None) -> SensorQuality:
    told = SensorQuality()
    if status is not None:
        told.update(status)
    return told


def ok(**fields: object) -> SensorStatus:
    return SensorStatus("acc", "ok", info=INFO, **fields)  # type: ignore[arg-type]


def test_a_sensor_that_was_never_heard_of_is_starting() -> None:
    told = quality(None).describe(POINT)
    assert (told.state, told.reasons) == ("lost", ("starting",))


def test_a_lost_sensor_says_why_and_nothing_of_its_last_windows() -> None:
    told = quality(ok())
    told.windows_show(POINT, (Finding("clipping", False, "x", "y"),))
    told.update(SensorStatus("acc", "lost", "unplugged"))
    described = told.describe(POINT)
    assert (described.state, described.reasons, described.findings) == ("lost", ("sensor_lost", "unplugged"), ())


def test_what_the_windows_show_degrades_only_their_own_point() -> None:
    told = quality(ok())
    told.windows_show(POINT, (Finding("dc", False, "the mean is 1 Pa", "check the wiring"),))
    assert (told.describe(POINT).state, told.describe("pump/nde").state) == ("degraded", "ok")
    told.windows_show(POINT, ())
    assert told.describe(POINT).state == "ok"


@pytest.mark.parametrize(("ppm", "reasons"), [(None, ()), (-499.0, ()), (501.0, ("rate_wrong",))])
def test_a_rate_more_than_500_ppm_off_is_wrong(ppm: float | None, reasons: tuple[str, ...]) -> None:
    described = quality(ok(rate_ppm=ppm)).describe(POINT)
    assert described.reasons == reasons
    assert described.rate_ppm == ppm
    if reasons:
        assert described.findings[0].text == "26680.4 Hz measured, 26667 Hz announced (+501 ppm)"


def test_what_the_point_finds_in_its_sensor_is_told_with_the_rest() -> None:
    changed = Finding("sensor_changed", False, "enrolled with ee1:A7, this is ee1:B2", "enroll again")
    described = quality(ok()).describe(POINT, (changed,))
    assert (described.state, described.reasons, described.findings) == ("degraded", ("sensor_changed",), (changed,))


def test_gaps_count_from_the_first_word_of_the_hour() -> None:
    told = quality(ok(counters={"gaps": 2, "lost_frames": 100}))
    told.update(ok(counters={"gaps": 5, "lost_frames": 160}))
    described = told.describe(POINT)
    assert (described.gaps_1h, described.lost_samples_1h, described.reasons) == (3, 60, ("gap",))


def test_an_outage_is_a_gap_of_unknown_length() -> None:
    told = quality(ok())
    told.update(SensorStatus("acc", "lost", "unplugged"))
    told.update(ok())
    described = told.describe(POINT)
    assert (described.state, described.reasons, described.gaps_1h) == ("degraded", ("gap",), 1)
    assert described.lost_samples_1h is None
