"""Whether the system clock can be trusted: what the kernel knows of it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
STA_NANO = 0x2000  # the offset is in nanoseconds
STA_UNSYNC = 0x0040


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), as far as it is read here; what follows is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """What the kernel says of the system clock."""

    synced: bool
    """Something (NTP, PTP, GPS) disciplines it, and the error is bounded."""

    offset_ms: float
    """What is still to be corrected."""

    max_error_ms: float


def read_clock() -> Clock | None:
    """Ask the kernel; None where it cannot be asked."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))  # modes 0: nothing is set, so anybody may
    except (AttributeError, OSError):
        return None
    if state < 0:
        return None
    synced = state != TIME_ERROR and not timex.status & STA_UNSYNC
    per_ms = 1e6 if timex.status & STA_NANO else 1e3
    return Clock(synced, timex.offset / per_ms, timex.maxerror / 1e3)
