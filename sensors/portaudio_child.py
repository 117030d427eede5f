"""The microphone driver's child process: PortAudio in, framed bytes out. It imports nothing of this project, nor numpy.

It runs apart because a stalled device makes ``Pa_AbortStream`` hang for ever, and because PortAudio freezes its list of
devices when it starts. Its only argument is an order in JSON; it answers with one line of JSON, then with frames:
``HEADER`` and float32 samples, or ``HEADER`` and the mixer's settings in JSON when those have changed. It ends when its
standard input closes, that is, also when its parent dies; signals meant for the whole service are left to the parent,
so that a shutdown does not look like a fault.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<qII")  # monotonic time in ns (of samples: at the read's return), frames or bytes, kind
SAMPLES, AFTER_OVERRUN, SETTINGS = 0, 1, 2  # kinds; the second are samples with which PortAudio reported an overrun
WATCH_S = 0.5  # how often the mixer is read: a millisecond each, and told before three windows are judged
DEVICE_BUFFER_S = 0.5  # worst scheduling delay measured: 0.03 s
LEAST_PIPE_BYTES = 1 << 16  # what every pipe has
PIPE_S = 1.0  # what the pipe may hold before the device's own buffer fills
RATES_HZ = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
WRITING = threading.Lock()  # samples and settings share the pipe
INVALID_CHANNELS, INVALID_RATE, UNAVAILABLE = -9998, -9997, -9985  # PaErrorCode


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """The order cannot be carried out; the text goes to the person."""

    def __init__(self, text: str, *, card: int | None = None, absent: bool = False) -> None:
        """``card``: the ALSA card that is perhaps in use; ``absent``: the device asked for is not in the list."""
        super().__init__(text)
        self.card, self.absent = card, absent


def choose(names: list[str], wanted: str) -> int:
    """Return the position of the device called ``wanted``: its exact name, else the only name that contains it.

    Raises:
        Refused: none, or several; the text lists what there is.
    """
    found = [i for i, name in enumerate(names) if wanted == name]
    found = found or [i for i, name in enumerate(names) if wanted.lower() in name.lower()]
    if len(found) == 1:
        return found[0]
    there = "; ".join(repr(name) for name in names) or "none"
    if found:
        raise Refused(f"{wanted!r} fits {len(found)} microphones; name one of: {there}")
    raise Refused(f"no microphone is called {wanted!r}; there is: {there}", absent=True)


def card_number(name: str) -> int | None:
    """Return the ALSA card in PortAudio's name of a device; None for what is no card, such as a sound server."""
    match = re.search(r"\(hw:(\d+),\d+\)$", name)
    return int(match[1]) if match else None


def inputs(sd: Any) -> list[dict[str, Any]]:
    """Return PortAudio's devices that can record."""
    return [device for device in sd.query_devices() if device["max_input_channels"] > 0]


