"""Configuration of sensors on a bus: what cannot be meant is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from echo_edge.config import Config
from echo_edge.config_devices import DeviceConfig
from sensors import create_source


def refused(device: dict[str, object], channels: list[object] | None = None) -> str:
    point = {"device": "d", **({"channels": channels} if channels else {})}
    text = {"gateway": {"id": "g"}, "devices": {"d": device}, "machines": {"m": {"points": {"p": point}}}}
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(text, context={"folder": Path()})
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        {"kind": "iio", "device": "adxl355", "rate_hz": 4000, "axes": ["x", "y"]},
        {"kind": "mcc172", "iepe": True},
        {"kind": "vibration_meter", "port": "/dev/ttyUSB0", "velocity_scale_mm_s": 0.001},
        {"kind": "vibration_meter", "port": "/dev/ttyUSB0", "quantities": ["temperature"]},
        {"kind": "mcc172", "channels": [0, 1], "iepe": [True, False], "sensitivity_mv_per_unit": [100, 50]},
    ],
)
def test_what_a_file_may_say_is_what_the_driver_takes(text: dict[str, object]) -> None:
    device = TypeAdapter(DeviceConfig).validate_python(text)
    options = device.model_dump(exclude={"kind"}, exclude_none=True)
    assert create_source(device.kind, "d", **options).name == "d"


def test_an_axis_that_is_not_captured_or_stands_elsewhere_is_no_channel() -> None:
    device = {"kind": "iio", "device": "adxl355", "axes": ["z", "y"]}
    assert "'d' has no channel x; by devices.d.axes 0 is z, 1 is y" in refused(device, ["x"])
    assert "'d' has no channel 2;" in refused(device, [2])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"channels": [1, 0]}, "channels are [0], [1] or [0, 1]"),
        ({"channels": [0, 0]}, "channels are [0], [1] or [0, 1]"),
        ({"iepe": [True, True]}, "iepe is one value, or one for each of 1 channels, not 2"),
        (
            {"sensitivity_mv_per_unit": [1, 2]},
            "one value, or one for each of 1 channels, not 2",
        ),
        ({"sensitivity_mv_per_unit": 0}, "sensitivity_mv_per_unit must be positive"),
    ],
)
def test_the_values_of_an_mcc_172_fit_its_channels(wrong: dict[str, object], told: str) -> None:
    assert told in refused({"kind": "mcc172", "iepe": True, **wrong})


def test_whether_the_sensors_of_an_mcc_172_are_supplied_must_be_said() -> None:
    assert "iepe" in refused({"kind": "mcc172"})


def test_a_point_of_an_mcc_172_counts_the_channels_that_are_sampled() -> None:
    assert "opened with 1 channel(s)" in refused({"kind": "mcc172", "channels": [1], "iepe": True}, [1])


def test_the_scale_of_a_vibration_meters_velocity_must_be_said() -> None:
    said = refused({"kind": "vibration_meter", "port": "/dev/ttyUSB0"})
    assert "published drivers read the register as 1 mm/s and as 0.001 mm/s" in said
