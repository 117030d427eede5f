"""Sound cards opened directly (``hw:``) over real PortAudio: known whatever their number, held by one, pulled out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sensors import SensorFault, SensorUnavailable, list_microphones, microphone, sound_process, soundcards
from sensors.alsa_microphone import AlsaMicrophone
from sensors.machine import Machine
from sensors.microphone import Microphone
from tests.alsa_cards import AlsaCards, both, needs_cc
from tests.sensors.conftest import collect
from tests.sensors.test_soundcards import STREAM, plug

pytestmark = needs_cc

RATE_HZ = 16_000
LOUD, QUIET = 0.3, 0.003
A1, B2 = "usb:0d8c:0014:A1", "usb:0d8c:0014:B2"


class Bench:
    """Two USB microphones, of a loud and of a quiet machine, that can be plugged in as any card."""

    def __init__(self, folder: Path, loud: AlsaMicrophone, quiet: AlsaMicrophone) -> None:
        self.cards = AlsaCards(folder)
        self.root = folder / "root"
        self._of = {"A1": loud, "B2": quiet}
        self.env = {**both(loud, quiet, folder), **self.cards.env}

    def plug(self, number: int, serial: str) -> None:
        path = f"1-{number}"
        card = plug(self.root, number, serial, path)
        (card / "stream0").write_text(STREAM.format(one="S24_3LE", bits=""))
        self.cards.plug(number, f"USB Sound {serial}", self._of[serial])

    def pull(self, number: int) -> None:
        self.cards.pull(number)
        shutil.rmtree(self.root / f"proc/asound/card{number}")
        shutil.rmtree(self.root / f"sys/class/sound/card{number}")
        shutil.rmtree(self.root / f"sys/devices/usb1/1-{number}")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    loud, quiet = (
        AlsaMicrophone(Machine(1, RATE_HZ, 1, level=level), device=name)
        for name, level in (("loud", LOUD), ("quiet", QUIET))
    )
    with loud, quiet:
        bench = Bench(tmp_path, loud, quiet)
        for name, value in bench.env.items():
            monkeypatch.setenv(name, value)
        for name in ("card_of", "stable_name", "product_names", "native_format"):
            monkeypatch.setattr(microphone, name, partial(getattr(soundcards, name), root=bench.root))
        monkeypatch.setattr(sound_process, "explain", partial(sound_process.explain, root=bench.root))
        yield bench


def level_of(device: str) -> tuple[float, str]:
    """Record a little; return how loud it was and who it said it is."""
    driver = Microphone("mic", device=device, rate_hz=RATE_HZ)
    info = driver.open()
    heard = collect(driver, RATE_HZ // 2)
    driver.close()
    return float(heard.std()), info.identity


def test_two_microphones_that_swap_their_numbers_are_never_mistaken_for_each_other(bench: Bench) -> None:
    for loud_number, quiet_number in ((1, 2), (2, 1), (5, 3)):
        bench.plug(loud_number, "A1")
        bench.plug(quiet_number, "B2")
        level, identity = level_of(A1)
        assert (level > 0.01, identity) == (True, A1)
        level, identity = level_of(B2)
        assert (level < 0.001, identity) == (True, B2)
        bench.pull(loud_number)
        bench.pull(quiet_number)


def test_a_card_tells_its_depth_and_its_full_scale(bench: Bench) -> None:
    bench.plug(1, "A1")
    driver = Microphone("mic", device=A1, rate_hz=RATE_HZ)
    info = driver.open()
    driver.close()
    assert (info.full_scale, info.lsb) == ((1.0,), (2.0**-23,))


def test_a_card_that_is_pulled_out_is_a_fault_at_once_and_is_found_as_another_number(bench: Bench) -> None:
    bench.plug(1, "A1")
    driver = Microphone("mic", device=A1, rate_hz=RATE_HZ)
    driver.open()
    collect(driver, RATE_HZ // 5)
    bench.pull(1)
    start = time.monotonic()
    with pytest.raises(SensorFault, match="No such device"):
        collect(driver, 10 * RATE_HZ)
    assert time.monotonic() - start < 2
    driver.close()
    with pytest.raises(SensorUnavailable, match=f"no USB sound card {A1}; plugged in: none"):
        driver.open()
    bench.plug(4, "A1")
    assert driver.open().identity == A1
    collect(driver, RATE_HZ // 5)
    driver.close()


def test_a_card_that_somebody_else_holds_is_refused_with_the_name_of_the_holder(bench: Bench) -> None:
    bench.plug(1, "A1")
    bench.cards.occupy(1)
    (bench.root / "proc/asound/card1/pcm0c/sub0/status").write_text("state: RUNNING\nowner_pid   : 812\n")
    (bench.root / "proc/812").mkdir()
    (bench.root / "proc/812/comm").write_text("arecord\n")
    with pytest.raises(SensorUnavailable, match=rf"{A1} is in use by arecord \(pid 812\): stop it"):
        Microphone("mic", device=A1, rate_hz=RATE_HZ).open()
    bench.cards.occupy(1, busy=False)
    (bench.root / "proc/asound/card1/pcm0c/sub0/status").write_text("closed\n")
    assert level_of(A1)[1] == A1


def test_a_card_plugged_in_later_is_in_the_list(bench: Bench) -> None:
    bench.plug(1, "A1")
    before = {found.description for found in list_microphones()}
    bench.plug(3, "B2")
    after = {found.description for found in list_microphones()}
    assert {text.partition(":")[0] for text in after - before} == {"USB Sound B2"}
