"""A microphone's calibration: what its file says, and the filter that makes its response flat. Pure; scipy when used.

Shape suffixes: T = frames, C = channels, F = rows of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sensors.block import Block
from sensors.continuity import NS

Sign = Literal["response", "correction"]
COMMENTS = ("*", '"', "#", ";")
SENS_FACTOR = re.compile(r"sens\s*factor\s*=\s*([-+]?[\d.]+)\s*dB", re.IGNORECASE)
SERIAL = re.compile(r"ser(?:ial)?\s*(?:no|nr)\s*:\s*([\w-]+)", re.IGNORECASE)
AT_1_KHZ = re.compile(r"^\*\s*1000\s*Hz\s+([-+]?[\d.]+)", re.IGNORECASE)
LIMIT_DB = 20.0  # a larger correction would mostly raise noise
HALF_S = 0.1  # half the filter's length: detail finer than about 10 Hz is smoothed


@dataclass(frozen=True)
class CalibrationFile:
    """What a calibration file says."""

    name: str
    frequencies_hz_f: NDArray[np.float64]
    levels_db_f: NDArray[np.float64]
    serial: str = ""
    note: str = ""
    """What the head says about the sensitivity, for people; it is not used.

    ``Sens Factor`` (UMIK) is relative to a value that depends on the model, its analogue gain and the volume that the
    operating system has set, and programs disagree about it: some read it as dBFS at 94 dB SPL, some add 100 dB and
    24 dB of preamplifier, some add the ``AGain`` beside it. ``*1000Hz -36.6`` (Dayton) is in dBV per pascal and says
    nothing about the sound card. Measure ``sensitivity_dbfs`` with a calibrator instead.
    """


def read_calibration(path: Path) -> CalibrationFile:
    """Read ``frequency<tab or space>dB`` rows; a third column (phase) is ignored.

    Raises:
        ValueError: it cannot be read or is no such file; the message names the file, the line and the value.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    rows: list[tuple[float, float]] = []
    head = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(COMMENTS):
            head.append(line)
            continue
        try:
            rows.append(_row(line, rows[-1][0] if rows else 0.0))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    if len(rows) < 2:
        raise ValueError(f"{path}: {len(rows)} rows of frequency and dB; a calibration has at least 2")
    frequencies, levels = np.array(rows).T
    return CalibrationFile(path.name, frequencies, levels, _first(SERIAL, head), _note(head))


def _row(line: str, before_hz: float) -> tuple[float, float]:
    columns = line.split()
    hint = "; write decimals with a point and separate the columns by a tab or space" if "," in line else ""
    if len(columns) < 2:
        raise ValueError(f"{line[:40]!r} is no row of frequency and dB{hint}")
    values = []
    for column in columns[:2]:
        try:
            values.append(float(column))
        except ValueError:
            raise ValueError(f"{column[:40]!r} is no number{hint}") from None
    frequency_hz, level_db = values
    if not np.isfinite(values).all():
        raise ValueError(f"{line[:40]!r} holds what is no finite number")
    if frequency_hz <= before_hz:
        raise ValueError(f"frequency {frequency_hz:g} does not rise above the one before ({before_hz:g})")
    return frequency_hz, level_db


def _first(pattern: re.Pattern[str], lines: list[str]) -> str:
    return next((match[1] for line in lines if (match := pattern.search(line))), "")


def _note(head: list[str]) -> str:
    if factor := _first(SENS_FACTOR, head):
        return f"Sens Factor {factor} dB"
    if level := _first(AT_1_KHZ, head):
        return f"{level} dB at 1000 Hz"
    return ""


def correction_db(file: CalibrationFile, sign: Sign, frequencies_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what to add at some frequencies: linear over log frequency, flat outside the file, within +-20 dB.

    Args:
        sign: ``response``: the file says how much too loud the microphone hears, so it is subtracted (UMIK, REW);
            ``correction``: the file says what to add.
        frequencies_hz: any shape; 0 is allowed.
    """
    lowest = file.frequencies_hz_f[0]
    log_hz = np.log(np.maximum(frequencies_hz, lowest))
    level_db = np.interp(log_hz, np.log(file.frequencies_hz_f), file.levels_db_f)
    return np.asarray(np.clip(-level_db if sign == "response" else level_db, -LIMIT_DB, LIMIT_DB), dtype=np.float64)


class ResponseFilter:
    """Makes a microphone's response flat by a filter of linear phase, 0.2 s long.

    The filter needs 0.1 s before and after every sample, so that much is missing at the start and at both sides of
    every gap: nothing is invented, and no output was made of samples from both sides of a gap. Times and indices are
    those of the samples at the filter's middle: its delay shows only in when a block comes.
    """

    def __init__(self, file: CalibrationFile, sign: Sign, rate_hz: int) -> None:
        from scipy.signal import firwin2  # noqa: PLC0415 - slow to load, and few microphones have a file

        self._rate_hz = rate_hz
        self._half = max(1, round(HALF_S * rate_hz))
        grid_hz = np.linspace(0, rate_hz / 2, 2 * self._half + 1)
        gain = 10 ** (correction_db(file, sign, grid_hz) / 20)
        self._taps_t1 = firwin2(2 * self._half + 1, grid_hz, gain, fs=rate_hz)[:, None]
        self._held_tc: NDArray[np.float32] | None = None
        self._gap = False
        self._next_index: int | None = None

    def push(self, block: Block) -> Block | None:
        """Take the next block; return what of the signal has become certain, None when that is nothing yet."""
        from scipy.signal import oaconvolve  # noqa: PLC0415 - see above

        if block.after_gap or self._held_tc is None:
            self._held_tc = block.samples[:0]
            self._gap = self._gap or block.after_gap
        x_tc = np.concatenate([self._held_tc, block.samples])
        frames = len(x_tc) - 2 * self._half
        if frames <= 0:
            self._held_tc = x_tc
            return None
        self._held_tc = x_tc[frames:]
        y_tc = oaconvolve(x_tc.astype(np.float64), self._taps_t1, mode="valid", axes=0).astype(np.float32)
        back = len(x_tc) - len(block.samples) - self._half  # how far the output begins before this block
        back_ns = round(back * NS / self._rate_hz)
        index = block.index - back
        lost = index - self._next_index if self._gap and self._next_index is not None else 0
        done = replace(
            block,
            samples=y_tc,
            time_ns=block.time_ns - back_ns,
            monotonic_ns=block.monotonic_ns - back_ns,
            index=index,
            after_gap=self._gap,
            lost_frames=lost,
        )
        self._gap, self._next_index = False, index + frames
        return done
