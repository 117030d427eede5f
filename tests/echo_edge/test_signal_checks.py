"""What the checks of a signal find, and that they leave healthy machines alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from echo_edge.records import Limits, Window
from echo_edge.signal_checks import check_signal
from sensors import FAULTS, Machine

RATE_HZ = 16_000
FULL_SCALE = 2.0
LSB = 2.0**-14
SECONDS = 2

Array = NDArray[np.float32]


def noise(level: float = 0.1, seed: int = 0) -> Array:
    return (level * np.random.default_rng(seed).standard_normal(SECONDS * RATE_HZ)).astype(np.float32)


def window(samples: Array, unit: str = "Pa", **limits: object) -> Window:
    known = {"full_scale": (FULL_SCALE,) * 3, "lsb": (LSB,) * 3, **limits}
    return Window("m/p", np.atleast_2d(samples), RATE_HZ, 0, unit, Limits(**known))  # type: ignore[arg-type]


def unknown(samples: Array, unit: str = "Pa") -> Window:
    return window(samples, unit, full_scale=(), lsb=())


def found(checked: Window) -> list[tuple[str, bool]]:
    return [(finding.check, finding.bad) for finding in check_signal(checked)]


def part(start_s: float, length_s: float) -> slice:
    return slice(round(start_s * RATE_HZ), round((start_s + length_s) * RATE_HZ))


def with_part(samples: Array, start_s: float, length_s: float, value: float) -> Array:
    samples[part(start_s, length_s)] = value
    return samples


def test_noise_is_fine() -> None:
    assert found(window(noise())) == found(unknown(noise())) == []


@pytest.mark.parametrize("make", [window, unknown])
def test_zeros_for_a_fifth_of_a_second_are_silence(make: Callable[..., Window]) -> None:
    assert found(make(with_part(noise(), 0.5, 0.19, 0))) == []
    assert found(make(with_part(noise(), 0.5, 0.21, 0))) == [("silence", True)]
    assert found(make(np.zeros(1600, dtype=np.float32))) == [("silence", True)]


def test_no_more_than_the_converters_own_noise_is_silence() -> None:
    hissing = np.rint(0.8 * np.random.default_rng(0).standard_normal(SECONDS * RATE_HZ)) * LSB
    assert found(window(hissing.astype(np.float32))) == [("silence", True)]


@pytest.mark.parametrize("make", [window, unknown])
def test_one_value_for_a_tenth_of_a_second_is_stuck(make: Callable[..., Window]) -> None:
    assert found(make(with_part(noise(), 0.5, 0.09, 0.05))) == []
    assert found(make(with_part(noise(), 0.5, 0.11, 0.05))) == [("stuck", True)]
    assert found(make(with_part(noise(), 1.5, 0.5, 0.05))) == [("stuck", True)]


def test_a_signal_of_a_few_values_is_stuck() -> None:
    steps = np.random.default_rng(0).integers(0, 4, SECONDS * RATE_HZ) * 0.2
    assert found(unknown(steps.astype(np.float32))) == [("stuck", True)]


def test_the_positive_limit_of_a_converter_with_any_scale_is_full_scale() -> None:
    for counts in range(30_000, 80_000, 997):  # sensitivities of a Digiducer
        full_scale = 2**23 / 9.80665 / counts
        codes = np.clip(np.rint(noise(3.0) * 2**22), -(2**23), 2**23 - 1)
        samples = (codes / 2**23).astype(np.float32) * np.float32(full_scale)
        clipped = Window("m/p", samples[None], RATE_HZ, 0, "g", Limits((full_scale,), (full_scale / 2**23,)))
        assert ("clipping", True) in found(clipped)


@pytest.mark.parametrize("make", [window, unknown])
def test_a_sine_that_is_cut_off_is_clipping_and_bad_when_much_is_gone(make: Callable[..., Window]) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(SECONDS * RATE_HZ) / RATE_HZ)
    whole = (FULL_SCALE * 0.49 * tone).astype(np.float32)
    assert found(make(whole)) == []
    cut = np.clip(FULL_SCALE * 1.5 * tone, -FULL_SCALE, FULL_SCALE).astype(np.float32)
    assert ("clipping", True) in found(make(cut))
    rare = noise(0.1)
    rare[part(0.5, 0.0005)] = FULL_SCALE  # eight samples of 32,000
    assert found(make(rare)) == [("clipping", False)]


def test_a_slow_tone_in_coarse_steps_stays_on_its_crest_and_is_not_clipping() -> None:
    t = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    for amplitude in (150, 1000, 20_000):
        tone = np.rint(amplitude * np.sin(2 * np.pi * 20 * t)) * LSB
        assert found(unknown(tone.astype(np.float32), "g")) == []


def test_one_sample_at_the_limit_is_not_clipping() -> None:
    impact = noise(0.1)
    impact[777] = FULL_SCALE
    assert found(window(impact)) == []


def test_a_mean_of_more_than_a_fifth_of_the_range_is_told() -> None:
    assert found(window(noise() + np.float32(0.19 * FULL_SCALE))) == []
    assert found(window(noise() + np.float32(0.21 * FULL_SCALE))) == [("dc", False)]
    assert found(window(noise() + np.float32(1.0), unit="g")) == []  # one axis may feel all of gravity


def test_three_axes_must_feel_one_g() -> None:
    def axes(x: float, y: float, z: float) -> Window:
        still = [noise(0.01, seed) + np.float32(mean) for seed, mean in enumerate((x, y, z))]
        return window(np.stack(still), "g", gravity=True)

    assert found(axes(0.5, 0.5, 0.7)) == found(axes(0, 0, -1.1)) == []
    assert found(axes(0, 0, 0.5)) == found(axes(0.9, 0.9, 0.9)) == [("gravity", False)]


@pytest.mark.parametrize(
    ("unit", "level", "expected"),
    [("g", 300.0, "level"), ("g", 1e-6, "level"), ("Pa", 300.0, "level"), ("full scale", 0.9, "level")],
)
def test_a_level_that_no_machine_has_is_told(unit: str, level: float, expected: str) -> None:
    assert found(unknown(noise(level), unit)) == [(expected, False)]


@pytest.mark.parametrize("mains_hz", [50, 60])
def test_lines_of_the_mains_that_carry_much_of_the_sound_are_hum(mains_hz: int) -> None:
    t = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    hum = sum(np.sin(2 * np.pi * mains_hz * k * t) / k for k in (1, 2, 3, 5, 7))
    assert found(unknown((noise(0.02) + 0.1 * hum).astype(np.float32))) == [("mains_hum", False)]
    assert found(unknown((noise(0.02) + 0.1 * hum).astype(np.float32), "g")) == []  # a motor does shake at 50 Hz
    assert found(unknown((noise(0.2) + 0.05 * hum).astype(np.float32))) == []


def test_the_worst_finding_comes_first_and_the_channel_is_named() -> None:
    three = np.stack([noise(), noise(0.1, 1) + np.float32(0.5), with_part(noise(), 0, 1, 0.3)])
    findings = check_signal(window(three))
    assert [finding.check for finding in findings] == ["stuck", "dc"]
    assert findings[0].text.startswith("channel 2: ")
    assert all(finding.advice for finding in findings)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_told_and_nothing_else(bad: float) -> None:
    broken = noise()
    broken[5] = bad
    assert found(window(broken)) == [("not_finite", True)]


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_machine_is_never_mistaken_for_a_broken_sensor(fault: str | None) -> None:
    machine = Machine(3, RATE_HZ, 1, unit="g")
    machine.set_fault(fault)
    samples = np.rint(machine.samples(120 * RATE_HZ)[:, 0] / LSB) * LSB
    windows = [window(w.astype(np.float32), "g", full_scale=(16.0,)) for w in np.split(samples, 60)]
    assert {check for w in windows for check in found(w)} == set()
    as_sound = [replace(w, unit="full scale", limits=Limits()) for w in windows]
    assert {check for w in as_sound for check in found(w)} == set()
