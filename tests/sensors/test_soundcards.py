"""Sound cards by their identity, on trees made up like /proc, /sys and /dev."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sensors import SensorUnavailable
from sensors.soundcards import (
    capture_cards,
    card_of,
    holder,
    native_format,
    permission_problem,
    product_names,
    stable_name,
    usb_names,
)

STREAM = """\
miniDSP UMIK-1 at usb-0000:00:14.0-2, full speed : USB Audio

Playback:
  Interface 2
    Altset 1
    Format: S32_LE
    Rates: 192000
Capture:
  Status: Stop
  Interface 1
    Altset 1
    Format: {one}
    Channels: 2
    Endpoint: 0x81 (1 IN) (ASYNC)
    Rates: 44100, 48000
{bits}  Interface 1
    Altset 2
    Format: S16_LE
    Rates: 8000 - 16000 (continuous)
"""


def plug(root: Path, number: int, serial: str = "", path: str = "1-2", usb: str = "0D8C:0014") -> Path:
    """Plug a USB card into a made-up machine; return its folder below /proc/asound."""
    card = root / f"proc/asound/card{number}"
    (card / "pcm0c/sub0").mkdir(parents=True)
    (card / "usbid").write_text(usb + "\n")
    (card / "id").write_text(f"Device{number}\n")
    device = root / f"sys/devices/usb1/{path}"
    (device / f"{path}:1.0").mkdir(parents=True)
    (device / "product").write_text("USB Sound\n")
    if serial:
        (device / "serial").write_text(serial + "\n")
    (root / f"sys/class/sound/card{number}").mkdir(parents=True)
    (root / f"sys/class/sound/card{number}/device").symlink_to(device / f"{path}:1.0")
    return card


def test_usb_sound_cards_are_found_by_their_identity_whatever_their_number(tmp_path: Path) -> None:
    plug(tmp_path, 1, "A1", "1-1")
    plug(tmp_path, 3, "B2", "1-2")
    assert card_of("usb:0d8c:0014:B2", "mic", tmp_path) == 3
    assert card_of("USB:0D8C:0014:b2", "mic", tmp_path) == 3
    assert card_of("usb:0d8c:0014@1-1", "mic", tmp_path) == 1
    assert stable_name("USB Audio: - (hw:1,0)", tmp_path) == "usb:0d8c:0014:A1"
    assert stable_name("HDA: Analog (hw:0,0)", tmp_path) == "HDA: Analog"
    assert stable_name("pulse", tmp_path) == "pulse"


def test_an_ambiguous_name_is_refused_with_the_names_that_are_not(tmp_path: Path) -> None:
    plug(tmp_path, 1, "A1", "1-1")
    plug(tmp_path, 3, "B2", "1-2")
    with pytest.raises(
        SensorUnavailable, match=r"fits 2 sound cards; name one of: usb:0d8c:0014:A1, usb:0d8c:0014:B2$"
    ):
        card_of("usb:0d8c:0014", "mic", tmp_path)
    with pytest.raises(SensorUnavailable, match=r"no USB sound card usb:0d8c:0014:A; plugged in: usb:0d8c:0014:A1, "):
        card_of("usb:0d8c:0014:A", "mic", tmp_path)


def test_cards_that_share_a_serial_are_told_apart_by_their_port(tmp_path: Path) -> None:
    plug(tmp_path, 1, "000", "1-2.3")
    plug(tmp_path, 2, "000", "1-2.4")
    assert usb_names(tmp_path) == {1: "usb:0d8c:0014:000@1-2.3", 2: "usb:0d8c:0014:000@1-2.4"}
    assert card_of("usb:0d8c:0014:000@1-2.4", "mic", tmp_path) == 2
    with pytest.raises(SensorUnavailable, match="fits 2 sound cards"):
        card_of("usb:0d8c:0014:000", "mic", tmp_path)


def test_a_card_without_a_serial_is_known_by_its_port(tmp_path: Path) -> None:
    plug(tmp_path, 1, "", "1-2.3")
    assert usb_names(tmp_path) == {1: "usb:0d8c:0014@1-2.3"}
    assert card_of("usb:0d8c:0014", "mic", tmp_path) == 1
    with pytest.raises(SensorUnavailable, match=r"plugged in: usb:0d8c:0014@1-2\.3"):
        card_of("usb:0d8c:0014@1-2.4", "mic", tmp_path)


def attaches(form: str, number: int, root: Path) -> bool:
    """Return whether a name leads to a card; a name that leads to another card is the failure."""
    try:
        assert card_of(form, "mic", root) == number
    except SensorUnavailable:
        return False
    return True


def test_in_two_hundred_reshuffled_machines_no_name_ever_leads_to_another_card(tmp_path: Path) -> None:
    chance = random.Random(11)
    attached = {"stable": 0, "without its port": 0, "with its port": 0}
    for turn in range(200):
        root = tmp_path / str(turn)
        cards = {}
        for place, number in enumerate(chance.sample(range(32), 6)):
            serial = chance.choice(["", "000", "A1", "a1", "B2", "B2@1-1.2", f"S{place}"])
            usb = chance.choice(["0d8c:0014", "2752:0007"])
            plug(root, number, serial, f"1-1.{place}", usb.upper())
            cards[number] = f"usb:{usb}:{serial}".rstrip(":"), f"1-1.{place}"
        for number, (form, port) in cards.items():
            unique = [other.lower() for other, _ in cards.values()].count(form.lower()) == 1
            attached["stable"] += attaches(usb_names(root)[number], number, root)
            attached["with its port"] += attaches(f"{form}@{port}", number, root)
            if attaches(form, number, root):
                assert unique
                attached["without its port"] += 1
    assert attached["stable"] >= 1190  # one serial was chosen to look like another card's port: that is refused
    assert attached["with its port"] >= 1190
    assert 300 < attached["without its port"] < 1000


@pytest.mark.parametrize(
    ("one", "bits", "shown", "step"),
    [
        ("S24_3LE", "", "24 bit", 2.0**-23),
        ("S32_LE", "", "32 bit", 2.0**-31),
        ("S32_LE", "    Bits: 24\n", "24 bit", 2.0**-23),
        ("FLOAT_LE", "", "32 bit float", None),
        ("S16_LE", "", "16 bit", 2.0**-15),
        ("SPECIAL", "", "16 bit", 2.0**-15),
    ],
)
def test_the_deepest_native_format_is_told_and_playback_does_not_count(
    tmp_path: Path, one: str, bits: str, shown: str, step: float | None
) -> None:
    (plug(tmp_path, 2) / "stream0").write_text(STREAM.format(one=one, bits=bits))
    native = native_format(2, tmp_path)
    assert native is not None
    assert (str(native), native.step) == (shown, step)
    assert native.rates_hz == (8000, 16000, 44100, 48000)
    assert product_names(2, tmp_path) == [
        "USB Sound",
        "miniDSP UMIK-1 at usb-0000:00:14.0-2, full speed : USB Audio",
    ]


def test_a_card_that_does_not_tell_its_formats_has_none(tmp_path: Path) -> None:
    plug(tmp_path, 1)
    assert native_format(1, tmp_path) is None
    assert native_format(9, tmp_path) is None


def test_a_busy_card_names_the_program_that_holds_it(tmp_path: Path) -> None:
    card = plug(tmp_path, 1)
    (card / "pcm0c/sub0/status").write_text("closed\n")
    assert holder(1, tmp_path) == ""
    (card / "pcm0c/sub0/status").write_text("state: RUNNING\nowner_pid   : 812\ntrigger_time: 1.0\n")
    assert holder(1, tmp_path) == "another program (pid 812)"
    (tmp_path / "proc/812").mkdir()
    (tmp_path / "proc/812/comm").write_text("arecord\n")
    assert holder(1, tmp_path) == "arecord (pid 812)"


def test_cards_with_an_input_are_listed_by_name(tmp_path: Path) -> None:
    plug(tmp_path, 12)
    (tmp_path / "proc/asound/card3/pcm0p").mkdir(parents=True)
    assert capture_cards(tmp_path) == {12: "Device12"}
    assert capture_cards(tmp_path / "none") == {}


def test_without_permission_the_group_to_join_is_named(tmp_path: Path) -> None:
    assert permission_problem(tmp_path, lambda _: False) == ""
    (tmp_path / "dev/snd").mkdir(parents=True)
    (tmp_path / "dev/snd/pcmC1D0c").touch()
    assert "add the user to group audio" in permission_problem(tmp_path, lambda _: False)
    assert permission_problem(tmp_path) == ""


@pytest.mark.parametrize("serial", ["", "0001", "1", "123456", "0123456789ABCDEF", "000000000000", "2020"])
def test_a_serial_number_that_every_device_of_a_maker_has_is_told_with_the_port(tmp_path: Path, serial: str) -> None:
    plug(tmp_path, 1, serial, "1-2")
    (name,) = usb_names(tmp_path).values()
    assert name.endswith("@1-2")


def test_a_twin_in_another_port_is_another_sensor(tmp_path: Path) -> None:
    plug(tmp_path / "before", 1, "0001", "1-2")
    plug(tmp_path / "after", 1, "0001", "1-3")
    assert usb_names(tmp_path / "before") != usb_names(tmp_path / "after")
    with pytest.raises(SensorUnavailable, match="no USB sound card"):
        card_of("usb:0d8c:0014:0001@1-2", "mic", tmp_path / "after")
