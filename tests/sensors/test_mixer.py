"""What a sound input's gain and switches are, as text. With PulseAudio: see test_pulse_microphone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sensors.mixer import MixerError, _Element, read_mixer


class ToldLibrary:
    """Stands where libasound stands and knows one element; what it was not told is 0."""

    def __init__(self, name: str, channels: int = 1, **told: Any) -> None:
        self._told = {"get_name": name.encode(), **told}
        self._channels = channels

    def snd_strerror(self, code: int) -> bytes:
        return f"error {code}".encode()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda _element, *arguments: self._answer(name.removeprefix("snd_mixer_selem_"), *arguments)

    def _answer(self, what: str, *arguments: Any) -> Any:
        if what in ("has_capture_channel", "has_playback_channel"):
            return arguments[0] < self._channels
        if not arguments:
            return self._told.get(what, 0)
        told = self._told.get(what, -22)
        if isinstance(told, int):  # an error, as of a driver that knows no dB
            return told
        if what == "get_enum_item_name":
            arguments[-1].value = told[0]
        elif what.endswith("_range"):
            arguments[0]._obj.value, arguments[1]._obj.value = told
        else:
            arguments[-1]._obj.value = told[arguments[0] % len(told)]
        return 0


def shown(name: str, channels: int = 1, **told: Any) -> dict[str, str]:
    return dict(_Element(ToldLibrary(name, channels, **told), None).settings())  # type: ignore[arg-type]


def test_a_microphone_s_volume_is_in_db_and_its_switches_are_on_or_off() -> None:
    told = {"has_capture_volume": 1, "get_capture_volume_range": (0, 30), "get_capture_dB": [1200]}
    assert shown("Mic", **told, has_capture_switch=1, get_capture_switch=[1]) == {
        "Mic Capture Volume": "12.0 dB",
        "Mic Capture Switch": "on",
    }


def test_a_driver_without_db_shows_percent_of_the_range() -> None:
    told = {"has_capture_volume": 1, "get_capture_volume_range": (10, 30), "get_capture_volume": [15]}
    assert shown("Capture", **told) == {"Capture Volume": "25 %"}


def test_channels_that_differ_are_listed_and_equal_ones_are_not_repeated() -> None:
    told: dict[str, Any] = {"has_capture_volume": 1, "get_capture_volume_range": (0, 30)}
    assert shown("Line", 2, **told, get_capture_dB=[0, -150]) == {"Line Capture Volume": "0.0 dB, -1.5 dB"}
    assert shown("Line", 2, **told, get_capture_dB=[0, 0]) == {"Line Capture Volume": "0.0 dB"}


def test_automatic_gain_control_is_shown_although_it_has_no_direction() -> None:
    assert shown("Auto Gain Control", has_playback_switch=1, get_playback_switch=[0]) == {"Auto Gain Control": "off"}


def test_a_choice_of_inputs_is_shown_by_its_name() -> None:
    told = {"is_enumerated": 1, "get_enum_item": [1], "get_enum_item_name": [b"Rear Mic"]}
    assert shown("Input Source", **told) == {"Input Source": "Rear Mic"}


def test_what_a_microphone_plays_to_its_user_is_shown_and_a_loudspeaker_is_not() -> None:
    told = {"has_playback_volume": 1, "get_playback_volume_range": (0, 9), "get_playback_dB": [-600]}
    assert shown("Mic", **told) == {"Mic Playback Volume": "-6.0 dB"}
    assert shown("Speaker", **told, has_playback_switch=1, get_playback_switch=[1]) == {}


def test_a_control_that_fails_is_an_error_with_its_name() -> None:
    with pytest.raises(MixerError, match=r"cannot be read \(Mic: error -22\)"):
        shown("Mic", has_capture_switch=1)


def test_a_card_without_controls_has_no_settings() -> None:
    assert read_mixer("hw:31") == {}
    assert read_mixer("no such control") == {}


def test_nothing_that_libasound_writes_reaches_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    read_mixer("no such control")
    assert capfd.readouterr().err == ""
