"""What can go wrong with a sensor, and who acts.

SensorError
 +-- SensorUnavailable  it cannot be opened now (absent, busy, no permission, not audio): capture tries again later
 +-- SensorFault        it was open and failed (unplugged, stalled): capture closes and reopens it
 +-- SensorEnded        a recording played to its end: nothing is reopened, the point is no longer monitored
"""

from __future__ import annotations


class SensorError(Exception):
    """Base of every error a driver raises; ``device`` is the name the configuration gives it."""

    def __init__(self, device: str, message: str) -> None:
        super().__init__(f"{device}: {message}")
        self.device = device
        self.message = message


class SensorUnavailable(SensorError):  # noqa: N818 - named for who acts
    """The device cannot be opened now; the message says why and what would mend it."""


class SensorFault(SensorError):  # noqa: N818 - named for who acts
    """The device was open and stopped delivering sound samples."""


class SensorEnded(SensorError):  # noqa: N818 - named for who acts
    """A recording that is not looped has been played to its end."""
