"""Real PortAudio and a real sound server: three rates at once, a machine that plays on, a volume that is moved."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest
from numpy.typing import NDArray

from sensors import Machine
from sensors.microphone import Microphone
from sensors.pulse_microphone import PulseMicrophone
from tests.sensors.conftest import collect

SECONDS = 60 if os.environ.get("ECHO_EDGE_TORTURE") else 20
RATES_HZ = (16_000, 44_100, 48_000)
TONE_HZ = 1234.5
WARM_S = 1.0  # from opening until the tone is there for certain


def opened(pulse: PulseMicrophone, monkeypatch: pytest.MonkeyPatch, **options: object) -> Microphone:
    for name, value in pulse.env.items():
        monkeypatch.setenv(name, value)
    driver = Microphone("mic", device=pulse.device, rate_hz=pulse.rate_hz, **options)  # type: ignore[arg-type]
    driver.open()
    return driver


def until(true: Callable[[], bool], driver: Microphone, seconds: float) -> bool:
    """Go on reading until something is true, or the time is over."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        driver.read()
    return True


def cosine_of_turn(x: NDArray[np.float64]) -> float:
    """Return cos(w) of a sine by least squares over its recurrence x[n+1] + x[n-1] = 2 cos(w) x[n]."""
    return float(x[1:-1] @ (x[2:] + x[:-2]) / (2 * (x[1:-1] @ x[1:-1])))


@pytest.mark.timeout(SECONDS * 3 + 60)
def test_three_rates_at_once_lose_no_sample_and_keep_their_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        drivers = []
        for rate_hz in RATES_HZ:
            pulse = stack.enter_context(PulseMicrophone(rate_hz))
            phase = 2 * np.pi * TONE_HZ * np.arange((SECONDS + 15) * rate_hz) / rate_hz
            pulse.play((0.5 * np.sin(phase)).astype(np.float32))
            drivers.append(opened(pulse, monkeypatch))
            stack.callback(drivers[-1].close)
        parts: dict[int, list[NDArray[np.float32]]] = {rate_hz: [] for rate_hz in RATES_HZ}
        ends = time.monotonic() + SECONDS + WARM_S + 1
        while time.monotonic() < ends or (time.monotonic() < ends + 8 and any(d.rate_ppm is None for d in drivers)):
            for rate_hz, driver in zip(RATES_HZ, drivers, strict=True):
                if (block := driver.read()) is not None:
                    assert not block.after_gap
                    parts[rate_hz].append(block.samples)
        ppm = [driver.rate_ppm for driver in drivers]
    print(f"measured rates: {ppm} ppm")
    for rate_hz in RATES_HZ:
        x = np.concatenate(parts[rate_hz])[round(WARM_S * rate_hz) :, 0].astype(np.float64)
        assert len(x) > SECONDS * rate_hz
        turn = cosine_of_turn(x)
        assert np.arccos(turn) * rate_hz / (2 * np.pi) == pytest.approx(TONE_HZ, rel=1e-4)
        assert np.abs(x[2:] + x[:-2] - 2 * turn * x[1:-1]).max() < 1e-3  # a lost sample would break the sine
    assert all(rate is not None and abs(rate) < 200 for rate in ppm)


def test_a_machine_plays_on_and_every_sample_of_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    with PulseMicrophone(16_000, 2) as pulse:
        driver = opened(pulse, monkeypatch, channels=2)
        pulse.play_machine(Machine(7, 16_000, 2, level=0.2))
        heard = collect(driver, 4 * 16_000)[-2 * 16_000 :]
        driver.close()
    made = Machine(7, 16_000, 2, level=0.2).samples(5 * 16_000)
    (starts,) = np.nonzero(np.isclose(made[:, 0], heard[0, 0], atol=1e-6))
    (start,) = [s for s in starts if np.allclose(made[s : s + 50], heard[:50], atol=1e-6)]
    assert np.allclose(made[start : start + len(heard)], heard, atol=1e-6)


def test_a_machine_of_another_rate_is_refused() -> None:
    with PulseMicrophone(16_000) as pulse, pytest.raises(ValueError, match="16000 Hz and 1 channels"):
        pulse.play_machine(Machine(7, 48_000))


def test_a_volume_that_is_moved_is_seen_within_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with PulseMicrophone() as pulse:
        driver = opened(pulse, monkeypatch)
        assert driver.settings() == {"Capture Switch": "on", "Capture Volume": "100 %"}
        assert pulse.control("set-source-volume", "vmic.monitor", "50%") == 0
        assert until(lambda: driver.settings()["Capture Volume"] == "50 %", driver, 5)
        assert pulse.control("set-source-mute", "vmic.monitor", "1") == 0
        assert until(lambda: driver.settings()["Capture Switch"] == "off", driver, 5)
        driver.close()
