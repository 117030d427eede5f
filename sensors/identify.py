"""What speaks on a port, judged by what it sent: one of our protocols, text, or nothing that has a form."""

from __future__ import annotations

from sensors.ascii_csv import NUMBER
from sensors.protocol import ProtocolError
from sensors.protocols import PROTOCOLS, make_protocol

GOOD_FRAMES = {"ee1": 1, "picoquake": 1, "witmotion": 3, "csv": 3}
"""So many good frames are no accident, by protocol: a checksum of 32 bits needs one."""

TEXT_SHARE = 0.95
SHOWN = 40  # bytes of a text in the message


def ask_all(*, but: str) -> bytes:
    """Return what every other protocol asks; none of it changes anything in the sensor."""
    return b"".join(make_protocol(name).ask() for name in PROTOCOLS if name != but)


def speaker(data: bytes) -> str | None:
    """Return the protocol that finds good frames in ``data``; lines of numbers are ``csv``, however many they hold."""
    for name in PROTOCOLS:
        protocol = make_protocol(name)
        try:
            protocol.push(data)
        except ProtocolError:
            return name  # it understood enough to object
        if protocol.good_frames >= GOOD_FRAMES[name]:
            return name
    lines = [line.rstrip(b"\r") for line in data.split(b"\n")[1:-1]]
    numbers = [line for line in lines if b"," in line and not line.translate(None, NUMBER)]
    return "csv" if len(numbers) >= max(GOOD_FRAMES["csv"], len(lines) // 2) else None


def what_speaks(data: bytes) -> str:
    """Return who speaks on a port and what to do, as the end of a message; ``data`` is not empty."""
    name = speaker(data)
    if name is not None:
        return f"{name} speaks there; write protocol: {name}"
    text = sum(0x20 <= byte < 0x7F or byte in b"\t\r\n" for byte in data)
    if text >= TEXT_SHARE * len(data):
        return f"{len(data)} bytes of text came ({data[:SHOWN].decode('ascii', 'replace')!r}); check the port"
    return f"{len(data)} bytes without any form came: check baud, then the port"
