"""The microphone driver over real PortAudio: PulseAudio and ALSA without hardware."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensors import SensorFault, SensorUnavailable, SourceInfo, list_microphones
from sensors.alsa_microphone import AlsaMicrophone
from sensors.machine import Machine
from sensors.microphone import Microphone
from sensors.portaudio_child import AFTER_OVERRUN, HEADER, SAMPLES, SETTINGS, Refused, choose
from sensors.pulse_microphone import PulseMicrophone
from tests.sensors.conftest import collect
from tests.sensors.test_digiducer import NAME as DIGIDUCER

RATE_HZ = 48_000


class Counting(Machine):
    """Samples that carry their own number, modulo 2**15."""

    def samples(self, frames: int) -> np.ndarray:
        start, self._count = getattr(self, "_count", 0), getattr(self, "_count", 0) + frames
        return np.repeat(
            ((np.arange(start, start + frames) % 2**15) / 2**15).astype(np.float32)[:, None], self.channels, 1
        )


@pytest.fixture
def alsa(monkeypatch: pytest.MonkeyPatch) -> Iterator[AlsaMicrophone]:
    with AlsaMicrophone(Counting(0, RATE_HZ, 2), device="counting") as device:
        for name, value in device.env.items():
            monkeypatch.setenv(name, value)
        yield device


@pytest.fixture
def driver(alsa: AlsaMicrophone) -> Iterator[Microphone]:
    driver = Microphone("mic", device=alsa.device, rate_hz=RATE_HZ, channels=2)
    driver.open()
    yield driver
    driver.close()


def child_of(driver: Microphone) -> int:
    assert driver._child is not None
    return driver._child.pid


def test_a_tone_played_into_pulseaudio_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8 * RATE_HZ) / RATE_HZ)
    with PulseMicrophone(RATE_HZ) as pulse:
        for name, value in pulse.env.items():
            monkeypatch.setenv(name, value)
        driver = Microphone("mic", device="default", rate_hz=RATE_HZ)
        info = driver.open()
        pulse.play(tone.astype(np.float32))
        heard = collect(driver, 4 * RATE_HZ)[-2 * RATE_HZ :, 0]
        driver.close()
    assert (info.rate_hz, info.identity) == (RATE_HZ, "default")
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert np.argmax(spectrum) * RATE_HZ / len(heard) == pytest.approx(1000, abs=0.6)
    # a lost sample would break the recurrence of a sine: x[n+1] + x[n-1] = 2 cos(w) x[n]
    turn = 2 * np.cos(2 * np.pi * 1000 / RATE_HZ)
    assert np.abs(heard[2:] + heard[:-2] - turn * heard[1:-1]).max() < 1e-3
    assert heard.max() == pytest.approx(0.5, rel=0.01)


def test_a_sound_server_that_dies_is_a_fault_within_four_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with PulseMicrophone(RATE_HZ) as pulse:
        for name, value in pulse.env.items():
            monkeypatch.setenv(name, value)
        driver = Microphone("mic", rate_hz=RATE_HZ)
        driver.open()
        collect(driver, RATE_HZ // 2)
    start = time.monotonic()
    with pytest.raises(SensorFault):
        collect(driver, RATE_HZ * 10)
    assert time.monotonic() - start < 4
    driver.close()


def test_every_sample_arrives_once_and_in_order(driver: Microphone) -> None:
    got = np.rint(collect(driver, 3 * RATE_HZ) * 2**15).astype(int)
    assert np.array_equal(got[:, 0], got[:, 1])
    assert set(np.diff(got[:, 0]) % 2**15) == {1}


class ToldChild:
    """Stands where the child process stands and says what it was told: one frame in each answer."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames

    def receive(self, timeout_s: float) -> bytes | None:
        return self._frames.pop(0) if self._frames else None if timeout_s else b""

    def stop(self) -> None:
        self._frames.clear()


