"""The files of deploy/systemd and deploy/udev, as they are: systemd takes every line, and little is left open."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sensors.discover import PICO_IDS
from tests.system.udev_rules import Device, Rules

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SYSTEMD = DEPLOY / "systemd"
UNIT = "echo-edge@.service"
PAGE = "echo-edge-web@.service"
PYTHON = "/opt/echo-edge/current/venv/bin/python"
EXPOSED = {UNIT: 1.4, PAGE: 0.9}
"""At most; 10 is a service without any sandbox. Weights change between versions of systemd: these are of 252."""

DROPINS = {
    "nvidia": (UNIT, 1.7),
    "jetson": (UNIT, 1.7),
    "bus-sensors": (UNIT, 1.4),
    "config-orders": (UNIT, 1.4),
    "ipfilter": (UNIT, 1.3),
    "page-lan": (PAGE, 1.0),
}
ALONE_AND_WITH = [*((unit, []) for unit in EXPOSED), *((unit, [name]) for name, (unit, _) in DROPINS.items())]

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


BROKER = Path("/lib/systemd/system/mosquitto.service")
BROKER_EXPOSED = 1.1


def copied(folder: Path, *dropins: str, unit: str = UNIT, python: str | None = None) -> Path:
    """The unit in ``folder``, alone or with drop-ins beside it, where systemd looks for them; returns its file."""
    file = folder / unit
    text = (SYSTEMD / unit).read_text("utf-8")
    file.write_text(text if python is None else text.replace(PYTHON, python), "utf-8")
    for name in dropins:
        (folder / f"{unit}.d").mkdir(exist_ok=True)
        shutil.copy(SYSTEMD / "dropins" / f"{name}.conf", folder / f"{unit}.d")
    return file


def analyze(folder: Path, *arguments: str, unit: str = UNIT) -> tuple[str, str]:
    """What ``systemd-analyze`` prints, and what it complains of, of the unit in this folder."""
    command = ["systemd-analyze", *arguments, f"./{unit}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    return done.stdout, done.stderr


def exposure(folder: Path, unit: str = UNIT) -> float:
    printed, _ = analyze(folder, "security", "--offline=true", "--no-pager", unit=unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", printed)
    assert found is not None, printed
    return float(found[1])


@needs_systemd
@pytest.mark.parametrize(("unit", "dropins"), ALONE_AND_WITH)
def test_systemd_takes_every_line(unit: str, dropins: list[str], tmp_path: Path) -> None:
    copied(tmp_path, *dropins, unit=unit, python="/bin/sh")
    printed, complained = analyze(tmp_path, "verify", "--man=no", unit=unit)
    assert (printed, complained) == ("", "")  # it ends with 0 whatever it says of unknown keys


def test_what_a_crash_leaves_behind_outlives_the_restart() -> None:
    """By default systemd deletes the runtime folder, where ``at-work`` is, before it starts the service again."""
    assert "\nRuntimeDirectoryPreserve=restart\n" in (SYSTEMD / UNIT).read_text("utf-8")


def test_a_file_is_checked_before_the_daemon_is_told_to_read_it() -> None:
    text = (SYSTEMD / UNIT).read_text("utf-8")
    assert re.findall("^ExecReload=(.*)$", text, re.MULTILINE) == [
        f"{PYTHON} -I -m echo_edge check /etc/echo-edge/%i.yaml",
        "/bin/kill -HUP $MAINPID",
    ]


@needs_systemd
def test_a_misspelt_key_would_be_seen(tmp_path: Path) -> None:
    unit = copied(tmp_path, python="/bin/sh")
    unit.write_text(unit.read_text("utf-8").replace("ProtectHome=", "ProtectHomes="), "utf-8")
    assert "'ProtectHomes'" in analyze(tmp_path, "verify", "--man=no")[1]


@needs_systemd
@pytest.mark.parametrize(("unit", "most"), EXPOSED.items())
def test_the_sandbox_leaves_no_more_open_than_it_did(unit: str, most: float, tmp_path: Path) -> None:
    copied(tmp_path, unit=unit)
    assert exposure(tmp_path, unit) <= most


@needs_systemd
@pytest.mark.parametrize(("dropin", "unit", "most"), [(name, *held) for name, held in DROPINS.items()])
def test_a_drop_in_opens_no_more_than_it_needs(dropin: str, unit: str, most: float, tmp_path: Path) -> None:
    copied(tmp_path, dropin, unit=unit)
    assert exposure(tmp_path, unit) <= most


def settings(unit: str) -> dict[str, list[str]]:
    """What a unit says: each key with all its words."""
    said: dict[str, list[str]] = {}
    for key, words in re.findall(r"^(\w+)=(.*)$", (SYSTEMD / unit).read_text("utf-8"), re.MULTILINE):
        said.setdefault(key, []).extend(words.split())
    return said


def test_the_page_and_the_daemon_never_pull_each_other_along() -> None:
    daemon, page = settings(UNIT), settings(PAGE)
    pulling = ("Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Wants", "Conflicts", "OnFailure", "Also")
    assert not [key for key in pulling if any("echo-edge" in word for word in daemon.get(key, []) + page.get(key, []))]
    assert not any("echo-edge-web" in word for word in daemon.get("After", []) + daemon.get("Before", []))


def test_where_both_want_the_machine_the_daemon_gets_it_and_where_memory_is_short_the_page_goes() -> None:
    daemon, page = settings(UNIT), settings(PAGE)
    for key in ("CPUWeight", "IOWeight"):
        assert int(page[key][0]) * 4 <= int(daemon[key][0])
    assert int(page["OOMScoreAdjust"][0]) > 0 > int(daemon["OOMScoreAdjust"][0])
    assert page["MemoryMax"] == ["200M"]


def test_the_page_is_in_none_of_the_groups_of_the_daemon_and_has_no_device() -> None:
    page = settings(PAGE)
    assert page["User"] == page["Group"] == ["echo-edge-web"]
    assert not {"SupplementaryGroups", "DeviceAllow"} & set(page)
    assert page["PrivateDevices"] == ["yes"]
    assert not re.search(r"^m echo-edge-web ", (SYSTEMD / "sysusers.conf").read_text("utf-8"), re.MULTILINE)


def test_every_drop_in_is_measured() -> None:
    assert {path.stem for path in (SYSTEMD / "dropins").iterdir()} == set(DROPINS)


@needs_systemd
@pytest.mark.skipif(not BROKER.exists(), reason="Debian's mosquitto is not installed")
def test_the_broker_of_a_gateway_is_held_back_too(tmp_path: Path) -> None:
    shutil.copy(BROKER, tmp_path)
    assert exposure(tmp_path, BROKER.name) > 9
    (tmp_path / f"{BROKER.name}.d").mkdir()
    shutil.copy(DEPLOY / "mosquitto" / "hardening.conf", tmp_path / f"{BROKER.name}.d")
    assert exposure(tmp_path, BROKER.name) <= BROKER_EXPOSED
    assert analyze(tmp_path, "verify", "--man=no", unit=BROKER.name) == ("", "")


# udev


def usb_serial(ids: str, serial: str = "", port: str = "pci-0000_00_14_0-usb-0_2_1_0") -> tuple[Device, Device]:
    """The USB device and its tty, as udev knows them once its own rules have run."""
    vendor, product = ids.split(":")
    facts = {"idVendor": vendor, "idProduct": product}
    env = {"ID_VENDOR_ID": vendor, "ID_MODEL_ID": product, "ID_PATH_TAG": port, "ID_USB_INTERFACE_NUM": "00"}
    tty = Device("tty", env | ({"ID_SERIAL_SHORT": serial} if serial else {}), {}, [{"subsystem": "usb"} | facts])
    return Device("usb", {"DEVTYPE": "usb_device"}, {"power/control": "auto"} | facts), tty


@pytest.fixture(scope="module")
def rules() -> Rules:
    return Rules(DEPLOY / "udev" / "70-echo-edge.rules")


def test_udev_itself_takes_the_rules() -> None:
    if (udevadm := shutil.which("udevadm")) is None:
        pytest.skip("udev is not installed")
    if subprocess.run([udevadm, "verify", "--help"], capture_output=True, check=False).returncode:
        pytest.skip("this udevadm cannot verify: it came with systemd 254")
    rules = DEPLOY / "udev" / "70-echo-edge.rules"
    done = subprocess.run([udevadm, "verify", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_serial_sensor_has_a_name_of_its_own_and_stays_awake_and_alone(rules: Rules) -> None:
    device, tty = map(rules.apply, usb_serial(PICO_IDS, "E66118F5D7"))
    assert tty.links == [f"echo-edge/{PICO_IDS.replace(':', '-')}-E66118F5D7-00"]
    assert (tty.group, tty.mode) == ("dialout", "0660")
    assert device.env["ID_MM_DEVICE_IGNORE"] == tty.env["ID_MM_DEVICE_IGNORE"] == "1"
    assert device.attr["power/control"] == "on"


def test_two_adapters_without_a_serial_number_are_told_apart_by_their_ports(rules: Rules) -> None:
    ports = ("pci-0000_00_14_0-usb-0_1_1_0", "pci-0000_00_14_0-usb-0_2_1_0")
    links = [rules.apply(usb_serial("1a86:7523", port=port)[1]).links for port in ports]
    assert links == [[f"echo-edge/1a86-7523@{port}-00"] for port in ports]


@pytest.mark.parametrize("ids", ["2c7c:0125", "1199:9071", "0403:ffff"])
def test_a_modem_is_left_to_its_manager(rules: Rules, ids: str) -> None:
    for found in map(rules.apply, usb_serial(ids, "1")):
        assert "ID_MM_DEVICE_IGNORE" not in found.env
        assert not found.links
        assert found.attr.get("power/control") != "on"


def test_a_sound_card_may_be_used_by_its_group_and_never_sleeps(rules: Rules) -> None:
    pcm = rules.apply(Device("sound"))
    assert (pcm.group, pcm.mode) == ("audio", "0660")
    interface = {"bInterfaceClass": "01", "../power/control": "auto"}
    assert rules.apply(Device("usb", {"DEVTYPE": "usb_interface"}, interface)).attr["../power/control"] == "on"
    keyboard = {"bInterfaceClass": "03", "../power/control": "auto"}
    assert rules.apply(Device("usb", {"DEVTYPE": "usb_interface"}, keyboard)).attr["../power/control"] == "auto"


def test_nothing_is_done_to_what_is_pulled_out(rules: Rules) -> None:
    _, tty = usb_serial(PICO_IDS, "E66118F5D7")
    tty.action = "remove"
    assert rules.apply(tty).links == []
