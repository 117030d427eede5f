"""The sensors that a configuration can name: one model per kind of device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from echo_edge.config_model import Model, existing
from sensors import create_source, read_calibration

CARD_NUMBER = re.compile(r"\bhw:\d")


class Device(Model):
    """Base of every kind of device: what its driver refuses is refused here, before the daemon starts."""

    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """The driver's keyword arguments."""
        return self.model_dump(exclude={"kind"}, exclude_none=True)

    @model_validator(mode="after")
    def _driver_takes_the_options(self) -> Device:
        create_source(self.kind, self.kind, **self.options)  # opens nothing; its ValueError says what is wrong
        return self


class CalibrationConfig(Model):
    """The calibration file of a measurement microphone."""

    file: Path
    """Rows of frequency and dB, as makers deliver them; comments start with ``*`` or a quotation mark."""

    sign: Literal["response", "correction"]
    """``response``: the file says how much too loud the microphone hears (UMIK, REW); it is subtracted.
    ``correction``: the file says what to add (some Dayton files)."""

    @model_validator(mode="before")
    @classmethod
    def _sign_is_said(cls, values: object) -> object:
        if isinstance(values, dict) and "sign" not in values:
            raise ValueError(
                "'sign' is missing: say 'response' when the file tells how much too loud the microphone hears "
                "(it is subtracted; UMIK), or 'correction' when it tells what to add; the wrong one doubles the error"
            )
        return values

    @field_validator("file")
    @classmethod
    def _can_be_read(cls, value: Path, info: ValidationInfo) -> Path:
        path = existing(value, info)
        read_calibration(path)
        return path


class MicrophoneConfig(Device):
    """A microphone or a USB-audio accelerometer, through PortAudio."""

    kind: Literal["microphone"]
    device: str | None = None
    """Stable name as ``echo-edge devices`` shows it; absent: the system's default input."""

    rate_hz: int | None = Field(default=None, ge=2_000, le=384_000)
    """Sampling rate; absent: the device's own."""

    channels: int = Field(default=1, ge=1, le=64)
    """How many channels to open."""

    scale: float | None = Field(default=None, gt=0)
    """Physical units per full scale; absent: from the device's name where that holds a calibration (Digiducer), else
    from ``sensitivity_dbfs``, else samples are parts of full scale."""

    unit: str | None = None
    """Unit of the scaled samples, for example ``g``; without ``scale``, full scale is 1 of it."""

    sensitivity_dbfs: float | None = Field(default=None, ge=-120, le=20)
    """Level that 94 dB SPL (1 Pa RMS) gives at the present gain, in dBFS = 20 log10(RMS / full scale): a sine of full
    scale has -3.01 dBFS. With it samples are in Pa."""

    calibration: CalibrationConfig | None = None
    """Makes the microphone's response flat; absent: it is left as it is."""

    @field_validator("device")
    @classmethod
    def _no_number(cls, value: str | None) -> str | None:
        if value is not None and CARD_NUMBER.search(value):
            raise ValueError(
                f"'{value}' holds a card's number, which another card may have after the next boot; write the name "
                "that 'echo-edge devices' shows"
            )
        return value

    @model_validator(mode="after")
    def _one_scale(self) -> MicrophoneConfig:
        if self.sensitivity_dbfs is not None and (self.scale is not None or self.unit is not None):
            raise ValueError("give 'scale' and 'unit', or 'sensitivity_dbfs' (which makes Pa), not both")
        return self


class AccelerometerConfig(Device):
    """An accelerometer on a serial port."""

    kind: Literal["accelerometer"]
    port: str
    """Serial port, best by its stable name under ``/dev/serial/by-id``."""

    protocol: Literal["ee1", "picoquake", "witmotion", "csv"] = "ee1"
    """Wire format: ``ee1`` is our own COBS and CRC frame, ``picoquake`` the PicoQuake's, ``witmotion`` the standard
    protocol of WitMotion's units, ``csv`` lines of numbers as text."""

    baud: int = Field(default=115_200, ge=2_400, le=12_000_000)
    """Line rate; without effect on USB serial devices."""

    rate_hz: float | None = Field(default=None, ge=1, le=1_000_000)
    """Samples per second: what a ``picoquake`` is told (absent: 2000), what a ``witmotion`` or ``csv`` sensor sends
    that does not tell."""

    range_g: Literal[2, 4, 8, 16] | None = None
    """Largest acceleration that a ``picoquake`` is told to measure; absent: 16."""

    unit: str | None = Field(default=None, min_length=1, max_length=16)
    """Unit of the scaled numbers of ``csv``; absent: its header tells."""

    scale: float | None = Field(default=None, gt=0)
    """Units per number of ``csv``; absent: its header tells, else 1."""

    columns: list[str] | None = Field(default=None, min_length=1, max_length=17)
    """What a line of ``csv`` holds: ``t_us`` first or not at all, a name for each channel, ``-`` for what is to be left
    out; absent: its header tells, else ``t_us``, ``ax``, ``ay``, ``az``."""