def told(blocks: list[tuple[int, float, bool]], name: str = "told", **options: Any) -> Microphone:
    """Return a driver that is open on a device of some name and was sent blocks: number, value, overrun reported."""
    driver = Microphone("mic", **options)
    channels = options.get("channels", 1)
    frames = [
        HEADER.pack(1_000_000_000 + number * 100_000_000, 4800, AFTER_OVERRUN if overflowed else SAMPLES)
        + np.full((4800, channels), value, dtype="<f4").tobytes()
        for number, value, overflowed in blocks
    ]
    opened = {"name": name, "rate_hz": RATE_HZ, "block_frames": 4800, "settings": {"Mic Capture Volume": "12.0 dB"}}
    driver.info = driver._begin(ToldChild(frames), opened, b"")  # type: ignore[arg-type,attr-defined]
    return driver


def moved(volume: str) -> bytes:
    """Return the frame that says where the volume is now."""
    data = json.dumps({"Mic Capture Volume": volume}).encode()
    return HEADER.pack(0, len(data), SETTINGS) + data


def test_the_block_before_an_overrun_report_never_leaves_the_driver() -> None:
    driver = told([(0, 0.0, False), (1, 0.1, False), (2, 0.2, True), (3, 0.3, False), (4, 0.4, False)])
    blocks = [block for block in (driver.read() for _ in range(4)) if block is not None]
    assert [(round(float(b.samples[0, 0]), 1), b.after_gap) for b in blocks] == [
        (0.0, False),
        (0.2, True),
        (0.3, False),
    ]
    assert driver.counters == {"overflows": 1, "gaps": 1, "lost_frames": 4800}
    driver.close()


class OverrunChild:
    """Reports an overrun with every block, at the pace of the device."""

    def receive(self, timeout_s: float) -> bytes | None:
        time.sleep(min(timeout_s, 0.1))
        samples = np.zeros((4800, 1), dtype="<f4").tobytes()
        return HEADER.pack(time.monotonic_ns(), 4800, AFTER_OVERRUN) + samples

    def stop(self) -> None:
        pass


def test_overruns_without_end_hold_nobody_up_and_are_a_fault_after_five_seconds() -> None:
    driver = Microphone("mic")
    driver._begin(OverrunChild(), {"name": "n", "rate_hz": RATE_HZ, "block_frames": 4800, "settings": {}}, b"")  # type: ignore[arg-type]
    start = time.monotonic()
    assert driver.read() is None
    assert time.monotonic() - start < 1
    with pytest.raises(SensorFault, match="an overrun in every block for 5 s"):
        collect(driver, 1)
    driver.close()


def test_a_reader_that_was_held_up_takes_what_waited_for_it_and_calls_nobody_stalled() -> None:
    driver = told([(i, 0.0, False) for i in range(4)])
    driver._heard_s -= 10
    driver._whole_s -= 10
    blocks = [driver.read() for _ in range(3)]
    assert [block is not None and not block.after_gap for block in blocks] == [True, True, True]
    driver.close()


def test_a_device_that_runs_away_from_its_own_rate_is_a_fault() -> None:
    driver = told([(i, 0.0, False) for i in range(101)])
    with pytest.raises(SensorFault, match="delivers 10 s of samples in 0"):
        collect(driver, 101 * 4800)
    driver.close()


def test_samples_that_are_not_numbers_are_a_fault() -> None:
    driver = told([(0, float("nan"), False)])
    with pytest.raises(SensorFault, match="not numbers"):
        driver.read()
    driver.close()


def described(driver: Microphone) -> SourceInfo:
    info = driver.info  # type: ignore[attr-defined]
    assert isinstance(info, SourceInfo)
    return info


def test_a_device_without_a_known_scale_says_so_and_claims_no_limits() -> None:
    info = described(told([]))
    assert (info.unit, info.calibration, info.full_scale, info.lsb) == ("full scale", "none", (), ())
    assert info.settings == {"Mic Capture Volume": "12.0 dB"}


def test_a_sound_card_s_limit_is_its_full_scale() -> None:
    assert described(told([], "HDA: Analog (hw:31,0)")).full_scale == (1.0,)


