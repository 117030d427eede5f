"""Speech near a microphone is noticed beside a machine, and a machine alone is not taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echo_edge.records import Window
from echo_edge.speech import SpeechWatch, speech_score
from sensors import FAULTS, FULL_SCALE, Machine
from tests.shared_data import SHARED
from tests.talker import talk
from tests.torture.enrollment_checks import alone, cut, motor_takes, pieces, real_voice, talked_over

RATE_HZ = 16_000
Array = NDArray[np.float32]


def window(samples: Array, rate_hz: int = RATE_HZ, unit: str = "Pa", start_s: float = 0.0) -> Window:
    return Window("m/p", np.atleast_2d(samples).astype(np.float32), rate_hz, round(start_s * 1e9), unit)


def pump(seconds: float, rate_hz: int = RATE_HZ, seed: int = 0) -> Array:
    return Machine(seed, rate_hz, 1, "Pa").samples(round(seconds * rate_hz))[:, 0]


def beside(machine: Array, voice: Array, db: float) -> Array:
    return np.asarray(machine + voice * np.float32(np.std(machine) * 10 ** (db / 20)))


def saw(seconds: float, seed: int = 0) -> Array:
    """A tool whose pitch and strength follow what it cuts: the machine that is most like a voice."""
    random = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    load = np.interp(np.arange(n), np.arange(0, n + 2000, 2000), random.uniform(0, 1, n // 2000 + 1))
    turns = 2 * np.pi * np.cumsum(110 + 60 * load) / RATE_HZ
    tones = sum(np.sin(k * turns) / k for k in range(1, 12))
    return np.asarray((0.2 + load) * tones + 0.3 * random.standard_normal(n), np.float32)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 44_100, 48_000])
def test_a_voice_as_loud_as_the_machine_is_found_at_every_rate_of_a_microphone(rate_hz: int) -> None:
    machine = pump(5, rate_hz)
    assert speech_score(window(machine, rate_hz)) == 0
    for seed, pitch_hz in enumerate((100, 210)):
        voice = talk(5, rate_hz, seed, pitch_hz)
        assert speech_score(window(beside(machine, voice, 0), rate_hz)) > 0.95


@pytest.mark.parametrize("unit", ["Pa", FULL_SCALE])
@pytest.mark.parametrize("level", [1e-6, 1.0, 1e6])
def test_the_level_of_the_microphone_does_not_matter(unit: str, level: float) -> None:
    loud = beside(pump(5), talk(5, RATE_HZ), 0)
    assert speech_score(window(loud * np.float32(level), unit=unit)) == pytest.approx(
        speech_score(window(loud)), abs=0.01
    )


def test_an_accelerometer_hears_nobody() -> None:
    assert speech_score(window(talk(5, RATE_HZ), unit="g")) == 0


def test_silence_and_one_click_are_no_speech() -> None:
    click = np.zeros(5 * RATE_HZ, np.float32)
    assert speech_score(window(click)) == 0
    click[RATE_HZ] = 1
    assert speech_score(window(click)) < 0.5


def test_any_channel_may_hear_it() -> None:
    machine = pump(5)
    both = np.stack((machine, beside(machine, talk(5, RATE_HZ), 6)))
    assert speech_score(window(both)) > 0.95


def test_a_single_sentence_in_a_long_window_is_enough() -> None:
    samples = pump(20)
    part = slice(10 * RATE_HZ, 12 * RATE_HZ)
    samples[part] = beside(samples[part], talk(2, RATE_HZ), 3)
    assert speech_score(window(samples)) > 0.9


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_pump_alone_is_never_speech(fault: str | None) -> None:
    machine = Machine(5, RATE_HZ, 1, "Pa")
    machine.set_fault(fault)
    watch = SpeechWatch()
    for start_s in range(0, 60, 5):
        heard = window(machine.samples(5 * RATE_HZ)[:, 0], start_s=start_s)
        assert watch.check(heard) is None


def test_talking_while_a_machine_is_learned_marks_those_windows_and_no_other() -> None:
    machine = pump(60)
    machine[20 * RATE_HZ : 35 * RATE_HZ] += talk(15, RATE_HZ) * np.float32(np.std(machine))
    watch, marked = SpeechWatch(), []
    for start_s in range(0, 60, 5):
        finding = watch.check(window(machine[start_s * RATE_HZ : (start_s + 5) * RATE_HZ], start_s=start_s))
        if finding is not None:
            assert (finding.check, finding.bad) == ("speech", True)
            assert "% sure" in finding.text
            marked.append(start_s)
    assert marked == [20, 25, 30]


def test_who_talks_all_the_time_is_not_taken_for_the_machine() -> None:
    noisy = beside(pump(120), talk(120, RATE_HZ), 6)
    watch = SpeechWatch()
    found = [watch.check(window(part, start_s=5 * i)) is not None for i, part in enumerate(np.split(noisy, 24))]
    assert all(found)


def test_windows_of_half_a_second_are_heard_with_what_came_before() -> None:
    def found(gap_s: float) -> int:
        watch, count = SpeechWatch(), 0
        for i, part in enumerate(np.split(samples, 40)):
            count += watch.check(window(part, start_s=i * (0.5 + gap_s))) is not None
        return count

    samples = beside(pump(20, seed=3), talk(20, RATE_HZ, 3), 3)
    assert found(0) > found(0.1)
    assert found(0) >= 32


def test_a_saw_that_sounds_much_like_a_voice_is_learned_and_a_voice_beside_it_is_still_found() -> None:
    watch, cutting = SpeechWatch(), saw(120)
    alone = [watch.check(window(part, start_s=5 * i)) for i, part in enumerate(np.split(cutting, 24))]
    assert sum(finding is not None for finding in alone) <= 2
    talked_over = [watch.check(window(beside(saw(5, 99), talk(5, RATE_HZ, seed), 6), start_s=200)) for seed in range(5)]
    assert all(finding is not None for finding in talked_over)


@pytest.mark.skipif(not (SHARED / "data" / "audio").is_dir(), reason="needs ../shared/data")
def test_real_voices_beside_a_real_motor_are_found_and_the_motor_alone_is_not_taken_for_one() -> None:
    takes = motor_takes(SHARED / "data")[::4]
    assert alone([(cut(samples, rate_hz, 2), rate_hz) for samples, rate_hz in takes])[0] == 0
    found = tries = 0
    for samples, rate_hz in takes:
        voice = pieces(real_voice(SHARED / "data", rate_hz), 5 * rate_hz)
        now, of = talked_over(samples, rate_hz, voice, 3, 5, 0)
        found, tries = found + now, tries + of
    assert found >= 0.95 * tries > 5
