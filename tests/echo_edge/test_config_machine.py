"""Configuration of what turns: a bearing that cannot be is refused, with the mend."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from echo_edge.config_file import load_config
from echo_edge.config_machine import BearingConfig
from echo_edge.errors import ConfigError

GEOMETRY = {"rolling_elements": 9, "ball_diameter_mm": 7.94, "pitch_diameter_mm": 39.04}
PER_TURN = {"bpfo_per_turn": 3.5848, "bpfi_per_turn": 5.4152, "bsf_per_turn": 2.3567, "ftf_per_turn": 0.3983}

FILE = """\
gateway: {id: gw-1}
devices:
  acc: {kind: simulator, rate_hz: 25600}
machines:
  pump:
    shaft_hz: 24.58
    points:
      de: {device: acc, bearing: {rolling_elements: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04}}
"""


def refused(**keys: float) -> str:
    with pytest.raises(ValidationError) as caught:
        BearingConfig.model_validate(keys)
    (error,) = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


def test_geometry_and_frequencies_of_one_bearing_say_the_same() -> None:
    by_geometry, by_ratios = BearingConfig(**GEOMETRY).per_turn, BearingConfig(**PER_TURN).per_turn
    for part in ("bpfo", "bpfi", "bsf", "ftf"):
        assert getattr(by_geometry, part) == pytest.approx(getattr(by_ratios, part), rel=1e-3)


def test_a_contact_angle_counts() -> None:
    steep = BearingConfig(**GEOMETRY, contact_angle_deg=40).per_turn
    assert steep.ftf == pytest.approx(0.5 * (1 - 7.94 / 39.04 * math.cos(math.radians(40))))


def test_one_of_the_two_ways_is_needed_and_not_both() -> None:
    for keys in ({}, {**GEOMETRY, **PER_TURN}, {"contact_angle_deg": 10, **PER_TURN}):
        assert refused(**keys).startswith("give either rolling_elements, ball_diameter_mm, pitch_diameter_mm")


@pytest.mark.parametrize("keys", [GEOMETRY, PER_TURN])
def test_what_is_missing_of_one_way_is_named(keys: dict[str, float]) -> None:
    for missing in keys:
        rest = {key: value for key, value in keys.items() if key != missing}
        assert refused(**rest) == f"{missing} is missing; one without the others says nothing"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            GEOMETRY | {"ball_diameter_mm": 14},
            "9 balls of 14 mm do not fit on a circle of 39.04 mm; pitch_diameter_mm is",
        ),
        (GEOMETRY | {"pitch_diameter_mm": 3.9}, "9 balls of 7.94 mm do not fit"),
        (PER_TURN | {"bpfo_per_turn": 5.4152, "bpfi_per_turn": 3.5848}, "are of no bearing"),
        (PER_TURN | {"bpfi_per_turn": 5.9}, "together they are the number of balls, a whole one"),
        (PER_TURN | {"ftf_per_turn": 0.45}, "it should be 0.3983, or 0.6017 where the outer ring turns"),
        (PER_TURN | {"bsf_per_turn": 4.7135}, "twice the spin), halve it"),
    ],
)
def test_a_bearing_that_cannot_be_is_refused_with_the_mend(keys: dict[str, float], message: str) -> None:
    assert message in refused(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"bpfo_per_turn": 3.6, "bpfi_per_turn": 5.4, "bsf_per_turn": 2.36, "ftf_per_turn": 0.4},
        PER_TURN | {"ftf_per_turn": 0.6017},
        {"bpfo_per_turn": 7.1, "bpfi_per_turn": 9.9, "bsf_per_turn": 2.7, "ftf_per_turn": 0.42},
    ],
    ids=["rounded", "outer ring turns", "with a contact angle"],
)
def test_catalogues_round_and_other_bearings_are_bearings_too(keys: dict[str, float]) -> None:
    assert BearingConfig.model_validate(keys).per_turn.bpfo == keys["bpfo_per_turn"]


def problem(tmp_path: Path, text: str) -> str:
    path = tmp_path / "line1.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (found,) = caught.value.problems
    return found.removeprefix(f"{tmp_path}/")


def test_a_bearing_needs_the_speed_of_its_shaft(tmp_path: Path) -> None:
    assert problem(tmp_path, FILE.replace("    shaft_hz: 24.58\n", "")) == (
        "line1.yaml:5: machines.pump: points.de.bearing needs the speed of the shaft; "
        "add 'shaft_hz' (turns per second) here"
    )


def test_a_mistyped_key_and_an_unknown_class_are_named_with_what_is_known(tmp_path: Path) -> None:
    assert problem(tmp_path, FILE.replace("rolling_elements", "roling_elements")).endswith(
        "bearing.roling_elements: unknown key; did you mean 'rolling_elements'?"
    )
    assert "'large_rigid'" in problem(tmp_path, FILE.replace("    points", "    vibration_class: II\n    points"))
