"""What `devices` shows of sound inputs and serial ports, on trees made up like /proc, /sys and /dev."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from serial.tools.list_ports_common import ListPortInfo

from sensors.discover import describe_microphones, describe_port
from sensors.sound_process import explain
from tests.sensors.test_digiducer import NAME
from tests.sensors.test_soundcards import STREAM, plug


def listed(name: str, rates_hz: list[int], channels: int = 2) -> dict[str, Any]:
    return {"name": name, "channels": channels, "default_rate_hz": 48_000, "rates_hz": rates_hz}


def hold(card: Path, root: Path) -> None:
    (card / "pcm0c/sub0/status").write_text("state: RUNNING\nowner_pid   : 812\n")
    (root / "proc/812").mkdir()
    (root / "proc/812/comm").write_text("arecord\n")


def test_a_usb_microphone_shows_its_depth_and_the_line_that_finds_it_again(tmp_path: Path) -> None:
    (plug(tmp_path, 1, "A1") / "stream0").write_text(STREAM.format(one="S24_3LE", bits=""))
    (found,) = describe_microphones([listed("UMIK-1: USB Audio (hw:1,0)", [44_100, 48_000])], tmp_path)
    assert (found.id, found.problem, found.rates_hz) == ("usb:0d8c:0014:A1", "", (44_100, 48_000))
    assert found.description == "UMIK-1: USB Audio (hw:1,0), 24 bit"
    assert found.config_lines == ['  mic1: {kind: microphone, device: "usb:0d8c:0014:A1", rate_hz: 48000}']


def test_a_digiducer_shows_its_ranges_and_needs_no_scale(tmp_path: Path) -> None:
    plug(tmp_path, 1, "A1")
    (found,) = describe_microphones([listed(f"{NAME}: USB Audio (hw:1,0)", [48_000])], tmp_path)
    assert found.description.endswith("333D01 012345, 23.3 g and 11.9 g full scale, calibrated 2024-06-18")
    assert found.config_lines == ['  mic1: {kind: microphone, device: "usb:0d8c:0014:A1", rate_hz: 48000, channels: 2}']


def test_a_digiducer_with_a_damaged_name_asks_for_a_scale(tmp_path: Path) -> None:
    plug(tmp_path, 1, "A1")
    (found,) = describe_microphones([listed(f"{NAME[:20]}: USB Audio (hw:1,0)", [48_000])], tmp_path)
    assert found.problem.endswith("cut off or damaged; give scale and unit yourself")


def test_a_busy_card_names_its_holder_whether_portaudio_lists_it_or_not(tmp_path: Path) -> None:
    hold(plug(tmp_path, 1, "A1"), tmp_path)
    for shown in ([listed("USB Audio: - (hw:1,0)", [])], []):
        (found,) = describe_microphones(shown, tmp_path)
        assert (found.id, found.problem) == ("usb:0d8c:0014:A1", "busy: in use by arecord (pid 812)")


def test_a_card_that_portaudio_cannot_open_is_listed_all_the_same(tmp_path: Path) -> None:
    plug(tmp_path, 1, "A1")
    (found,) = describe_microphones([], tmp_path)
    assert (found.id, found.description, found.problem) == (
        "usb:0d8c:0014:A1",
        "USB Sound",
        "PortAudio cannot open it",
    )


def test_a_sound_server_is_shown_by_its_name() -> None:
    (found,) = describe_microphones([listed("pulse", [48_000])])
    assert (found.id, found.description, found.problem) == ("pulse", "pulse", "")


def test_a_refusal_of_a_busy_card_says_who_holds_it(tmp_path: Path) -> None:
    hold(plug(tmp_path, 1, "A1"), tmp_path)
    busy = {"error": "busy or gone", "card": 1, "absent": False}
    assert explain(busy, "usb:0d8c:0014", tmp_path).startswith("usb:0d8c:0014 is in use by arecord (pid 812): ")
    assert explain({**busy, "card": 2}, None, tmp_path) == "busy or gone"


def test_an_absent_microphone_may_be_one_that_another_program_holds(tmp_path: Path) -> None:
    absent = {"error": "no microphone is called 'UMIK'; there is: none", "card": None, "absent": True}
    assert explain(absent, "UMIK", tmp_path) == absent["error"]
    hold(plug(tmp_path, 1, "A1"), tmp_path)
    assert explain(absent, "UMIK", tmp_path).endswith("there is: none; in use: Device1 by arecord (pid 812)")


def test_a_serial_port_is_told_by_its_usb_ids_with_the_line_to_paste(tmp_path: Path) -> None:
    port = ListPortInfo(str(tmp_path / "ttyACM0"))
    (tmp_path / "ttyACM0").touch()
    port.vid, port.pid, port.serial_number, port.description = 0x2E8A, 0x000A, "E661", "PicoQuake"
    found = describe_port(1, port, "/dev/serial/by-id/usb-PicoQuake")
    assert (found.description, found.rates_hz, found.channels) == (
        "2e8a:000a PicoQuake serial E661",
        (1000, 2000, 4000),
        3,
    )
    assert found.config_lines[0].startswith(
        "  acc1: {kind: accelerometer, port: /dev/serial/by-id/usb-PicoQuake, protocol: picoquake}"
    )


def test_a_port_that_another_program_reads_names_it(tmp_path: Path) -> None:
    node = tmp_path / "ttyUSB0"
    node.touch()
    with node.open() as held, subprocess.Popen(["sleep", "60"], stdin=held) as other:
        held.close()
        try:
            found = describe_port(1, ListPortInfo(str(node)), str(node))
            assert found.problem == f"in use by sleep (pid {other.pid})"
        finally:
            other.kill()
