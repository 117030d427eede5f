"""Serial sensors that are plugged in again in any order: none is ever taken for another."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from sensors import Machine, PtyAccelerometer, create_source
from tests.baselines import learned, world
from tests.system.faults import LONG
from tests.world import POINT, machine_windows

PERMUTATIONS = 200 if LONG else 2
SENSORS = 4


@pytest.mark.timeout(900 if LONG else 60)
def test_in_any_order_of_ports_a_sensor_is_known_by_what_it_says_and_a_wrong_one_is_never_judged(
    tmp_path: Path,
) -> None:
    chance, wrong, right = random.Random(1), 0, 0
    baselines, judge, taught, window = {}, world(), learned(), machine_windows(1)
    with ExitStack() as plugged:
        sensors = [
            plugged.enter_context(PtyAccelerometer(Machine(number, 2000, 1), serial=f"SIM-{number}"))
            for number in range(SENSORS)
        ]
        ports = [tmp_path / f"ttyUSB{number}" for number in range(SENSORS)]
        for turn in range(1 + PERMUTATIONS):
            order = list(range(SENSORS))
            if turn:
                chance.shuffle(order)
            for port, number in zip(ports, order, strict=True):
                port.unlink(missing_ok=True)
                port.symlink_to(sensors[number].port)
            for port, number in zip(ports, order, strict=True):
                source = create_source("accelerometer", "acc", port=str(port))
                try:
                    identity = source.open().identity
                finally:
                    source.close()
                assert f"SIM-{number}" in identity
                if turn == 0:
                    baselines[port] = replace(taught, identity=identity)
                    continue
                judge.points[POINT].adopt(baselines[port])
                judge.points[POINT].identity = identity
                (verdict,) = judge.step(window)
                belongs = number == ports.index(port)
                wrong += verdict.score is not None and not belongs
                right += verdict.score is not None and belongs
                assert belongs or "sensor_changed" in (verdict.reason or "")
    assert wrong == 0
    assert right > 0
    print(f"{PERMUTATIONS} permutations of {SENSORS} ports: {right} right attachments judged, {wrong} wrong ones")
