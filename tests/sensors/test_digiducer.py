"""Sensors that carry their calibration in their name."""

from __future__ import annotations

from datetime import date

import pytest

from sensors import digiducer

NAME = "333D01_10123453667971972240618"


def test_an_accelerometer_tells_model_serial_date_and_both_ranges_in_g() -> None:
    found = digiducer.parse(NAME)
    assert found is not None
    assert (found.model, found.serial, found.calibrated, found.unit) == ("333D01", "012345", date(2024, 6, 18), "g")
    wide, sensitive = found.full_scale
    assert wide == pytest.approx(855400 / 36679, rel=1e-6)
    assert round(wide, 1) == 23.3
    assert sensitive == pytest.approx(855400 / 71972, rel=1e-6)


@pytest.mark.parametrize(("fmt", "volts"), [("2", 8388608 / 1_000_000), ("3", 8388608 / 20_000_000)])
def test_a_signal_conditioner_tells_volts(fmt: str, volts: float) -> None:
    found = digiducer.parse(f"485B39_{fmt}00000110000002000000231130")
    assert found is not None
    assert (found.model, found.serial, found.calibrated, found.unit) == ("485B39", "000001", date(2023, 11, 30), "V")
    assert found.full_scale == pytest.approx((volts, volts / 2))


@pytest.mark.parametrize("text", [f"The Modal Shop {NAME} at usb-1.2: USB Audio", f"{NAME}: USB Audio (hw:2,0)"])
def test_the_name_is_found_wherever_it_stands(text: str) -> None:
    assert digiducer.parse(text) == digiducer.parse(NAME)


@pytest.mark.parametrize("text", ["", "UMIK-1: USB Audio (hw:1,0)", "333 D01", "USB PnP Sound Device"])
def test_other_devices_have_no_calibration(text: str) -> None:
    assert digiducer.parse(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("333D01", "its format '' is not 1, 2 or 3"),
        ("333D01_4" + NAME[8:], "its format '4' is not 1, 2 or 3"),
        (NAME[:-1], "cut off or damaged"),
        (NAME[:14] + "36-79" + NAME[19:], "cut off or damaged"),
        (NAME[:14] + "00000" + NAME[19:], "a sensitivity is 0"),
        (NAME[:-4] + "1332", "its date is none"),
    ],
)
def test_a_damaged_name_is_refused_and_quoted(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^'{text[:20]}.* names a calibrated sensor, but .*{reason}"):
        digiducer.parse(text)


def test_of_several_names_the_first_whole_one_counts() -> None:
    assert digiducer.find(["USB Audio", NAME[:-3], NAME]) == digiducer.parse(NAME)
    assert digiducer.find(["USB Audio"]) is None
    with pytest.raises(ValueError, match="cut off"):
        digiducer.find(["USB Audio", NAME[:-3]])