def pick(sd: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Return the device the order asks for."""
    devices = inputs(sd)
    wanted = order.get("device")
    if order.get("card") is not None:
        found = [device for device in devices if card_number(device["name"]) == order["card"]]
        if not found:  # PortAudio leaves out what it could not open when it started
            text = f"{wanted} cannot be recorded from: PortAudio does not list it"
            raise Refused(text, card=order["card"], absent=True)
        return found[0]
    if wanted is not None:
        return devices[choose([device["name"] for device in devices], wanted)]
    default = sd.default.device[0]
    if default < 0:
        default = max((api["default_input_device"] for api in sd.query_hostapis()), default=-1)
    if default < 0:
        raise Refused("this machine has no microphone", absent=True)
    device: dict[str, Any] = sd.query_devices(default)
    return device


def rates(sd: Any, device: dict[str, Any], channels: int) -> list[int]:
    """Return which usual rates the device records at; empty when it is busy."""
    good = []
    for rate_hz in sorted({*RATES_HZ, round(device["default_samplerate"])}):
        with suppress(sd.PortAudioError):
            sd.check_input_settings(device["index"], channels=channels, dtype="float32", samplerate=rate_hz)
            good.append(rate_hz)
    return good


def refusal(sd: Any, device: dict[str, Any], channels: int, rate_hz: int, error: Exception) -> Refused:
    """Say why PortAudio did not open the device, and what it would have opened."""
    code = error.args[1] if len(error.args) > 1 else 0
    if code == INVALID_RATE:
        there = ", ".join(map(str, rates(sd, device, channels))) or "no usual rate"
        return Refused(f"{device['name']!r} does not record at {rate_hz} Hz; it offers: {there}")
    if code == INVALID_CHANNELS:
        return Refused(f"{device['name']!r} has {device['max_input_channels']} channels, not {channels}")
    if code == UNAVAILABLE:
        text = f"{device['name']!r} is busy or gone (another program may be recording from it)"
        return Refused(text, card=card_number(device["name"]))
    return Refused(f"{device['name']!r} did not open: {error.args[0] if error.args else error}")


def open_stream(sd: Any, order: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Open and start the stream; return it with what the parent wants to know.

    PortAudio opens a card as ALSA's ``hw:``: nothing is resampled, a rate that the card lacks is refused. Where the
    card records no floats, PortAudio takes the deepest integers it has (``PaUtil_SelectClosestAvailableFormat``: 32,
    24, 16 bits) and divides them by full scale; a float32 holds 24 bits and their sign exactly.
    """
    device = pick(sd, order)
    channels = order["channels"]
    rate_hz = order.get("rate_hz") or round(device["default_samplerate"])
    frames = max(1, round(order["block_s"] * rate_hz))
    try:
        stream = sd.RawInputStream(
            device=device["index"],
            channels=channels,
            samplerate=rate_hz,
            dtype="float32",
            blocksize=frames,
            latency=DEVICE_BUFFER_S,
        )
        stream.start()
    except sd.PortAudioError as error:
        raise refusal(sd, device, channels, rate_hz, error) from error
    return stream, {"name": device["name"], "rate_hz": rate_hz, "channels": channels, "block_frames": frames}


def load(order: dict[str, Any]) -> Any:
    """Import sounddevice, which starts PortAudio."""
    sys.path += order.get("path", [])  # isolated mode forgets where the parent found it
    try:
        import sounddevice  # noqa: PLC0415 - slow, and may fail: that failure is an answer
    except ModuleNotFoundError as error:
        raise Refused(f"the Python package {error.name} is not installed") from error
    except OSError as error:
        raise Refused(f"{error}; install it: apt install libportaudio2") from error
    return sounddevice


def listing(sd: Any) -> list[dict[str, Any]]:
    """Return what can be recorded from."""
    return [
        {
            "name": device["name"],
            "channels": device["max_input_channels"],
            "default_rate_hz": round(device["default_samplerate"]),
            "rates_hz": rates(sd, device, 1),
        }
        for device in inputs(sd)
    ]


def serve(order: dict[str, Any], out: int) -> None:
    """Carry out the order; returns only when it is a listing."""
    sd = load(order)
    if order["do"] == "list":
        say(out, {"devices": listing(sd)})
        return
    stream, opened = open_stream(sd, order)
    frames = opened["block_frames"]
    enlarge(out, int(PIPE_S * opened["rate_hz"] * opened["channels"] * 4))
    mixer = Mixer(opened["name"])
    say(out, {**opened, "settings": mixer.read()})
    threading.Thread(target=mixer.watch, args=(out,), daemon=True).start()
    while True:
        data, overflowed = stream.read(frames)
        kind = AFTER_OVERRUN if overflowed else SAMPLES
        write_all(out, HEADER.pack(time.monotonic_ns(), frames, kind) + bytes(data))


class Mixer:
    """The gain and switches of the device that is open; see ``mixer.py``, which lies beside this file."""

    def __init__(self, device_name: str) -> None:
        number = card_number(device_name)
        self._name = device_name if number is None else f"hw:{number}"
        spec = spec_from_file_location("mixer", Path(__file__).with_name("mixer.py"))
        assert spec is not None
        assert spec.loader is not None
        self._module = module_from_spec(spec)
        spec.loader.exec_module(self._module)
        self._known: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """Return the settings as they are now; that they cannot be read is one of them."""
        try:
            self._known = self._module.read_mixer(self._name)
        except self._module.MixerError as error:
            self._known = {"mixer": str(error)}
        return self._known

    def watch(self, out: int) -> None:
        """Send the settings whenever they have changed."""
        while True:
            time.sleep(WATCH_S)
            before = self._known
            if (now := self.read()) != before:
                data = json.dumps(now).encode()
                write_all(out, HEADER.pack(time.monotonic_ns(), len(data), SETTINGS) + data)


def enlarge(pipe: int, size: int) -> None:
    """Let a pipe hold ``size`` bytes, or as much of that as an ordinary user may have (1 MiB on most systems)."""
    while size > LEAST_PIPE_BYTES:
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            size //= 2
        else:
            return


def say(out: int, message: dict[str, Any]) -> None:
    """Send one line of JSON."""
    write_all(out, json.dumps(message).encode() + b"\n")


def write_all(out: int, data: bytes) -> None:
    """Write everything in one piece; waits while the parent is slow."""
    view = memoryview(data)
    with WRITING:
        while view:
            view = view[os.write(out, view) :]


def end_with_parent() -> None:
    """End this process at once when the parent closes our standard input or dies."""
    while os.read(0, 1024):
        pass
    os._exit(0)


def main() -> None:
    """Carry out the order in the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    out = os.dup(1)
    os.dup2(2, 1)  # what sound libraries print must not mix with the frames
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        serve(json.loads(sys.argv[1]), out)
    except Refused as refused:
        say(out, {"error": str(refused), "card": refused.card, "absent": refused.absent})
    except BrokenPipeError:
        os._exit(0)
    # BLE001: whatever it is, its text is the last thing the parent hears of this process
    except Exception as error:  # noqa: BLE001
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)  # PortAudio's own clean-up may hang


if __name__ == "__main__":
    main()
