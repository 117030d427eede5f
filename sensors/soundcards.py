"""Which sound card is which: the stable identity of USB sound devices, read from /proc and /sys."""

from __future__ import annotations

import re
from pathlib import Path

from sensors.errors import SensorUnavailable

ROOT = Path("/")
PROC = "proc/asound"
SYS = "sys/class/sound"
PORTAUDIO_CARD = re.compile(r"\s*\(hw:(\d+),\d+\)$")


def usb_cards(root: Path = ROOT) -> dict[int, str]:
    """Return card number -> ``usb:VVVV:PPPP:SERIAL`` (without the serial where the device has none)."""
    cards = {}
    for usbid in sorted((root / PROC).glob("card*/usbid")):
        number = int(usbid.parent.name.removeprefix("card"))
        serial = _text(root / SYS / f"card{number}" / "device" / ".." / "serial")  # the parent of the USB interface
        cards[number] = ":".join(part for part in ("usb", _text(usbid).lower(), serial) if part)
    return cards


def card_of(device: str, name: str, root: Path = ROOT) -> int:
    """Return the number of the card called ``usb:VVVV:PPPP[:SERIAL]``.

    Raises:
        SensorUnavailable: it is not plugged in, or several fit; the message lists what there is.
    """
    cards = usb_cards(root)
    wanted = device.lower()
    found = [n for n, usb in cards.items() if usb.lower() == wanted or usb.lower().startswith(wanted + ":")]
    if len(found) == 1:
        return found[0]
    there = ", ".join(cards.values()) or "none"
    if found:
        raise SensorUnavailable(name, f"{device} fits {len(found)} sound cards, add the serial: {there}")
    raise SensorUnavailable(name, f"no USB sound card {device}; plugged in: {there}")


def stable_name(portaudio_name: str, root: Path = ROOT) -> str:
    """Return a name that survives restarts: the USB identity, else PortAudio's name without the card number."""
    if (match := PORTAUDIO_CARD.search(portaudio_name)) is None:
        return portaudio_name
    return usb_cards(root).get(int(match[1]), portaudio_name[: match.start()])


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
