"""Which sound card is which, what it can do, and why it cannot be used: read from /proc, /sys and /dev."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sensors.errors import SensorUnavailable

ROOT = Path("/")
PROC = "proc/asound"
SEQUENCES = "0123456789abcdef", "1234567890"
SYS = "sys/class/sound"
PORTAUDIO_CARD = re.compile(r"\s*\(hw:(\d+),\d+\)$")
BITS = {"S8": 8, "U8": 8, "S16_LE": 16, "S16_BE": 16, "S24_3LE": 24, "S24_3BE": 24, "S24_LE": 24, "S32_LE": 32}


@dataclass(frozen=True)
class UsbCard:
    """A USB sound device that is plugged in."""

    number: int
    """ALSA's card number: changes from boot to boot, so it never leaves this machine's memory."""

    usb: str
    """Vendor and product, ``0d8c:0014``."""

    serial: str
    path: str
    """The port as the kernel names it, ``1-2.3``: bus 1, port 2 of the root hub, port 3 of the hub in it."""

    product: str

    def forms(self) -> tuple[str, ...]:
        """Return every way to write this card, from the vaguest to the one that fits nothing else."""
        vague = f"usb:{self.usb}"
        named = [f"{vague}:{self.serial}"] if self.serial else []
        placed = [f"{form}@{self.path}" for form in (vague, *named)]
        return (vague, *named, *placed)


def usb_cards(root: Path = ROOT) -> list[UsbCard]:
    """Return the USB sound devices that are plugged in."""
    cards = []
    for usbid in sorted((root / PROC).glob("card*/usbid")):
        number = int(usbid.parent.name.removeprefix("card"))
        usb = (root / SYS / f"card{number}" / "device").resolve().parent  # the link leads to one of its interfaces
        cards.append(UsbCard(number, _text(usbid).lower(), _text(usb / "serial"), usb.name, _text(usb / "product")))
    return cards


def usb_names(root: Path = ROOT) -> dict[int, str]:
    """Return card number -> stable name.

    That is ``usb:VVVV:PPPP:SERIAL`` where the serial number tells devices apart and no other card that is plugged in
    has the same, else with the port: ``usb:VVVV:PPPP:SERIAL@1-2.3``, or ``usb:VVVV:PPPP@1-2.3`` without a number.
    """
    cards = usb_cards(root)
    named = [f"{card.usb}:{card.serial}".lower() for card in cards]
    return {
        card.number: card.forms()[1] if tells_apart(card.serial) and named.count(name) == 1 else card.forms()[-1]
        for card, name in zip(cards, named, strict=True)
    }


def tells_apart(serial: str) -> bool:
    """Return whether a serial number is one: many makers give every device the same ``0001`` or ``123456``."""
    counted = serial.lower() in SEQUENCES[0] or serial in SEQUENCES[1]
    return len(set(serial)) > 1 and not counted and not re.fullmatch(r"0*\d{0,4}", serial)


def card_of(device: str, name: str, root: Path = ROOT) -> int:
    """Return the number of the card called ``usb:VVVV:PPPP[:SERIAL][@PORT]``; never one of several.

    Raises:
        SensorUnavailable: it is not plugged in, or several fit; the message lists what there is.
    """
    cards, names = usb_cards(root), usb_names(root)
    found = [card for card in cards if device.lower() in (form.lower() for form in card.forms())]
    if len(found) == 1:
        return found[0].number
    there = ", ".join(sorted(names.values())) or "none"
    if found:
        fitting = ", ".join(sorted(names[card.number] for card in found))
        raise SensorUnavailable(name, f"{device} fits {len(found)} sound cards; name one of: {fitting}")
    raise SensorUnavailable(name, f"no USB sound card {device}; plugged in: {there}")


def stable_name(portaudio_name: str, root: Path = ROOT) -> str:
    """Return a name that survives restarts: the USB identity, else PortAudio's name without the card number."""
    if (match := PORTAUDIO_CARD.search(portaudio_name)) is None:
        return portaudio_name
    return usb_names(root).get(int(match[1]), portaudio_name[: match.start()])


