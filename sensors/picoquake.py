"""PicoQuake as a protocol: we choose rate and range, the device info is the card, the count tells what is lost.

There is **no checksum** in this format. A sample passes when its frame has the one right length and opens, all numbers
are finite and within the ranges set, each is a whole number of the sensor's steps (the firmware divides 16-bit readings
by a power of two, ``firmware/src/ICM42688P.cpp``), and its count continues one of its neighbours. What still passes is
a damaged acceleration that again is a whole number of steps within the range: the sign, or one of the upper bits. USB
guards the wire with a CRC of its own; what this cannot see would have to go wrong inside the device.

Source: PLab-SI/PicoQuake (firmware, ``msg/messages.proto``, ``python/picoquake/configuration.py``).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.counted_runs import CountedRuns
from sensors.picoquake_frames import (
    COMMAND,
    DEVICE_INFO,
    HANDSHAKE,
    SEALED,
    START,
    STATUS,
    STOP,
    Splitter,
    encode_message,
    read_message,
)
from sensors.protocol import PLAUSIBLE_GAP_S, Protocol, ProtocolError, Samples, SensorCard

RATES_HZ = (12.5, 25.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0)
DEFAULT_RATE_HZ = 2000.0  # the firmware's own notes tell of missing samples at 4000
RANGES_G = (2, 4, 8, 16)
ROTATION_RANGE_DPS, ROTATION_INDEX = 2000.0, 7
STEPS = 32768  # per range: 16-bit readings
# cut-offs of the sensor's second-order low-pass, by index
FILTERS_HZ = (
    *(42, 84, 126, 170, 213, 258, 303, 348, 394, 441, 488, 536, 585, 634, 684, 734, 785, 837, 890, 943, 997),
    *(1051, 1107, 1163, 1220, 1277, 1336, 1395, 1454, 1515, 1577, 1639, 1702, 1766, 1830, 1896, 1962, 2029),
    *(2097, 2166, 2235, 2306, 2377, 2449, 2522, 2596, 2671, 2746, 2823, 2900, 2978, 3057, 3137, 3217, 3299),
    *(3381, 3464, 3548, 3633, 3718, 3805, 3892, 3979),
)
FILTER_SHARE = 0.4  # of the rate: below it a second-order low-pass leaves little to alias; 42 Hz is the lowest there is
ERROR = 2  # status.state
HOTTEST_C = 150.0  # a status always has a temperature, and the chip lives within -40 to 85
ERRORS = {1: "it cannot talk to its sensor chip"}
FRESH_S = 0.25  # a count this young is a new beginning
STALE_S = 2.0  # for how long samples of an earlier start may still come
OFF_STEPS = 64  # so many samples in a row between the steps: this firmware does something else to them


class PicoQuake(Protocol):
    """PicoQuake: three axes of acceleration in g (its rotations are checked and left)."""

    name = "picoquake"

    def __init__(
        self, counters: Counter[str] | None = None, *, rate_hz: float = DEFAULT_RATE_HZ, range_g: float = 16
    ) -> None:
        super().__init__(counters)
        if rate_hz not in RATES_HZ:
            raise ValueError(f"rate_hz {rate_hz:g} is none of {', '.join(f'{r:g}' for r in RATES_HZ)}")
        if range_g not in RANGES_G:
            raise ValueError(f"range_g {range_g:g} is none of {', '.join(map(str, RANGES_G))}")
        self._rate_hz, self._range_g = float(rate_hz), int(range_g)
        self._filter = max((i for i, f in enumerate(FILTERS_HZ) if f <= FILTER_SHARE * rate_hz), default=0)
        self._splitter = Splitter()
        self._runs = self._fresh_runs()
        self._count: int | None = None
        self._stale_count: int | None = None
        self._stale_frames = 0
        self._whole_steps = True
        self._off_steps = 0
        self._missed: int | None = None
        self._failures = 0

    def ask(self) -> bytes:
        """Ask for the device info."""
        return encode_message(COMMAND, {1: HANDSHAKE})

    def start(self) -> bytes:
        """End what an earlier program may have started, and start anew with our rate, range and filter."""
        self._stale_count, self._stale_frames = self._count, 0
        self._runs = self._fresh_runs()
        return self.stop() + encode_message(
            COMMAND,
            {
                1: START,
                2: self._filter,
                3: RATES_HZ.index(self._rate_hz),
                4: RANGES_G.index(self._range_g),
                5: ROTATION_INDEX,
            },
        )

    def stop(self) -> bytes:
        """Ask it to stop."""
        return encode_message(COMMAND, {1: STOP})

    def push(self, data: bytes) -> list[Samples]:
        """Take what arrived."""
        found = self._splitter.push(data)
        self.counters["bad_frames"] += found.bad_frames
        self.counters["garbage_bytes"] += found.garbage_bytes
        for kind, payload in found.others:
            try:
                self._message(kind, read_message(payload))
            except (ValueError, TypeError) as error:
                if isinstance(error, ProtocolError):
                    raise
                self.counters["bad_frames"] += 1
                self.counters["garbage_bytes"] += len(payload) + 2
        samples = found.samples[self._credible(found.samples)]
        incredible = len(found.samples) - len(samples)
        self.counters["bad_frames"] += incredible
        self.counters["garbage_bytes"] += incredible * (SEALED + 1)
        self.good_frames += len(samples)
        if len(samples):
            samples = self._of_our_start(samples)
        return self._runs.push(samples["count"].copy(), samples["acceleration"].copy()) if self.card else []

    def _fresh_runs(self) -> CountedRuns:
        return CountedRuns(
            self.counters,
            1.0,
            plausible_periods=PLAUSIBLE_GAP_S * self._rate_hz,
            fresh_below=FRESH_S * self._rate_hz,
        )

    def _message(self, kind: int, fields: dict[int, Any]) -> None:
        """Take a message.

        Raises:
            ValueError: it is damaged.
        """
        if kind == DEVICE_INFO and set(fields) <= {1, 2} and len(fields.get(1, b"")) == 8:
            self._introduce(bytes(fields[1]))
        elif kind == STATUS and 2 in fields and set(fields) <= {1, 2, 3, 4} and abs(float(fields[2])) < HOTTEST_C:
            self._status(int(fields.get(1, 0)), int(fields.get(3, 0)), int(fields.get(4, 0)))
        else:
            raise ValueError("none of its messages")
        self.good_frames += 1

    def _introduce(self, unique_id: bytes) -> None:
        card = SensorCard(
            identity=f"picoquake:{unique_id.hex()}",
            rate_hz=self._rate_hz,
            channels=3,
            unit="g",
            full_scale=(float(self._range_g),) * 3,
            lsb=(self._range_g / STEPS,) * 3,
            gravity=True,
            settings=(
                ("range", f"{self._range_g} g"),
                ("filter", f"{FILTERS_HZ[self._filter]} Hz"),
            ),
        )
        if self.card is not None and card.identity != self.card.identity:
            raise ProtocolError(f"became another sensor: was {self.card.identity}, is {card.identity}")
        self.card = self.card or card

    def _status(self, state: int, missed: int, error_code: int) -> None:
        if state > ERROR:
            raise ValueError("no such state")
        self._failures = self._failures + 1 if state == ERROR else 0
        if self._failures == 2:  # it says so twice a second; once could be damage
            what = ERRORS.get(error_code, "the firmware's list has no name for it")
            raise ProtocolError(f"reports error {error_code}: {what}; unplug it and plug it in again")
        if self._missed is not None and missed > self._missed:
            self.counters["missed_samples"] += min(missed - self._missed, 1 << 20)
        self._missed = missed

    def _credible(self, samples: NDArray[np.void]) -> NDArray[np.bool_]:
        """Say of each sample, shape (n,), whether its numbers can be those of the sensor."""
        with np.errstate(invalid="ignore"):  # a signalling NaN warns as it is cast
            steps = samples["acceleration"].astype(np.float64) * (STEPS / self._range_g)
            turns = samples["rotation"].astype(np.float64) * (STEPS / ROTATION_RANGE_DPS)
        both = np.concatenate((steps, turns), axis=1)
        good = (np.abs(both) <= STEPS).all(axis=1)  # false for what is no number, too
        if not self._whole_steps or not good.any():
            return np.asarray(good)
        both[~good] = 0.5
        whole = np.abs(both - np.rint(both)).max(axis=1) < 0.01  # f32 rounds the rotations, by 0.002 at most
        if whole.any():
            self._off_steps = 0
            return np.asarray(whole)
        self._off_steps += int(good.sum())
        self._whole_steps = self._off_steps < OFF_STEPS
        return np.asarray(whole if self._whole_steps else good)

    def _of_our_start(self, samples: NDArray[np.void]) -> NDArray[np.void]:
        """Leave out what was still on its way with another program's range and rate: its count does not begin anew."""
        counts = samples["count"]
        if self._stale_count is not None:
            anew = np.flatnonzero(counts < min(self._stale_count, FRESH_S * self._rate_hz))
            first = int(anew[0]) if len(anew) else len(samples)
            self._stale_frames += first
            if len(anew):
                self._stale_count = None
            elif self._stale_frames > STALE_S * self._rate_hz:
                raise ProtocolError("goes on as another program started it: unplug it and plug it in again")
            samples = samples[first:]
        self._count = int(counts[-1])
        return samples
