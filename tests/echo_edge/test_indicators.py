"""Physical indicators against numbers worked by hand, and on an invented machine with faults."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from echo_edge.indicators import (
    FLOOR,
    GRAVITY_MM_S2,
    ZONE_LIMITS_MM_S,
    Bearing,
    IndicatorSpec,
    in_words,
    measure,
    names,
    strangeness_scale,
    zone,
)
from echo_edge.records import Window
from sensors import FULL_SCALE, Machine

RATE_HZ = 25_600
LENGTH_S = 5.0
BEARING = Bearing(bpfo=3.5848, bpfi=5.4152, bsf=2.3567, ftf=0.3983)  # 6205
SHAFT_HZ = 29.5
LINES = tuple(f"envelope_{defect}_db" for defect in ("bpfo", "bpfi", "bsf", "ftf"))


def window(samples: ArrayLike, unit: str = "g", rate_hz: int = RATE_HZ) -> Window:
    return Window("m/p", np.atleast_2d(np.asarray(samples, dtype=np.float32)), rate_hz, 0, unit)


def tone(frequency_hz: float, peak: float = 1.0, length_s: float = LENGTH_S, rate_hz: int = RATE_HZ) -> np.ndarray:
    t = np.arange(round(length_s * rate_hz)) / rate_hz
    return peak * np.sin(2 * np.pi * frequency_hz * t + 0.3)


def noise(level: float = 1.0, length_s: float = LENGTH_S, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(round(length_s * rate_hz))


def read(checked: Window, shaft_hz: float | None = None, bearing: Bearing | None = None) -> dict[str, float]:
    """The indicators of the first channel."""
    spec = IndicatorSpec.of(checked, shaft_hz, bearing)
    return dict(zip(names(spec), measure(checked, spec)[0].tolist(), strict=True))


def machine(fault: str | None = None, severity: float = 1.0, seed: int = 3) -> dict[str, float]:
    invented = Machine(seed, RATE_HZ, shaft_hz=SHAFT_HZ)
    invented.set_fault(fault, severity)
    invented.samples(RATE_HZ)  # a fault sets in softly
    return read(window(invented.samples(round(LENGTH_S * RATE_HZ)).T), SHAFT_HZ, BEARING)


def test_a_sine_of_1_g_at_50_hz_is_what_it_is_by_hand() -> None:
    by_hand_mm_s = 9.80665 / (2 * math.pi * 50) / math.sqrt(2) * 1000
    assert by_hand_mm_s == pytest.approx(22.07, abs=0.01)
    assert read(window(tone(50))) == pytest.approx(
        {
            "velocity_rms_mm_s": by_hand_mm_s,
            "acceleration_rms_g": 1 / math.sqrt(2),
            "crest": math.sqrt(2),
            "kurtosis": 1.5,
        },
        rel=1e-3,
    )


def test_gaussian_noise_has_kurtosis_3_and_gravity_counts_nowhere() -> None:
    still, tilted = read(window(noise(0.1))), read(window(noise(0.1) + 1.0))
    assert still["kurtosis"] == pytest.approx(3, abs=0.05)
    assert still["acceleration_rms_g"] == pytest.approx(0.1, rel=0.01)
    assert tilted == pytest.approx(still, rel=1e-4)


def test_the_velocities_of_lines_in_the_band_add_in_power_and_what_is_outside_does_not_count() -> None:
    inside = [tone(hz, peak) for hz, peak in ((12.5, 0.05), (49, 0.3), (333.3, 1.0), (990, 2.0))]
    alone = [read(window(x))["velocity_rms_mm_s"] for x in inside]
    together = read(window(sum(inside)))["velocity_rms_mm_s"]
    assert together == pytest.approx(math.sqrt(sum(v * v for v in alone)), rel=2e-3)
    outside = tone(5, 0.02) + tone(2000, 2.0)
    assert read(window(sum(inside) + outside))["velocity_rms_mm_s"] == pytest.approx(together, rel=2e-3)
    assert read(window(outside))["velocity_rms_mm_s"] < 0.01 * together


def test_white_noise_has_the_velocity_that_its_density_gives() -> None:
    density = 1.0 / (RATE_HZ / 2)  # g^2 per Hz of noise of 1 g
    by_hand = GRAVITY_MM_S2 / (2 * math.pi) * math.sqrt(density * (1 / 10 - 1 / 1000))
    assert read(window(noise(1.0, 20)))["velocity_rms_mm_s"] == pytest.approx(by_hand, rel=0.1)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("Pa", {"sound_level_db": 20 * math.log10(1 / 20e-6)}),  # 94 dB, as a calibrator of 1 Pa
        (FULL_SCALE, {"level_dbfs": 0.0}),
        ("V", {"rms_v": 1.0}),
        ("m/s²", {"rms_m_s2": 1.0}),
        ("µm", {"rms_um": 1.0}),
        ("°", {"rms_unit": 1.0}),
    ],
)
def test_the_level_is_told_in_what_is_usual_for_the_unit(unit: str, expected: dict[str, float]) -> None:
    found = read(window(tone(440, math.sqrt(2)), unit))
    assert list(found) == [*expected, "crest", "kurtosis"]
    assert found == pytest.approx({**expected, "crest": math.sqrt(2), "kurtosis": 1.5}, abs=2e-3)


@pytest.mark.parametrize("rate_hz", [1000, 2000, 4000, 8000, 12_000, 16_000, 22_050, 25_600, 26_667, 44_100, 48_000])
@pytest.mark.parametrize("length_s", [0.1, 0.49, 0.5, 1.0, 7.3, 20.0])
def test_every_rate_and_length_has_finite_indicators_under_the_names_it_says(rate_hz: int, length_s: float) -> None:
    checked = window(np.stack([noise(0.1, length_s, rate_hz), tone(50, 1, length_s, rate_hz)]), "g", rate_hz)
    spec = IndicatorSpec.of(checked, SHAFT_HZ, BEARING)
    values = measure(checked, spec)
    assert values.shape == (2, len(names(spec)))
    assert np.isfinite(values).all()
    assert ("velocity_rms_mm_s" in names(spec)) == (length_s >= 0.5)
    assert ("envelope_bpfo_db" in names(spec)) == (length_s >= 0.49 and rate_hz > 1000)
    if "velocity_rms_mm_s" in names(spec):
        by_hand_mm_s = GRAVITY_MM_S2 / (2 * math.pi * 50) / math.sqrt(2)
        assert values[1, 0] == pytest.approx(by_hand_mm_s, rel=0.02)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e15, 1e38])
def test_no_finite_samples_give_what_is_not_finite(scale: float) -> None:
    usual, extreme = (read(window(x * noise(0.1)), SHAFT_HZ, BEARING) for x in (1.0, scale))
    assert all(math.isfinite(value) for value in extreme.values())
    scale_free = ("crest", "kurtosis", *LINES)
    assert {k: extreme[k] for k in scale_free} == pytest.approx({k: usual[k] for k in scale_free}, abs=0.01)
    assert extreme["velocity_rms_mm_s"] == pytest.approx(scale * usual["velocity_rms_mm_s"], rel=0.01)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e38])
def test_a_silent_channel_has_no_crest_and_no_line_and_lies_far_from_every_other_on_the_scale(value: float) -> None:
    silent = read(window(np.full(round(LENGTH_S * RATE_HZ), value)), SHAFT_HZ, BEARING)
    assert set(silent.values()) == {0.0}
    scaled = strangeness_scale([list(silent.values())], tuple(silent))
    assert scaled[0] == pytest.approx([math.log10(FLOOR)] * 4 + [0.0] * 4)
    assert read(window(np.zeros(1000), "Pa"))["sound_level_db"] < -50


def test_the_channels_of_a_point_are_measured_alone() -> None:
    both = window(np.stack([noise(0.1), tone(50)]))
    spec = IndicatorSpec.of(both)
    values = measure(both, spec)
    for channel, samples in enumerate((noise(0.1), tone(50))):
        assert values[channel].tolist() == pytest.approx(list(read(window(samples)).values()))


def test_a_fault_of_a_race_raises_its_own_line_and_not_the_other_one_s() -> None:
    well, outer, inner = machine(), machine("outer_race"), machine("inner_race")
    assert max(well[line] for line in LINES) < 5
    assert outer["envelope_bpfo_db"] > well["envelope_bpfo_db"] + 15
    assert outer["envelope_bpfi_db"] < 5
    assert inner["envelope_bpfi_db"] > well["envelope_bpfi_db"] + 10
    assert inner["envelope_bpfi_db"] > inner["envelope_bpfo_db"] + 8


def test_a_small_fault_is_in_the_lines_before_it_is_in_the_kurtosis() -> None:
    well, small = machine(), machine("outer_race", 0.15)
    assert small["envelope_bpfo_db"] > well["envelope_bpfo_db"] + 6
    assert small["kurtosis"] == pytest.approx(well["kurtosis"], abs=0.2)


def test_a_shaft_that_turns_two_percent_faster_than_told_keeps_its_lines() -> None:
    samples = Machine(3, RATE_HZ, shaft_hz=SHAFT_HZ)
    samples.set_fault("outer_race")
    fault = window(samples.samples(6 * RATE_HZ)[RATE_HZ:].T)
    for told_hz, found in ((SHAFT_HZ / 1.015, True), (SHAFT_HZ * 1.015, True), (SHAFT_HZ * 1.08, False)):
        assert (read(fault, told_hz, BEARING)["envelope_bpfo_db"] > 15) == found


def test_imbalance_raises_the_velocity_and_no_line() -> None:
    well, unbalanced = machine(), machine("imbalance", 0.3)
    by_hand_mm_s = 0.3 * 0.6 * GRAVITY_MM_S2 / (2 * math.pi * SHAFT_HZ) / math.sqrt(2)
    assert unbalanced["velocity_rms_mm_s"] == pytest.approx(well["velocity_rms_mm_s"] + by_hand_mm_s, rel=0.4)
    assert unbalanced["velocity_rms_mm_s"] > 3 * well["velocity_rms_mm_s"]
    assert max(unbalanced[line] for line in LINES) < 5


def test_the_frequencies_of_a_bearing_follow_from_its_geometry() -> None:
    geometry = Bearing.of_geometry(9, 0.3126 * 25.4, 1.537 * 25.4)
    assert geometry.bpfo == pytest.approx(3.5848, abs=2e-4)  # as the data sheet of the 6205 at Case Western has them
    assert geometry.bpfi == pytest.approx(5.4152, abs=2e-4)
    assert 2 * geometry.bsf == pytest.approx(4.7135, abs=2e-4)
    assert geometry.ftf == pytest.approx(0.3983, abs=2e-5)
    steep = Bearing.of_geometry(9, 7.94, 39.04, 40.0)
    assert geometry.bpfo < steep.bpfo < steep.bpfi < geometry.bpfi


def test_twice_as_much_is_as_far_on_the_scale_of_strangeness_in_every_unit() -> None:
    indicators = ("velocity_rms_mm_s", "crest", "kurtosis", "sound_level_db", "level_dbfs", "envelope_bpfo_db")
    twice_db = 20 * math.log10(2)
    usual, twice = [1.0, 4.0, 3.0, 70.0, -30.0, 1.0], [2.0, 8.0, 6.0, 70 + twice_db, -30 + twice_db, 1 + twice_db]
    scaled = strangeness_scale([usual, twice], indicators)
    assert scaled[1] - scaled[0] == pytest.approx([math.log10(2)] * 6)


def test_zones_follow_the_classes_and_a_limit_belongs_to_the_better_one() -> None:
    at_4_mm_s = {"small": "C", "medium": "C", "large_rigid": "B", "large_flexible": "B"}
    assert {name: zone(4.0, name) for name in ZONE_LIMITS_MM_S} == at_4_mm_s
    assert [zone(v, "medium") for v in (0, 1.12, 1.13, 2.8, 2.81, 7.1, 7.11, 1e9)] == list("AABBCCDD")


@pytest.mark.parametrize(
    ("name", "value", "usual", "words"),
    [
        ("velocity_rms_mm_s", 4.214, (1.1, 1.36), "velocity RMS 4.2 mm/s, usual 1.1 to 1.4"),
        ("acceleration_rms_g", 0.0312, (0.01, 0.012), "acceleration RMS 0.031 g, usual 0.01 to 0.012"),
        ("sound_level_db", 101.2, (88.7, 99.6), "sound level 101 dB, usual 89 to 100"),
        ("level_dbfs", -23.4, (-40, -38), "level -23 dBFS, usual -40 to -38"),
        ("crest", 9.87, (4, 5), "crest factor 9.9, usual 4 to 5"),
        ("kurtosis", 3.04, (2.9, 3.1), "kurtosis 3, usual 2.9 to 3.1"),
        ("envelope_bpfo_db", 17.6, (-1.04, 0.00001), "outer race line (BPFO) 18 dB, usual -1 to 0"),
        ("rms_v", 1234.5, (0.5, 0), "RMS 1234 v, usual 0.5 to 0"),
        ("acceleration_rms_g", 0.0000312, (0.00001, 0.00002), "acceleration RMS 0.000031 g, usual 0.00001 to 0.00002"),
    ],
)
def test_an_indicator_is_told_in_words_with_its_unit(
    name: str, value: float, usual: tuple[float, float], words: str
) -> None:
    assert in_words(name, value, usual) == words
