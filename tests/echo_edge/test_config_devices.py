"""Configuration of sensors on a bus: what cannot be meant is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from echo_edge.config import Config, DeviceConfig
from sensors import create_source


def refused(device: dict[str, object], channels: list[object] | None = None) -> str:
    point = {"device": "d", **({"channels": channels} if channels else {})}
    text = {"gateway": {"id": "g"}, "devices": {"d": device}, "machines": {"m": {"points": {"p": point}}}}
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(text, context={"folder": Path()})
    return str(caught.value)


@pytest.mark.parametrize("text", [{"kind": "iio", "device": "adxl355", "rate_hz": 4000, "axes": ["x", "y"]}])
def test_what_a_file_may_say_is_what_the_driver_takes(text: dict[str, object]) -> None:
    device = TypeAdapter(DeviceConfig).validate_python(text)
    options = device.model_dump(exclude={"kind"}, exclude_none=True)
    assert create_source(device.kind, "d", **options).name == "d"


def test_an_axis_that_is_not_captured_or_stands_elsewhere_is_no_channel() -> None:
    device = {"kind": "iio", "device": "adxl355", "axes": ["z", "y"]}
    assert "'d' has no channel x; by devices.d.axes 0 is z, 1 is y" in refused(device, ["x"])
    assert "'d' has no channel 2;" in refused(device, [2])