def test_a_sensitivity_makes_pascal_of_full_scale() -> None:
    driver = told([(0, 0.5, False), (1, 0.5, False)], sensitivity_dbfs=-20.0)
    assert (described(driver).unit, described(driver).calibration) == ("Pa", "configuration")
    (block,) = [block for block in (driver.read() for _ in range(2)) if block is not None]
    assert block.samples[0, 0] == 5.0


def test_a_digiducer_delivers_g_on_both_channels_and_is_known_by_its_serial() -> None:
    driver = told([(0, 1.0, False), (1, 1.0, False)], f"{DIGIDUCER}: USB Audio (hw:31,0)", channels=2)
    info = described(driver)
    assert (info.unit, info.identity, info.calibration) == ("g", "digiducer:012345", "device name")
    block = driver.read()
    assert block is not None
    assert tuple(block.samples[0]) == pytest.approx(info.full_scale)
    assert info.full_scale == pytest.approx((23.32, 11.89), abs=0.01)


def test_a_calibration_file_is_named_and_filters_what_comes(tmp_path: Path) -> None:
    (tmp_path / "umik.txt").write_text("20 6.0206\n20000 6.0206\n")
    blocks = [(number, 0.5, False) for number in range(6)]
    driver = told(blocks, calibration={"file": tmp_path / "umik.txt", "sign": "response"})
    assert described(driver).calibration == "file umik.txt"
    first, second = driver.read(), driver.read()
    assert first is not None
    assert second is not None
    assert np.allclose(first.samples, 0.25, atol=1e-3)
    assert (first.index, second.index, first.after_gap) == (4800, 9600, False)
    assert second.time_ns - first.time_ns == pytest.approx(1e8, abs=1e5)


def test_a_calibration_that_has_become_unreadable_is_unavailable(alsa: AlsaMicrophone, tmp_path: Path) -> None:
    calibration = {"file": tmp_path / "gone.txt", "sign": "response"}
    driver = Microphone("mic", device=alsa.device, rate_hz=RATE_HZ, channels=2, calibration=calibration)
    with pytest.raises(SensorUnavailable, match=r"gone\.txt: No such file"):
        driver.open()


