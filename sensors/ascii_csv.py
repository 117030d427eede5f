"""Lines of numbers as text, as an Arduino prints them: ``t_us,ax,ay,az``. For demonstrations, up to about 1 kHz.

    # rate=1000 unit=g scale=0.001 cols=t_us,ax,ay,az      a header is optional; it may come again at any time
    1000500,-12,7,1003                                     decimal numbers, LF or CRLF, at most 256 bytes

``t_us`` counts microseconds modulo 2**32: with it missing lines are seen and counted, without it only lines that came
damaged. There is **no checksum**: a line passes when it has the right number of numbers and its time fits that of a
neighbour. A digit that turned into another digit passes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from sensors.counted_runs import CountedRuns
from sensors.csv_columns import SKIPPED, TIME, TIME_SPAN, check_columns, measured_rate_hz
from sensors.protocol import PLAUSIBLE_GAP_S, Protocol, ProtocolError, Samples, SensorCard

MAX_LINE = 256  # bytes
COLUMNS = (TIME, "ax", "ay", "az")
NUMBER = b"0123456789+-.eE, "
MOST = 1e15  # no sensor sends a larger number, and none may leave what f32 can hold
LINES_FOR_RATE = 32
RATE_TOLERANCE = 0.05
AXES = 3


class AsciiCsv(Protocol):
    """Lines of comma-separated numbers."""

    name = "csv"

    def __init__(
        self,
        counters: Counter[str] | None = None,
        *,
        rate_hz: float | None = None,
        unit: str | None = None,
        scale: float | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Options go before what a header says.

        Args:
            counters: where to count.
            rate_hz: needed without ``t_us``, and where the time is too coarse to tell it.
            unit: of the numbers after scaling.
            scale: units per number.
            columns: what a line holds: ``t_us`` or not, a name for each channel, ``-`` for what is to be left out.
        """
        super().__init__(counters)
        self._rate_hz, self._unit, self._scale = rate_hz, unit, scale
        self._columns = COLUMNS if columns is None else check_columns(columns)
        given = {"rate": rate_hz, "unit": unit, "scale": scale, "cols": columns}
        self._given = {key for key, value in given.items() if value is not None}
        self._rest = b""
        self._lost_place = self._at_start = True  # we may have come in the middle of a line
        self._times_us: list[int] = []
        self._widths: Counter[int] = Counter()
        self._runs: CountedRuns | None = None
        self._gap = False

    def why_unknown(self) -> str:
        """Say what would help."""
        if self._widths and not self._widths[len(self._columns)]:
            width = self._widths.most_common(1)[0][0]
            return f"its lines hold {width} numbers, not {','.join(self._columns)}: give columns"
        if self._unit is None:
            return "it does not say its unit: give unit (and scale)"
        if TIME not in self._columns:
            return f"it sends no {TIME} that would tell its rate: give rate_hz"
        return f"fewer than {LINES_FOR_RATE} good lines came: too slow a rate, or a wrong baud"

    def push(self, data: bytes) -> list[Samples]:
        """Take what arrived."""
        runs: list[Samples] = []
        rows = []
        for line in self._lines(data):
            if line[:1] == b"#":
                self._read_header(line)
            elif (row := self._numbers(line)) is not None:
                rows.append(row)
            elif line:
                self.counters["bad_frames"] += 1
                self.counters["garbage_bytes"] += len(line)
                if TIME not in self._columns:  # nothing else will tell that something is missing here
                    runs += self._samples(rows)
                    rows, self._gap = [], True
        return runs + self._samples(rows)

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines that became whole; hold at most ``MAX_LINE`` bytes."""
        if self._at_start and data:
            self._lost_place, self._at_start = data[:1] != b"#", False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines and self._lost_place:
            self.counters["garbage_bytes"] += len(lines[0])
            self._lost_place = False
            del lines[0]
        if len(self._rest) > MAX_LINE:
            self.counters["garbage_bytes"] += len(self._rest)
            self.counters["bad_frames"] += not self._lost_place
            self._rest, self._lost_place, self._gap = b"", True, TIME not in self._columns
        return [line.rstrip(b"\r") for line in lines]

    def _numbers(self, line: bytes) -> list[float] | None:
        """Return the numbers of a line, None when it is none of ours."""
        if len(line) > MAX_LINE or line.translate(None, NUMBER):
            return None
        try:
            row = list(map(float, line.split(b",")))
        except ValueError:
            return None
        if self.card is None:
            self._widths[len(row)] += 1
        if len(row) != len(self._columns) or not max(map(abs, row)) <= MOST:  # false for what is no number, too
            return None
        if self._columns[0] == TIME and not (0 <= row[0] < TIME_SPAN and row[0].is_integer()):
            return None
        self.good_frames += 1
        return row

    def _samples(self, rows: list[list[float]]) -> list[Samples]:
        """Turn lines that follow each other into samples."""
        if not rows:
            return []
        if self.card is None:
            self._learn(rows)
            return []
        array = np.array(rows)
        values = (array[:, self._channels()] * (self._scale or 1.0)).astype(np.float32)
        if self._runs is not None:
            return self._runs.push(array[:, 0].astype(np.uint32), values)
        gap, self._gap = self._gap, False
        return [Samples(values, gap)]

    def _channels(self) -> list[int]:
        return [i for i, name in enumerate(self._columns) if name not in (TIME, SKIPPED)]

    def _learn(self, rows: list[list[float]]) -> None:
        """Make the card as soon as unit and rate are known."""
        timed = self._columns[0] == TIME
        if timed:
            self._times_us += [int(row[0]) for row in rows[: LINES_FOR_RATE - len(self._times_us)]]
        if self._unit is None or len(self._times_us) < LINES_FOR_RATE * timed or not (timed or self._rate_hz):
            return
        if timed:
            measured_hz = measured_rate_hz(self._times_us)
            if self._rate_hz is not None and abs(measured_hz / self._rate_hz - 1) > RATE_TOLERANCE:
                raise ProtocolError(f"its {TIME} tells of {measured_hz:g} samples per second, not {self._rate_hz:g}")
            self._rate_hz = self._rate_hz or measured_hz
        rate_hz = float(self._rate_hz or 0)
        if timed:
            self._runs = CountedRuns(self.counters, 1e6 / rate_hz, plausible_periods=PLAUSIBLE_GAP_S * rate_hz)
        channels = len(self._channels())
        self._gap = False
        self.card = SensorCard(
            identity="",
            rate_hz=rate_hz,
            channels=channels,
            unit=self._unit,
            gravity=self._unit == "g" and channels == AXES,
            calibration="configuration" if self._given & {"unit", "scale"} else "sensor",
            settings=(("scale", f"{self._scale or 1:g}"), ("columns", ",".join(self._columns))),
        )

    def _read_header(self, line: bytes) -> None:
        """Take ``key=value`` pairs; what the configuration gives goes before them."""
        pairs = (word.partition("=") for word in line[1:].decode("ascii", "replace").split())
        said = {key: value for key, _, value in pairs if key in ("rate", "unit", "scale", "cols")}
        try:
            rate_hz, scale = float(said.get("rate", 1)), float(said.get("scale", 1))
            columns = check_columns(said.get("cols", ",".join(self._columns)).split(","))
            if not (1 <= rate_hz < math.inf and 0 < abs(scale) <= MOST and said.get("unit", "g").isprintable()):
                raise ValueError("no rate, scale or unit")
        except ValueError:
            self.counters["bad_frames"] += 1
            return
        self.good_frames += bool(said)
        for key in self._given & set(said):
            del said[key]
        if self.card is not None:
            self._insist(said, columns)
            return
        self._rate_hz = rate_hz if "rate" in said else self._rate_hz
        self._scale = scale if "scale" in said else self._scale
        self._unit = said.get("unit", self._unit)
        if "cols" in said and columns != self._columns:
            self._columns, self._times_us = columns, []

    def _insist(self, said: dict[str, str], columns: tuple[str, ...]) -> None:
        """Refuse a header that contradicts the card."""
        rate_hz = self._rate_hz or 1.0
        changed = {
            "rate": abs(float(said.get("rate", rate_hz)) / rate_hz - 1) > RATE_TOLERANCE,
            "unit": said.get("unit", self._unit) != self._unit,
            "scale": float(said.get("scale", self._scale or 1)) != (self._scale or 1),
            "cols": "cols" in said and columns != self._columns,
        }
        if any(changed.values()):
            what = ", ".join(f"{key}={said[key]}" for key, is_new in changed.items() if is_new)
            raise ProtocolError(f"became another sensor: its header now says {what}")
