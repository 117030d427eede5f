"""The soak judges rightly: what is lost, what grows, what is a false alarm. Its faults are its own business."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.system.daemon import Heard
from tests.torture.soak_faults import FAULTS
from tests.torture.soak_growth import EVERY_S, QUANTITIES, Process
from tests.torture.soak_plant import POINTS
from tests.torture.soak_report import Row, false_alarms, growth, ledger

UNPLUGGED = next(fault for fault in FAULTS if fault.name.startswith("sensor unplugged"))


def event(number: int, at_s: float = 0.0, **more: Any) -> Heard:
    return Heard(at_s, "echo-edge/v1/soak/alerts", {"id": f"soak:ab12:{number}", **more}, False, 1)


def opened(at_s: float, kind: str, point: str) -> Heard:
    about = {"type": "open", "kind": kind, "machine": "m", "point": point, "severity": "alarm", "alert_id": f"{at_s}"}
    return event(round(at_s), at_s, **about)


def process(rise_per_h: float, minutes: float = 30) -> Process:
    """One whose memory rises and is noisy, and loads 40 MB in its first minute."""
    times_s = np.arange(0, minutes * 60, EVERY_S)
    noise = np.random.default_rng(0).standard_normal(len(times_s))
    memory = 200 + rise_per_h * times_s / 3600 + noise - 40 * (times_s < 60)
    values = {name: memory.tolist() if name == "rss_mb" else [9.0] * len(times_s) for name in QUANTITIES}
    return Process(1, "daemon", times_s.tolist(), values)


def test_an_event_that_never_came_is_lost_unless_it_was_told_to_be_given_up() -> None:
    told = {"events": 2, "first_seq": 4, "last_seq": 5}
    counted = ledger([event(1), event(2), event(2), event(6, outbox_lost=told), event(6, outbox_lost=told)])
    assert (counted.events, counted.repeats, counted.told_lost, counted.holes) == (3, 2, 2, 1)


def test_growth_is_what_goes_on_after_the_start() -> None:
    assert growth(process(0.0)) == []
    assert len(growth(process(30.0))) == 1
    slope = process(30.0).slope("rss_mb")
    assert slope is not None
    assert slope.low < 30.0 < slope.high
    assert process(30.0, minutes=1).slope("rss_mb") is None


def test_an_alert_is_false_unless_the_fault_of_the_moment_explains_it() -> None:
    rows = [Row(UNPLUGGED, begun_s=10.0)]
    heard = [opened(5.0, "machine", "ee1"), opened(12.0, "sensor", "ee1"), opened(13.0, "sensor", "mic")]
    assert [told.partition(" (")[0] for told in false_alarms(heard, rows, 0.0)] == ["machine m/ee1", "sensor m/mic"]


def test_every_fault_has_a_name_of_its_own_and_points_that_exist() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert fault.hits <= set(POINTS)
        assert fault.told_s > 0 < fault.back_s
