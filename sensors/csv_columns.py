"""What a line of numbers holds, and what rate the times in it tell. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensors.protocol import ProtocolError

TIME, SKIPPED = "t_us", "-"
TIME_SPAN = 1 << 32
MAX_COLUMNS = 17


def check_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns.

    Raises:
        ValueError: they cannot be what a line holds; the text says why.
    """
    if TIME in columns[1:]:
        raise ValueError(f"columns: {TIME} comes first, and once")
    if not set(columns) - {TIME, SKIPPED} or len(columns) > MAX_COLUMNS:
        raise ValueError(f"columns: {len(columns)} of them, without a channel or more than {MAX_COLUMNS}")
    return tuple(columns)


def measured_rate_hz(times_us: Sequence[int]) -> float:
    """Return the rate that the times of consecutive samples tell; missing ones do not disturb it.

    The median of the steps where it is what they are on average: a loop that waits whole microseconds, the same at
    every start. Otherwise the average: 3 kHz are steps of 333 and 334.

    Raises:
        ProtocolError: the time stands still, or no rate of 1 Hz or more comes out.
    """
    steps_us = np.mod(np.diff(np.array(times_us, dtype=np.int64)), TIME_SPAN)
    median_us = float(np.median(steps_us))
    average_us = float(steps_us[np.abs(steps_us - median_us) <= 0.2 * median_us].mean())
    if not 1 <= average_us <= 1e6:
        raise ProtocolError(f"its {TIME} moves by {median_us:g} from line to line, which is no rate: give columns")
    if abs(average_us - median_us) < 0.2:
        return 1e6 / median_us
    rate_hz = 1e6 / average_us
    return float(round(rate_hz)) if abs(round(rate_hz) / rate_hz - 1) < 1e-3 else rate_hz
