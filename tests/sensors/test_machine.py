"""The invented machine obeys the physics of its faults."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, hilbert, sosfiltfilt

from sensors.machine import BPFI, BPFO, FAULTS, Machine

RATE_HZ = 25_600
SHAFT_HZ = 29.5


def run(fault: str | None, severity: float = 1.0, channels: int = 1, seconds: float = 4) -> NDArray[np.float32]:
    machine = Machine(3, RATE_HZ, channels, shaft_hz=SHAFT_HZ)
    machine.set_fault(fault, severity)
    machine.samples(RATE_HZ)
    return machine.samples(round(seconds * RATE_HZ))


def line(signal: NDArray[np.floating], frequency_hz: float) -> float:
    """Return how far the line near a frequency stands out of the spectrum's median up to 500 Hz."""
    spectrum = np.abs(np.fft.rfft((signal - signal.mean()) * np.hanning(len(signal))))
    frequencies = np.fft.rfftfreq(len(signal), 1 / RATE_HZ)
    near = np.abs(frequencies / frequency_hz - 1) < 0.02
    return float(spectrum[near].max() / np.median(spectrum[(frequencies > 20) & (frequencies < 500)]))


def envelope(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    band = sosfiltfilt(butter(4, [3000, 6000], "band", fs=RATE_HZ, output="sos"), signal)
    return np.asarray(np.abs(hilbert(band)))


def test_the_signal_does_not_depend_on_how_it_is_asked_for() -> None:
    pieces, whole = Machine(3, RATE_HZ, 2), Machine(3, RATE_HZ, 2)
    joined = np.concatenate([pieces.samples(n) for n in (100, 1, 0, 5000, 333)])
    assert np.array_equal(joined, whole.samples(len(joined)))
    assert not np.array_equal(joined, Machine(4, RATE_HZ, 2).samples(len(joined)))


@pytest.mark.parametrize(("fault", "per_turn"), [("outer_race", BPFO), ("inner_race", BPFI)])
def test_a_bearing_fault_shows_its_line_in_the_envelope_rather_than_in_the_spectrum(
    fault: str, per_turn: float
) -> None:
    broken, healthy = run(fault)[:, 0], run(None)[:, 0]
    assert line(envelope(broken), per_turn * SHAFT_HZ) > 20
    assert line(envelope(healthy), per_turn * SHAFT_HZ) < 6
    assert line(envelope(broken), per_turn * SHAFT_HZ) > 3 * line(broken, per_turn * SHAFT_HZ)


def test_an_inner_race_fault_is_modulated_by_the_shaft_and_an_outer_race_fault_is_not() -> None:
    assert line(envelope(run("inner_race")[:, 0]), (BPFI - 1) * SHAFT_HZ) > 10
    assert line(envelope(run("outer_race")[:, 0]), (BPFO - 1) * SHAFT_HZ) < 10


def test_imbalance_raises_the_first_order_alone_and_looseness_the_half_orders_too() -> None:
    first = {fault: line(run(fault)[:, 0], SHAFT_HZ) for fault in (None, "imbalance")}
    assert first["imbalance"] > 5 * first[None]
    assert line(run("imbalance")[:, 0], 1.5 * SHAFT_HZ) < 10
    assert line(run("loose_foot")[:, 0], 1.5 * SHAFT_HZ) > 50


def test_cavitation_raises_the_noise_over_a_wide_band() -> None:
    def octaves(signal: NDArray[np.floating]) -> list[float]:
        power = np.abs(np.fft.rfft(signal[:RATE_HZ, 0])) ** 2  # bins of 1 Hz
        return [float(power[low : 2 * low].mean()) for low in (1400, 3000, 6200)]

    for broken, healthy in zip(octaves(run("cavitation")), octaves(run(None)), strict=True):
        assert broken > 2 * healthy


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_grows_with_its_severity_and_goes_when_it_is_mended(fault: str) -> None:
    machine = Machine(3, RATE_HZ, 3)
    levels = []
    for severity in (0.0, 0.5, 1.0, 0.0):
        machine.set_fault(fault if severity else None, severity)
        machine.samples(RATE_HZ)
        levels.append(float(machine.samples(RATE_HZ).std()))
    assert levels[0] < levels[1] < levels[2]
    assert levels[3] == pytest.approx(levels[0], rel=0.05)


def test_a_fault_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no fault 'rust'"):
        Machine().set_fault("rust")
    with pytest.raises(ValueError, match="severity"):
        Machine().set_fault("imbalance", 2)


def peak_hz(signal: NDArray[np.floating], low_hz: float, high_hz: float) -> float:
    """Return where a resonance peaks: the middle of the power within a band, smoothed over bins of 1 Hz."""
    seconds = signal.reshape(-1, RATE_HZ)
    power = (np.abs(np.fft.rfft(seconds, axis=1)) ** 2).mean(axis=0)
    frequencies = np.arange(len(power))
    within = (frequencies >= low_hz) & (frequencies < high_hz)
    return float((power[within] * frequencies[within]).sum() / power[within].sum())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_machine_invented_in_long_pieces_is_as_loud_as_one_in_short_pieces(fault: str) -> None:
    levels = []
    for slices in (1, 20):
        machine = Machine(3, RATE_HZ, 2, slices=slices)
        machine.set_fault(fault, 0.8)
        machine.samples(2 * RATE_HZ)
        levels.append(float(machine.samples(8 * RATE_HZ).std()))
    assert levels[1] == pytest.approx(levels[0], rel=0.05)


def test_resonances_move_while_the_machine_runs_and_the_signal_has_no_step() -> None:
    machine = Machine(3, RATE_HZ, slices=20)
    before = machine.samples(16 * RATE_HZ)[:, 0]
    machine.tune(1.1)
    after = machine.samples(16 * RATE_HZ)[:, 0]
    assert peak_hz(after, 2300, 3200) > 1.03 * peak_hz(before, 2300, 3200)
    joint = np.abs(np.diff(np.concatenate([before, after])))
    assert joint[len(before) - 1] < joint.max()


def test_another_run_of_a_machine_is_built_alike_and_sounds_otherwise() -> None:
    one, other = (Machine(3, RATE_HZ, 2, run=run).samples(8 * RATE_HZ) for run in (1, 2))
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one.std(axis=0), other.std(axis=0), rtol=0.02)
