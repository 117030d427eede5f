"""The orders of a guided enrollment, as command line, MQTT and page send them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from echo_edge.config_model import ID_PATTERN

MAX_MINUTES = 14 * 24 * 60.0
LATEST_NS = 2**62  # the year 2116: what lies beyond is a mistake, and the end of what can be written as a date is near
Time = Annotated[int, Field(ge=0, le=LATEST_NS)]
Name = Annotated[str, Field(max_length=80)]


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    point: str


class EnrollStart(_Order):
    """Begin to teach a normal state: from the live stream, from recordings, or from what was kept of past hours."""

    order: Literal["enroll.start"]
    state: str = Field(default="run", pattern=ID_PATTERN)
    minutes: float = Field(default=10.0, gt=0, le=MAX_MINUTES)
    """Of useful signal, from the live stream."""

    files: list[Path] = []
    scale: float | None = Field(default=None, gt=0)
    past_ns: tuple[Time, Time] | None = None
    """From and to, nanoseconds since 1970 UTC."""

    by: Name = ""
    note: str = Field(default="", max_length=500)
    healthy: bool = False


class EnrollStatus(_Order):
    """How far is it? Also tells how the latest one ended."""

    order: Literal["enroll.status"]


class EnrollWatch(_Order):
    """Be told of every step until it is over."""

    order: Literal["enroll.watch"]
    session: str


class EnrollAccept(_Order):
    """Put what was learned in force."""

    order: Literal["enroll.accept"]
    session: str
    by: Name = ""
    healthy: bool = False


class EnrollExtend(_Order):
    """Listen for longer, then test again."""

    order: Literal["enroll.extend"]
    session: str
    minutes: float = Field(gt=0, le=MAX_MINUTES)


class EnrollReject(_Order):
    """End it, at any time; nothing is changed."""

    order: Literal["enroll.reject"]
    session: str
    by: Name = ""
    why: str = Field(default="", max_length=500)


EnrollOrder = EnrollStart | EnrollStatus | EnrollAccept | EnrollExtend | EnrollReject
"""Answered at once; ``EnrollWatch`` is not."""
