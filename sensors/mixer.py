"""The gain and switches of a sound input as its driver shows them, read by libasound; nothing is ever set.

Standard library only: the PortAudio child loads this file by its path. libasound.so.2 is there wherever PortAudio is.
libasound's simple elements join the controls ``Mic Capture Volume`` and ``Mic Capture Switch`` to one element ``Mic``.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

CHANNELS = 32  # SND_MIXER_SCHN_LAST + 1
ITEM_BYTES = 64
NO_MIXER = (errno.ENOENT, errno.ENXIO, errno.ENODEV)  # no such control device: nothing to read, and no error
INPUT_WORDS = ("mic", "capture", "line", "input", "adc", "gain", "boost", "agc")


class MixerError(Exception):
    """There is a mixer, and it cannot be read; the text says why."""


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libasound.so.2")
        elements = [library.snd_mixer_first_elem, library.snd_mixer_elem_next]
        library.snd_mixer_selem_get_name.restype = ctypes.c_char_p
        library.snd_strerror.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        raise MixerError(f"libasound cannot be used: {error}") from error
    for function in elements:
        function.restype = ctypes.c_void_p
    return library


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep libasound from writing its own errors, of this thread only, to standard error."""
    if not hasattr(library, "snd_lib_error_set_local"):
        yield
        return
    # Any C function that does nothing will do as the handler. A Python one would need memory that is writable and
    # executable, which a hardened service does not give.
    nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
    library.snd_lib_error_set_local.restype = ctypes.c_void_p
    former = library.snd_lib_error_set_local(nothing)
    try:
        yield
    finally:
        library.snd_lib_error_set_local(ctypes.c_void_p(former))


def read_mixer(name: str) -> dict[str, str]:
    """Return what decides how loud an input is: volumes, switches and choices as text, sorted by name.

    Volumes are in dB where the driver says what its steps are, else in percent of the control's range; channels that
    differ are listed in order. What only concerns playback (speakers) is left out.

    Args:
        name: ``hw:N`` for a card, or the name of a control in ALSA's configuration.
    Returns:
        For example ``{"Auto Gain Control": "off", "Mic Capture Volume": "12.0 dB"}``; empty when there is no mixer.
    Raises:
        MixerError: there is one, but it cannot be read.
    """
    library = _library()
    mixer = ctypes.c_void_p()
    with _quiet(library):
        _check(library, "open", library.snd_mixer_open(ctypes.byref(mixer), 0))
        try:
            code = library.snd_mixer_attach(mixer, name.encode())
            if -code in NO_MIXER:
                return {}
            _check(library, name, code)
            _check(library, name, library.snd_mixer_selem_register(mixer, None, None))
            _check(library, name, library.snd_mixer_load(mixer))
            return dict(sorted(_settings(library, mixer)))
        finally:
            library.snd_mixer_close(mixer)


def _settings(library: Any, mixer: ctypes.c_void_p) -> Iterator[tuple[str, str]]:
    element = library.snd_mixer_first_elem(mixer)
    while element:
        yield from _Element(library, ctypes.c_void_p(element)).settings()
        element = library.snd_mixer_elem_next(ctypes.c_void_p(element))


class _Element:
    """One simple element of a mixer that is open."""

    def __init__(self, library: Any, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle
        name = library.snd_mixer_selem_get_name(handle).decode(errors="replace")
        index = library.snd_mixer_selem_get_index(handle)
        self._name = f"{name} {index}" if index else name
        self._stem = self._name.removesuffix("Capture").rstrip()  # "Capture Volume" is not "Capture Capture Volume"

    def settings(self) -> Iterator[tuple[str, str]]:
        """Yield what concerns an input."""
        if self._is("is_enumerated"):
            if not self._is("is_enum_playback"):
                yield self._name, self._choice()
            return
        capture_volume, playback_volume = self._is("has_capture_volume"), self._is("has_playback_volume")
        capture_switch, playback_switch = self._is("has_capture_switch"), self._is("has_playback_switch")
        if capture_volume:
            yield f"{self._stem} Capture Volume".strip(), self._volume("capture")
        if capture_switch:
            yield f"{self._stem} Capture Switch".strip(), self._switch("capture")
        hears = any(word in self._name.lower().split() for word in INPUT_WORDS)
        if playback_volume and hears:  # how much of itself a headset lets its user hear, or a boost without direction
            yield f"{self._name} Playback Volume", self._volume("playback")
        if playback_switch and hears and playback_volume:
            yield f"{self._name} Playback Switch", self._switch("playback")
        elif playback_switch and not playback_volume:  # a switch without a direction, such as Auto Gain Control
            yield (f"{self._name} Playback Switch" if capture_switch else self._name), self._switch("playback")

    def _is(self, what: str) -> bool:
        return bool(getattr(self._library, f"snd_mixer_selem_{what}")(self._handle))

    def _channels(self, way: str, show: Callable[[int], str]) -> str:
        has = getattr(self._library, f"snd_mixer_selem_has_{way}_channel")
        shown = [show(channel) for channel in range(CHANNELS) if has(self._handle, channel)]
        return shown[0] if len(set(shown)) == 1 else ", ".join(shown)

    def _volume(self, way: str) -> str:
        low, high = ctypes.c_long(), ctypes.c_long()
        limits = getattr(self._library, f"snd_mixer_selem_get_{way}_volume_range")
        in_db = getattr(self._library, f"snd_mixer_selem_get_{way}_dB")
        in_steps = getattr(self._library, f"snd_mixer_selem_get_{way}_volume")
        _check(self._library, self._name, limits(self._handle, ctypes.byref(low), ctypes.byref(high)))

        def show(channel: int) -> str:
            value = ctypes.c_long()
            if in_db(self._handle, channel, ctypes.byref(value)) == 0:
                return f"{value.value / 100:.1f} dB"
            _check(self._library, self._name, in_steps(self._handle, channel, ctypes.byref(value)))
            return f"{100 * (value.value - low.value) / max(1, high.value - low.value):.0f} %"

        return self._channels(way, show)

    def _switch(self, way: str) -> str:
        read = getattr(self._library, f"snd_mixer_selem_get_{way}_switch")

        def show(channel: int) -> str:
            value = ctypes.c_int()
            _check(self._library, self._name, read(self._handle, channel, ctypes.byref(value)))
            return "on" if value.value else "off"

        return self._channels(way, show)

    def _choice(self) -> str:
        item, text = ctypes.c_uint(), ctypes.create_string_buffer(ITEM_BYTES)
        get_item = self._library.snd_mixer_selem_get_enum_item
        _check(self._library, self._name, get_item(self._handle, 0, ctypes.byref(item)))
        get_name = self._library.snd_mixer_selem_get_enum_item_name
        _check(self._library, self._name, get_name(self._handle, item, ctypes.c_size_t(ITEM_BYTES - 1), text))
        return text.value.decode(errors="replace")


def _check(library: Any, what: str, code: int) -> None:
    if code < 0:
        raise MixerError(f"the mixer cannot be read ({what}: {library.snd_strerror(code).decode()})")
