"""Whether a machine changed while it was learned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echo_edge import frontend
from echo_edge.levels import DB_PER_UNIT, levels_db
from echo_edge.stationarity import Stationarity, check_stationarity
from tests.torture.enrollment_checks import CHANGES, spectra, steady_spectra, verdict, wandering

RATE_HZ, BANDS, ROWS = 8000, 4, 101
Spectra = NDArray[np.floating]


def noise(windows: int = 120, channels: int = 1, seed: int = 0) -> Spectra:
    """Spectra of a steady machine, each level with a spread of 0.3 dB."""
    random = np.random.default_rng(seed)
    return -0.2 + 0.3 / DB_PER_UNIT * random.standard_normal((windows, channels, BANDS, 32))


def raised(spectrum: Spectra, where: NDArray[np.bool_] | slice, db: float, band: int = 1, channel: int = 0) -> Spectra:
    out = spectrum.copy()
    out[where, channel, band] += db / DB_PER_UNIT
    return out


def check(spectrum: Spectra) -> Stationarity:
    return check_stationarity(spectrum, np.arange(len(spectrum)) * 5_000_000_000, RATE_HZ)


def found(spectrum: Spectra) -> list[tuple[str, bool]]:
    return [(finding.check, finding.bad) for finding in check(spectrum).findings]


def test_levels_are_in_db_and_know_their_frequencies() -> None:
    t = np.arange(5 * RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 600 * t) + 0.01 * np.random.default_rng(0).standard_normal(len(t))

    def spectrum(x: NDArray[np.float64]) -> Spectra:
        bands, _ = frontend.bands(x, RATE_HZ)
        return bands[..., : frontend.frame_count(len(x), RATE_HZ)].mean(axis=-1)[None, None]

    levels, ranges = levels_db(np.concatenate((spectrum(tone), spectrum(10 * tone))), RATE_HZ)
    loudest = ranges[int(levels[0].argmax())]
    assert loudest.low_hz < 600 < loudest.high_hz
    assert levels[1] - levels[0] == pytest.approx(20, abs=0.01)
    assert (ranges[0].low_hz, ranges[-1].high_hz) == (20, (ROWS - 0.5) * 40)


def test_the_padding_of_the_last_band_is_no_level() -> None:
    padded = noise(1)
    changed = padded.copy()
    changed[:, :, -1, : BANDS * 32 - ROWS] = 99
    assert np.array_equal(levels_db(padded, RATE_HZ)[0], levels_db(changed, RATE_HZ)[0])


def test_a_steady_machine_is_steady() -> None:
    for seed in range(50):
        assert found(noise(seed=seed)) == []
        assert found(noise(12, seed=seed)) == []


def test_too_few_windows_say_nothing() -> None:
    assert found(raised(noise(11), slice(5, None), 20)) == []


def test_a_step_is_told_with_place_size_and_time() -> None:
    stepped = check(raised(noise(), slice(36, None), 4))
    assert [finding.text for finding in stepped.findings] == [
        "the level at 1.3-2.5 kHz rose by 4.0 dB 3.0 min after the start"
    ]
    assert stepped.findings[0].bad
    assert stepped.changed_ns == 36 * 5_000_000_000
    assert np.array_equal(stepped.state_w, np.arange(120) >= 36)
    assert stepped.z > 8


def test_the_end_of_a_start_up_advises_to_wait() -> None:
    started = check(raised(noise(), slice(0, 6), -4))
    assert started.findings[0].text.endswith("30 s after the start")
    assert "until it is steady" in started.findings[0].advice


def test_less_than_a_decibel_is_no_change_however_sure() -> None:
    assert found(raised(noise(), slice(60, None), 0.8)) == []
    assert found(raised(noise(), slice(60, None), 1.3)) == [("step", True)]


def test_a_slow_drift_is_a_warning() -> None:
    drifting = noise()
    drifting[:, 0, 2] += np.linspace(0, 4, 120)[:, None] / DB_PER_UNIT
    assert found(drifting) == [("trend", False)]
    assert "little by little" in check(drifting).findings[0].text


def test_two_states_are_told_with_their_times() -> None:
    second = np.zeros(120, np.bool_)
    second[24:48] = second[96:] = True
    mixed = check(raised(noise(), second, -3))
    assert np.array_equal(mixed.state_w, second)
    assert mixed.findings[0].text == (
        "two ways to run are mixed; one, 40% of the time, is 3.0 dB quieter at 1.3-2.5 kHz "
        "(2.0 min to 4.0 min, 8.0 min to 10.0 min after the start)"
    )


def test_a_cycle_may_be_how_the_machine_works() -> None:
    assert found(raised(noise(), np.arange(120) % 8 < 3, 3)) == [("two_states", False)]


def test_a_few_windows_unlike_the_others_are_no_second_state() -> None:
    knocks = np.zeros(120, np.bool_)
    knocks[[17, 55, 90]] = True
    assert found(raised(noise(), knocks, 12)) == []


def test_the_channel_that_changed_is_named() -> None:
    text = check(raised(noise(channels=3), slice(60, None), 4, channel=2)).findings[0].text
    assert "1.3-2.5 kHz of channel 2 rose" in text


def test_steady_pumps_are_steady_even_where_their_level_wanders_a_little() -> None:
    for seed in (0, 3):
        steady, rate_hz = steady_spectra(seed)
        assert verdict(steady, rate_hz) == "nothing"
        assert verdict(wandering(steady, seed, 0.2, 120), rate_hz) == "nothing"


@pytest.mark.parametrize(
    "change",
    [
        "load 0.7 to 0.9 after 2 min",
        "speed 29.5 to 25 Hz after 5 min",
        "start-up, the first 30 s",
        "load 0.7 and 0.9, 2 to 3 min each",
        "load 0.6 to 0.9 little by little",
    ],
)
def test_a_pump_that_is_set_otherwise_is_found(change: str) -> None:
    check_name, parts = CHANGES[change]
    assert verdict(spectra(1, RATE_HZ, parts), RATE_HZ).startswith(check_name)