class RecordingConfig(Model):
    """An excerpt of a recording."""

    path: Path
    """WAV or FLAC file."""

    start_s: float = Field(default=0.0, ge=0)
    """Where the excerpt begins."""

    end_s: float | None = Field(default=None, gt=0)
    """Where it ends; absent: at the end of the file."""

    play_s: float | None = Field(default=None, gt=0)
    """Loop the excerpt until it has played for so long; absent: play it once."""

    scale: float | None = Field(default=None, gt=0)
    """Physical units per stored unit; absent: from a ``manifest.csv`` beside the file, else full scale."""

    unit: str | None = None
    """Unit of the scaled samples."""

    @field_validator("path")
    @classmethod
    def _exists(cls, value: Path, info: ValidationInfo) -> Path:
        return existing(value, info)


class WavFileConfig(Device):
    """Recordings played as if they were a device."""

    kind: Literal["wavfile"]
    files: list[RecordingConfig] = Field(min_length=1)
    """Played in order; all of one rate and channel count."""

    loop: bool = True
    """Start over after the last one."""

    realtime: bool = True
    """Play at the recorded pace; false reads as fast as the disk allows."""


class SimulatorConfig(Device):
    """An invented machine."""

    kind: Literal["simulator"]
    rate_hz: int = Field(default=48_000, ge=2_000, le=384_000)
    """Sampling rate."""

    channels: int = Field(default=1, ge=1, le=8)
    """How many sensors listen to it."""

    seed: int = 0
    """Which machine: the same seed gives the same signal."""

    fault: Literal["outer_race", "inner_race", "imbalance", "loose_foot", "cavitation"] | None = None
    """What is wrong with it."""

    severity: float = Field(default=1.0, ge=0, le=1)
    """How wrong."""

    realtime: bool = True
    """Deliver at the sampling rate; false as fast as possible."""


class IioConfig(Device):
    """An accelerometer that the Linux kernel drives (IIO), on I2C, SPI or USB."""

    kind: Literal["iio"]
    device: str
    """The device's name as ``echo-edge devices`` shows it; ``NAME@LABEL`` where there are several."""

    rate_hz: int | None = Field(default=None, ge=1, le=384_000)
    """One of the device's own rates; absent: as it is set."""

    axes: list[Literal["x", "y", "z"]] | None = Field(default=None, min_length=1)
    """Which axes to capture, in this order; absent: all it has."""


class Mcc172Config(Device):
    """An MCC 172 on a Raspberry Pi: IEPE accelerometers or microphones at up to 51,200 Hz."""

    kind: Literal["mcc172"]
    address: int = Field(default=0, ge=0, le=7)
    """Address of the board, as its jumpers say."""

    channels: list[Literal[0, 1]] = Field(default=[0], min_length=1, max_length=2)
    """Inputs to sample: ``[0]``, ``[1]`` or ``[0, 1]``; a point counts them from 0 in this order."""

    rate_hz: int = Field(default=51_200, ge=200, le=51_200)
    """51,200 divided by a whole number, without a rest: 51200, 25600, 12800, 10240 ..."""

    iepe: bool | list[bool]
    """Supply the sensors, for all channels or for each. Never for a sensor that has a supply of its own."""

    sensitivity_mv_per_unit: float | list[float] | None = None
    """From each sensor's certificate, for example 100 (mV/g); absent: the samples are volts."""

    unit: str = "g"
    """Unit of the sensitivity: ``g``, ``Pa``."""

    settle_s: float = Field(default=5.0, ge=0, le=60)
    """Seconds that are thrown away after the supply was switched on."""


class VibrationMeterConfig(Device):
    """A WTVB01-485 vibration meter over Modbus RTU: readings that are published, no waveform and no verdict."""

    kind: Literal["vibration_meter"]
    port: str
    """Serial port of the RS-485 adapter, best by its stable name under ``/dev/serial/by-id``."""

    velocity_scale_mm_s: float | None = Field(default=None, gt=0)
    """mm/s per step of the velocity registers: 1 by some published drivers, 0.001 by others; needed for velocity."""

    quantities: list[Literal["acceleration", "velocity", "temperature", "displacement"]] = Field(
        default=["acceleration", "velocity", "temperature", "displacement"], min_length=1
    )
    """What to read."""

    rate_hz: int = Field(default=1, ge=1, le=10)
    """Readings a second."""

    address: int = Field(default=0x50, ge=1, le=247)
    """Address of the meter on the bus."""

    baud: int = Field(default=9600, ge=1_200, le=230_400)
    """Line rate that the meter is set to."""


DeviceConfig = Annotated[
    MicrophoneConfig
    | AccelerometerConfig
    | WavFileConfig
    | SimulatorConfig
    | IioConfig
    | Mcc172Config
    | VibrationMeterConfig,
    Field(discriminator="kind"),
]


DEVICE_KINDS: dict[str, type[Model]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(DeviceConfig)[0])
}
"""The model of each ``kind``."""


def opened_channels(device: DeviceConfig) -> int | None:
    """How many channels the file says a device has; None where the device alone knows."""
    if isinstance(device, Mcc172Config):
        return len(device.channels)
    return device.channels if isinstance(device, MicrophoneConfig | SimulatorConfig) else None
