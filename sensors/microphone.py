"""Microphones and other sound inputs, by PortAudio in a child process that can be killed when a device stalls."""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.block import Block
from sensors.calibration import ResponseFilter, read_calibration
from sensors.child import Child
from sensors.continuity import LateOverflowFilter, SampleClock
from sensors.errors import SensorFault, SensorUnavailable
from sensors.microphone_scale import microphone_scale
from sensors.portaudio_child import AFTER_OVERRUN, HEADER, SETTINGS
from sensors.sound_process import start_child
from sensors.soundcards import card_number, card_of, native_format, product_names, stable_name
from sensors.source import BLOCK_S, SILENCE_S, WAIT_S, Source, SourceInfo

log = logging.getLogger(__name__)
SPOILED_S = 5.0  # without one block that is known to be whole
PACE_BLOCKS = 100  # blocks over which a device that runs away from its own rate is noticed
RUNAWAY = 2.0


class Microphone(Source):
    """A sound input at its native rate.

    A card (a name that ends in ``(hw:1,0)``, or ``usb:...``) is opened alone and as it is: nothing resamples or mixes.
    ``default``, ``pulse`` and other names without a card are ALSA plugins: they take any rate and may resample, mix
    channels and change the volume. Their rate is what was asked for, not necessarily the sensor's.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        rate_hz: int | None = None,
        channels: int = 1,
        scale: float | None = None,
        unit: str | None = None,
        sensitivity_dbfs: float | None = None,
        calibration: dict[str, Any] | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            name: the device's name in the configuration.
            device: PortAudio's exact name, a part of it that fits one device only, or
                ``usb:VVVV:PPPP[:SERIAL][@PORT]``; None is the system's default. Never a number: numbers change from
                boot to boot.
            rate_hz: None is the device's own default.
            scale: physical unit per full scale; None: see ``microphone_scale``.
            unit: what the samples are after scaling.
            sensitivity_dbfs: level that 94 dB SPL gives; with it samples are in Pa.
            calibration: ``file`` and ``sign`` of the microphone's frequency response.
        """
        super().__init__(name)
        self._order = {"do": "capture", "device": device, "rate_hz": rate_hz, "channels": channels, "block_s": BLOCK_S}
        self._device = device
        self._channels = channels
        self._scale_of = partial(microphone_scale, channels, scale=scale, unit=unit, sensitivity_dbfs=sensitivity_dbfs)
        self._calibration = calibration
        self._child: Child | None = None
        self._settings: dict[str, str] = {}

    @property
    def rate_ppm(self) -> float | None:
        """Measured minus nominal rate in parts per million."""
        return None if self._child is None else self._clock.rate_ppm

    def settings(self) -> dict[str, str]:
        """Return the mixer's gain and switches as they were at most some seconds ago."""
        return self._settings

    def open(self) -> SourceInfo:
        """Start the child process and wait until its stream runs."""
        self.close()
        card = self._card()
        child, opened, rest = start_child(self.name, {**self._order, "card": card})
        try:
            if card != self._card():
                raise SensorUnavailable(self.name, f"{self._device} was plugged in anew while it was opened")
            return self._begin(child, opened, rest)
        except SensorUnavailable:
            child.stop()
            raise
        except ValueError as error:
            child.stop()
            raise SensorUnavailable(self.name, str(error)) from error

    def _card(self) -> int | None:
        return card_of(self._device, self.name) if self._device and self._device.lower().startswith("usb:") else None

    def _begin(self, child: Child, opened: dict[str, Any], rest: bytes) -> SourceInfo:
        info = self._describe(opened)
        self._child = child
        self._received = bytearray(rest)
        self._filter = LateOverflowFilter()
        self._clock = SampleClock(opened["rate_hz"])
        self._heard_s = self._whole_s = self._pace_from_s = time.monotonic()
        self._paced = 0
        self._block_s = opened["block_frames"] / opened["rate_hz"]
        return info

    def _describe(self, opened: dict[str, Any]) -> SourceInfo:
        """Find scale, limits and identity of the device that is open.

        Raises:
            ValueError: its calibration cannot be used.
        """
        number, rate_hz = card_number(opened["name"]), opened["rate_hz"]
        names = [opened["name"], *(product_names(number) if number is not None else [])]
        scale = self._scale_of(names)
        self._scale_c = np.array(scale.full_scale, dtype=np.float32)
        self._settings = opened["settings"]
        source = scale.source
        self._response: ResponseFilter | None = None
        if self._calibration is not None:
            file = read_calibration(Path(self._calibration["file"]))
            self._response = ResponseFilter(file, self._calibration["sign"], rate_hz)
            source = f"file {file.name}" if source == "none" else f"{source}, file {file.name}"
            log.info("%s: response of %s %s %s", self.name, file.name, file.serial, file.note)
        if scale.source == "none":
            log.info("%s: samples are parts of full scale: no sensitivity is known", self.name)
        native = native_format(number) if number is not None else None
        step = native.step if native is not None and self._response is None else None
        limited = scale.source == "device name" or (number is not None and not (native and native.is_float))
        return SourceInfo(
            rate_hz,
            self._channels,
            scale.unit,
            scale.identity or stable_name(opened["name"]),
            full_scale=scale.full_scale if limited else (),
            lsb=tuple(full * step for full in scale.full_scale) if step is not None else (),
            calibration=source,
            settings=self._settings,
        )

    def read(self) -> Block | None:
        """Wait for the next block that is known to be free of splices."""
        if self._child is None:
            raise SensorFault(self.name, "not open")
        deadline_s = time.monotonic() + WAIT_S
        while (now_s := time.monotonic()) < deadline_s:
            if (frame := self._frame()) is not None:
                kind, arrival_ns, data = frame
                if kind == SETTINGS:
                    self._settings = json.loads(data)
                elif (done := self._samples(kind, arrival_ns, data)) is not None:
                    return done
                continue
            received = self._child.receive(deadline_s - now_s)
            if received:
                self._received += received
            elif received is not None:
                raise SensorFault(self.name, f"the sound process ended: {self._child.last_words()}")
        # judged only now: a reader that was held up itself must first take what was waiting for it
        if now_s - self._heard_s > SILENCE_S:
            raise SensorFault(self.name, f"stalled: no samples for {SILENCE_S:.0f} s")
        if now_s - self._whole_s > SPOILED_S:
            raise SensorFault(self.name, f"an overrun in every block for {SPOILED_S:.0f} s: the gateway is overloaded")
        return None

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _frame(self) -> tuple[int, int, bytes] | None:
        """Take one whole frame out of what was received: its kind, its time, its content."""
        if len(self._received) < HEADER.size:
            return None
        time_ns, count, kind = HEADER.unpack_from(self._received)
        end = HEADER.size + (count if kind == SETTINGS else count * self._channels * 4)
        if len(self._received) < end:
            return None
        data = bytes(self._received[HEADER.size : end])
        del self._received[:end]
        return kind, time_ns, data

    def _samples(self, kind: int, arrival_ns: int, data: bytes) -> Block | None:
        """Take a frame of samples; return a block that is known to be free of splices, when one has become so."""
        self._heard_s = time.monotonic()  # by samples alone: a mixer that moves does not mean that the device records
        samples: NDArray[np.float32] = np.frombuffer(data, dtype="<f4").reshape(-1, self._channels) * self._scale_c
        overflowed = kind == AFTER_OVERRUN
        self.counters["overflows"] += overflowed
        block = self._clock.block(samples, arrival_ns, after_gap=overflowed)
        if self._clock.jumps:
            self.counters["jumps"] = self._clock.jumps
        if not np.isfinite(samples).all():
            raise SensorFault(self.name, "the sound device delivered samples that are not numbers")
        self._check_pace()
        good = self._filter.push(block, overflowed=overflowed)
        if good is None:
            return None
        self._whole_s = self._heard_s
        self.counters["gaps"] += good.after_gap
        self.counters["lost_frames"] += good.lost_frames
        return good if self._response is None else self._response.push(good)

    def _check_pace(self) -> None:
        """Refuse a device that delivers samples it cannot have recorded, as a broken driver does."""
        self._paced += 1
        if self._paced < PACE_BLOCKS:
            return
        took_s = self._heard_s - self._pace_from_s
        if took_s * RUNAWAY < self._paced * self._block_s:
            raise SensorFault(self.name, f"delivers {self._paced * self._block_s:.0f} s of samples in {took_s:.1f} s")
        self._pace_from_s, self._paced = self._heard_s, 0