def card_number(portaudio_name: str) -> int | None:
    """Return the card that PortAudio's name means; None for a sound server or another device without a card."""
    match = PORTAUDIO_CARD.search(portaudio_name)
    return int(match[1]) if match else None


def product_names(number: int, root: Path = ROOT) -> list[str]:
    """Return the names a USB card gives itself, longest first: ALSA cuts the one that PortAudio shows to 31 letters."""
    stream = _text(root / PROC / f"card{number}" / "stream0").partition("\n")[0]
    product = [card.product for card in usb_cards(root) if card.number == number]
    return [name for name in (*product, stream) if name]


@dataclass(frozen=True)
class NativeFormat:
    """What a USB card records in, by its own descriptors."""

    depth_bits: int
    """Of the deepest format; 32 for floats too."""

    is_float: bool
    rates_hz: tuple[int, ...]
    """Every rate that is listed; for a continuous range its two ends."""

    def __str__(self) -> str:
        return f"{self.depth_bits} bit{' float' if self.is_float else ''}"

    @property
    def step(self) -> float | None:
        """The difference between two neighbouring samples when full scale is 1; None for floats."""
        return None if self.is_float else 2.0 ** (1 - self.depth_bits)


def native_format(number: int, root: Path = ROOT) -> NativeFormat | None:
    """Return what a USB card captures, from ``/proc/asound/cardN/stream0``; None for cards that do not tell."""
    capture = _text(root / PROC / f"card{number}" / "stream0").partition("Capture:")[2]
    depths: list[tuple[int, bool]] = []
    rates_hz: set[int] = set()
    for setting in capture.split("Altset")[1:]:
        values = dict(re.findall(r"^\s*(Format|Rates|Bits):\s*(.+)$", setting, re.MULTILINE))
        form = values.get("Format", "")
        if form.startswith("FLOAT"):
            depths.append((32, True))
        elif form in BITS:
            bits = re.match(r"\d+", values.get("Bits", ""))  # S32_LE often carries 24; older kernels do not say
            depths.append((min(BITS[form], int(bits[0])) if bits and int(bits[0]) else BITS[form], False))
        rates_hz |= {int(rate) for rate in re.findall(r"\d+", values.get("Rates", ""))}
    if not depths:
        return None
    depth_bits, is_float = max(depths)
    return NativeFormat(depth_bits, is_float, tuple(sorted(rates_hz)))


def capture_cards(root: Path = ROOT) -> dict[int, str]:
    """Return card number -> ALSA's name of it, for every card that has an input."""
    numbers = {int(pcm.parent.name.removeprefix("card")) for pcm in (root / PROC).glob("card[0-9]*/pcm*c")}
    return {number: _text(root / PROC / f"card{number}" / "id") or f"card {number}" for number in sorted(numbers)}


def holder(number: int, root: Path = ROOT) -> str:
    """Return who records from a card, as ``arecord (pid 812)``; empty when nobody does."""
    for status in sorted((root / PROC / f"card{number}").glob("pcm*c/sub*/status")):
        if (match := re.search(r"^owner_pid\s*:\s*(\d+)", _text(status), re.MULTILINE)) is not None:
            return f"{_text(root / 'proc' / match[1] / 'comm') or 'another program'} (pid {match[1]})"
    return ""


def may_use(node: Path) -> bool:
    """Return whether this process may open a device node."""
    return os.access(node, os.R_OK | os.W_OK)


def permission_problem(root: Path = ROOT, may: Callable[[Path], bool] = may_use) -> str:
    """Return why this process may not record from any card, and the mend; empty when it may, or there is none."""
    nodes = sorted((root / "dev/snd").glob("pcmC*D*c"))
    if not nodes or any(may(node) for node in nodes):
        return ""
    return "no permission for /dev/snd: add the user to group audio (usermod -aG audio USER) and start anew"


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""
