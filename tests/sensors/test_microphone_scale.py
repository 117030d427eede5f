"""What full scale is in a physical unit, and who says so."""

from __future__ import annotations

import pytest

from sensors.microphone_scale import MicrophoneScale, microphone_scale

DIGIDUCER = "333D01_10123453667971972240618: USB Audio (hw:2,0)"


def test_nothing_known_leaves_parts_of_full_scale() -> None:
    assert microphone_scale(2, ["USB Audio"]) == MicrophoneScale((1.0, 1.0), "full scale", "none")


def test_the_configuration_gives_scale_and_unit() -> None:
    found = microphone_scale(2, ["USB Audio"], scale=5.0, unit="g")
    assert found == MicrophoneScale((5.0, 5.0), "g", "configuration")


def test_a_unit_alone_is_a_scale_of_one() -> None:
    assert microphone_scale(1, [], unit="Pa") == MicrophoneScale((1.0,), "Pa", "configuration")


def test_a_sensitivity_of_minus_36_dbfs_makes_63_pascal_of_full_scale() -> None:
    found = microphone_scale(1, [], sensitivity_dbfs=-36.0)
    assert (found.unit, found.source) == ("Pa", "configuration")
    assert found.full_scale == (pytest.approx(63.0957, abs=1e-3),)


def test_a_digiducer_scales_both_channels_by_its_own_name() -> None:
    found = microphone_scale(2, ["cut off 333D01_1", DIGIDUCER])
    assert (found.unit, found.source, found.identity) == ("g", "device name", "digiducer:012345")
    assert found.full_scale == pytest.approx((23.321, 11.885), abs=1e-3)
    assert microphone_scale(1, [DIGIDUCER]).full_scale == found.full_scale[:1]


def test_the_configuration_s_scale_wins_over_the_name_and_the_identity_stays() -> None:
    found = microphone_scale(2, [DIGIDUCER], scale=2.0, unit="g")
    assert found == MicrophoneScale((2.0, 2.0), "g", "configuration", "digiducer:012345")


def test_a_damaged_name_is_refused_unless_the_configuration_gives_the_scale() -> None:
    with pytest.raises(ValueError, match=r"cut off or damaged; give 'scale' and 'unit' yourself"):
        microphone_scale(2, [DIGIDUCER[:20]])
    assert microphone_scale(1, [DIGIDUCER[:20]], scale=2.0, unit="g").identity is None


def test_more_channels_than_the_sensor_has_are_refused() -> None:
    with pytest.raises(ValueError, match="333D01 012345 has 2 channels, not 3"):
        microphone_scale(3, [DIGIDUCER])