def test_a_card_that_gets_another_number_while_it_is_opened_is_not_used(
    alsa: AlsaMicrophone, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Microphone("mic", device=alsa.device, rate_hz=RATE_HZ, channels=2)
    monkeypatch.setattr(driver, "_card", iter([None, 3]).__next__)
    with pytest.raises(SensorUnavailable, match="plugged in anew while it was opened"):
        driver.open()


def test_the_settings_are_the_newest_that_the_child_told() -> None:
    driver = told([])
    assert driver.settings() == {"Mic Capture Volume": "12.0 dB"}
    driver._received += moved("0.0 dB") + moved("6.0 dB")
    assert driver.read() is None
    assert driver.settings() == {"Mic Capture Volume": "6.0 dB"}


def test_a_mixer_that_moves_does_not_hide_a_stalled_device(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = told([])
    answers = cycle([moved("0.0 dB"), None, None, None, None])  # every 2 s, as the child does
    monkeypatch.setattr(driver._child, "receive", lambda _: time.sleep(0.5) or next(answers))
    start = time.monotonic()
    with pytest.raises(SensorFault, match="stalled"):
        collect(driver, 1)
    assert time.monotonic() - start < 3.2


def test_a_killed_child_is_a_fault_that_says_so(driver: Microphone) -> None:
    driver.read()
    os.kill(child_of(driver), signal.SIGKILL)
    with pytest.raises(SensorFault, match=r"ended: .*signal 9"):
        collect(driver, RATE_HZ * 5)


def test_a_device_that_hangs_is_a_fault_within_three_seconds_and_closes_at_once(
    driver: Microphone, alsa: AlsaMicrophone
) -> None:
    driver.read()
    alsa.stalled.set()
    start = time.monotonic()
    with pytest.raises(SensorFault, match="stalled"):
        collect(driver, RATE_HZ * 10)
    assert 1.9 < time.monotonic() - start < 3.5
    start = time.monotonic()
    driver.close()
    assert time.monotonic() - start < 1.5


def test_a_stopped_child_is_a_fault_and_is_gone_after_closing(driver: Microphone) -> None:
    driver.read()
    pid = child_of(driver)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SensorFault, match="stalled"):
        collect(driver, RATE_HZ * 10)
    start = time.monotonic()
    driver.close()
    assert time.monotonic() - start < 1.5
    assert not Path(f"/proc/{pid}").exists()


def test_the_child_ends_when_its_parent_dies(alsa: AlsaMicrophone, tmp_path: Path) -> None:
    assert alsa.env["ALSA_CONFIG_PATH"]
    note = tmp_path / "pid"
    if (parent := os.posix_spawn(_python(), _parent_that_dies(note), os.environ)) > 0:
        os.waitpid(parent, 0)
    child = Path(f"/proc/{note.read_text()}/stat")
    deadline = time.monotonic() + 3
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def _python() -> str:
    import sys  # noqa: PLC0415

    return sys.executable


def _parent_that_dies(note: Path) -> list[str]:
    program = (
        "import os, pathlib\n"
        "from sensors.microphone import Microphone\n"
        f"m = Microphone('mic', device='counting', rate_hz={RATE_HZ}, channels=2)\n"
        "m.open(); m.read()\n"
        f"pathlib.Path({str(note)!r}).write_text(str(m._child.pid))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    return [_python(), "-c", program]


def test_an_unknown_microphone_lists_what_there_is(alsa: AlsaMicrophone) -> None:
    with pytest.raises(SensorUnavailable, match=f"no microphone is called 'other'; there is: '{alsa.device}'"):
        Microphone("mic", device="other").open()


def test_a_machine_without_microphones_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "asound.conf").write_text("pcm.gone { type hw card 99 }\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    with pytest.raises(SensorUnavailable, match="no microphone"):
        Microphone("mic").open()


def test_a_rate_the_device_lacks_lists_the_rates_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "asound.conf"
    config.write_text("pcm.picky { type hw card 99 }\npcm.wide { type null }\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
    with pytest.raises(SensorUnavailable, match=r"does not record at 7 Hz; it offers: .*44100, 48000"):
        Microphone("mic", device="wide", rate_hz=7).open()


def test_the_microphones_found_come_with_the_line_that_configures_them(alsa: AlsaMicrophone) -> None:
    (found,) = [found for found in list_microphones() if found.id == alsa.device]
    assert 48_000 in found.rates_hz
    assert found.problem == ""
    assert found.config_lines == ['  mic1: {kind: microphone, device: "counting", rate_hz: 44100}']


def test_a_name_that_fits_two_devices_is_refused() -> None:
    names = ["USB Audio: - (hw:1,0)", "USB Audio #1: - (hw:2,0)", "pulse"]
    assert choose(names, "PULSE") == 2
    assert choose(names, names[0]) == 0
    with pytest.raises(Refused, match="fits 2 microphones"):
        choose(names, "usb")
    with pytest.raises(Refused, match="fits 2 microphones"):
        choose(["USB Audio", "USB Audio"], "USB Audio")


def last_sample_s(driver: Microphone) -> float:
    """Read until the driver reports a stall; return when its last block had come."""
    heard_s = time.monotonic()

    def read_on() -> None:
        nonlocal heard_s
        while True:
            if driver.read() is not None:
                heard_s = time.monotonic()

    with pytest.raises(SensorFault, match="stalled"):
        read_on()
    return heard_s


def test_three_stalls_running_are_each_told_within_three_seconds_and_overcome_within_ten(
    driver: Microphone, alsa: AlsaMicrophone
) -> None:
    for _ in range(3):
        assert driver.read() is not None
        alsa.stalled.set()
        heard_s = last_sample_s(driver)
        told_s = time.monotonic() - heard_s
        alsa.stalled.clear()
        start = time.monotonic()
        driver.open()
        collect(driver, RATE_HZ // 2)
        assert told_s < 3.2  # 3 s, and what a busy machine adds
        assert time.monotonic() - start < 10
