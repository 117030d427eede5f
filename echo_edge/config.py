"""Configuration: what can be set, with its unit in its name, its meaning below it and its check beside it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from echo_edge.frontend import SPEC
from echo_edge.mqtt import is_loopback
from sensors import make_protocol, read_calibration

ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,47}$"
Id = Annotated[str, Field(pattern=ID_PATTERN)]
AXES = {"x": 0, "y": 1, "z": 2}


class Model(BaseModel):
    """Base of every section: unknown keys are errors, numbers are finite, fields carry their docs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _existing(path: Path, info: ValidationInfo) -> Path:
    """Resolve a path against the configuration's folder and insist that it is there."""
    full = (info.context or {}).get("folder", Path()) / path.expanduser()
    if not full.exists():
        raise ValueError(f"no such file: {full}; give an absolute path, or one relative to the configuration file")
    return Path(full)


class GatewayConfig(Model):
    """Who we are on the network."""

    id: Id
    """Name of this gateway in every topic: lower-case letters, digits, ``-`` and ``_``."""


class EngineConfig(Model):
    """What computes the embeddings."""

    kind: Literal["auto", "onnx"] = "auto"
    """``onnx`` is ONNX Runtime on the CPU; ``auto`` takes the best engine this machine has."""

    threads: int = Field(default=2, ge=1, le=64)
    """CPU threads for inference."""


class TlsConfig(Model):
    """Encryption of the link to the broker (TLS 1.2 or newer)."""

    ca_file: Path
    """Certificate of the authority that signed the broker's certificate."""

    client_cert_file: Path | None = None
    """Our own certificate, where the broker asks for one."""

    client_key_file: Path | None = None
    """Its private key."""

    @field_validator("ca_file", "client_cert_file", "client_key_file")
    @classmethod
    def _exists(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info)


class MqttConfig(Model):
    """The broker that alerts go to."""

    host: str = "127.0.0.1"
    """Name or address of the broker."""

    port: int = Field(default=1883, ge=1, le=65535)
    """TCP port; 8883 is usual with TLS."""

    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version. With 3.1.1 a broker cannot say that it refused a message: choose it only for a broker without 5."""

    base_topic: str = Field(default="echo-edge/v1", pattern=r"^[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*$")
    """What every topic starts with; the gateway's id follows."""

    username: str | None = None
    """User name at the broker."""

    password_file: Path | None = None
    """File whose first line is the password; readable by the service's user only."""

    password_credential: str | None = None
    """Name of a systemd credential that holds the password (``LoadCredential=``)."""

    tls: TlsConfig | None = None
    """Absent: no encryption, which is refused for any host but this one."""

    allow_plaintext: bool = False
    """Send passwords and alerts unencrypted to another host; only for a network that you trust."""

    keepalive_s: int = Field(default=15, ge=5, le=600)
    """A broker that is silent for twice as long counts as lost."""

    state_interval_s: float = Field(default=10.0, ge=0.1, le=3600)
    """A point's state is told at once when its level changes, else no more often than this."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value  # YAML reads an unquoted 5 as a number

    @field_validator("password_file")
    @classmethod
    def _exists(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info)

    @model_validator(mode="after")
    def _secrets_are_whole_and_stay_at_home(self) -> MqttConfig:
        if self.tls is None and not self.allow_plaintext and not is_loopback(self.host):
            raise ValueError(
                f"'{self.host}' is another host and there is no 'tls' section; add one, "
                "or say 'allow_plaintext: true' for a network that you trust"
            )
        has_password = self.password_file is not None or self.password_credential is not None
        if has_password != (self.username is not None):
            raise ValueError("'username' and a password ('password_file' or 'password_credential') go together")
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("give 'password_file' or 'password_credential', not both")
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
        path = _existing(value, info)
        read_calibration(path)
        return path


class MicrophoneConfig(Model):
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

    @model_validator(mode="after")
    def _one_scale(self) -> MicrophoneConfig:
        if self.sensitivity_dbfs is not None and (self.scale is not None or self.unit is not None):
            raise ValueError("give 'scale' and 'unit', or 'sensitivity_dbfs' (which makes Pa), not both")
        return self


class AccelerometerConfig(Model):
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

    @model_validator(mode="after")
    def _options_suit_the_protocol(self) -> AccelerometerConfig:
        options = self.model_dump(exclude={"kind", "port", "protocol", "baud"}, exclude_none=True)
        make_protocol(self.protocol, **options)  # its ValueError names the option and who takes it
        return self


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
        return _existing(value, info)


class WavFileConfig(Model):
    """Recordings played as if they were a device."""

    kind: Literal["wavfile"]
    files: list[RecordingConfig] = Field(min_length=1)
    """Played in order; all of one rate and channel count."""

    loop: bool = True
    """Start over after the last one."""

    realtime: bool = True
    """Play at the recorded pace; false reads as fast as the disk allows."""


class SimulatorConfig(Model):
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


class IioConfig(Model):
    """An accelerometer that the Linux kernel drives (IIO), on I2C, SPI or USB."""

    kind: Literal["iio"]
    device: str
    """The device's name as ``echo-edge devices`` shows it; ``NAME@LABEL`` where there are several."""

    rate_hz: int | None = Field(default=None, ge=1, le=384_000)
    """One of the device's own rates; absent: as it is set."""

    axes: list[Literal["x", "y", "z"]] | None = Field(default=None, min_length=1)
    """Which axes to capture, in this order; absent: all it has."""


class Mcc172Config(Model):
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

    @model_validator(mode="after")
    def _values_fit_the_channels(self) -> Mcc172Config:
        if sorted(set(self.channels)) != self.channels:
            raise ValueError(f"'channels' is [0], [1] or [0, 1], not {self.channels}")
        for name, values in (("iepe", self.iepe), ("sensitivity_mv_per_unit", self.sensitivity_mv_per_unit)):
            if isinstance(values, list) and len(values) != len(self.channels):
                raise ValueError(f"'{name}' has {len(values)} values for {len(self.channels)} channel(s)")
        sensitivity = 1.0 if self.sensitivity_mv_per_unit is None else self.sensitivity_mv_per_unit
        if min(sensitivity if isinstance(sensitivity, list) else [sensitivity]) <= 0:
            raise ValueError(f"'sensitivity_mv_per_unit' must be positive, not {self.sensitivity_mv_per_unit}")
        return self


class VibrationMeterConfig(Model):
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

    @model_validator(mode="after")
    def _nothing_is_assumed(self) -> VibrationMeterConfig:
        if len(set(self.quantities)) < len(self.quantities):
            raise ValueError(f"'quantities' names each once, not {self.quantities}")
        if "velocity" in self.quantities and self.velocity_scale_mm_s is None:
            raise ValueError(
                "'velocity_scale_mm_s' is missing (mm/s per raw step): published drivers read the register as 1 mm/s "
                "and as 0.001 mm/s; compare with a meter that you trust, or leave velocity out of 'quantities'"
            )
        return self


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


class WindowConfig(Model):
    """How much signal one verdict covers, and how often a verdict falls due."""

    length_s: float = Field(default=5.0, ge=0.1, le=SPEC.max_frames * SPEC.hop_ms / 1000)
    """Seconds of signal per window."""

    hop_s: float = Field(default=5.0, gt=0)
    """Seconds between window starts; at most ``length_s``, so that no sample goes unheard."""

    @model_validator(mode="after")
    def _no_deaf_spots(self) -> WindowConfig:
        if self.hop_s > self.length_s:
            raise ValueError(
                f"hop_s ({self.hop_s:g}) is longer than length_s ({self.length_s:g}): "
                f"samples in between would go unheard; use at most {self.length_s:g}"
            )
        return self


class AlertConfig(Model):
    """When strange windows become an alert, and when it is over."""

    windows: int = Field(default=5, ge=1, le=100)
    """How many of the latest windows are looked at (the n of "k of n")."""

    strange_windows: int = Field(default=3, ge=1, le=100)
    """How many of them must be above the threshold to open an alert (the k)."""

    clear_ratio: float = Field(default=0.95, gt=0, le=1)
    """A window counts as well again below this share of the threshold; between the two nothing changes."""

    hold_off_s: float = Field(default=30.0, ge=0)
    """After an alert cleared, no new one opens for so long."""

    @model_validator(mode="after")
    def _k_of_n(self) -> AlertConfig:
        if self.strange_windows > self.windows:
            raise ValueError(f"strange_windows ({self.strange_windows}) cannot exceed windows ({self.windows})")
        return self


class PointConfig(Model):
    """Where a sensor sits on a machine."""

    device: Id
    """Key of the device under ``devices``."""

    channels: list[int | Literal["x", "y", "z"]] = Field(default=[0], min_length=1)
    """Channels of the device that belong to this point, by number from 0 or as x, y, z."""

    window: WindowConfig = WindowConfig()
    alert: AlertConfig = AlertConfig()

    @property
    def channel_numbers(self) -> list[int]:
        return [AXES[c] if isinstance(c, str) else c for c in self.channels]

    @field_validator("channels")
    @classmethod
    def _distinct(cls, value: list[int | str]) -> list[int | str]:
        numbers = [AXES[c] if isinstance(c, str) else c for c in value]
        if min(numbers) < 0 or len(set(numbers)) < len(numbers):
            raise ValueError(f"channels must be different numbers from 0 on, or axes x, y, z: {value}")
        return value


class MachineConfig(Model):
    """A monitored machine."""

    title: str | None = None
    """Name for people; the id where it is absent."""

    target_false_alarms_per_month: float = Field(default=1.0, gt=0, le=1000)
    """How many false alarms a month are acceptable for the whole machine; its points share them."""

    points: dict[Id, PointConfig] = Field(min_length=1)
    """The machine's measuring points."""


class Config(Model):
    """The whole file."""

    gateway: GatewayConfig
    model: str = "echo-tiny"
    """Model package: the name of a shipped one, or the path of a ``NAME.onnx`` with its ``NAME.json``."""

    @field_validator("model")
    @classmethod
    def _model_path(cls, value: str, info: ValidationInfo) -> str:
        is_path = "/" in value or value.endswith((".onnx", ".json"))
        return str(_existing(Path(value), info)) if is_path else value

    engine: EngineConfig = EngineConfig()
    mqtt: MqttConfig = MqttConfig()
    devices: dict[Id, DeviceConfig] = Field(min_length=1)
    """Every sensor, by a name of your choice."""

    machines: dict[Id, MachineConfig] = Field(min_length=1)
    """Every machine, by a name of your choice."""

    @model_validator(mode="after")
    def _points_fit_their_devices(self) -> Config:
        for name, point in self.points().items():
            where = f"machines.{name.replace('/', '.points.')}"
            if point.device not in self.devices:
                hint = suggest(point.device, self.devices)
                raise ValueError(f"{where}.device: there is no device '{point.device}' under 'devices'{hint}")
            device = self.devices[point.device]
            if isinstance(device, IioConfig) and device.axes:
                self._axes_are_captured(where, point, device.axes)
            opened = _opened_channels(device)
            if opened is not None and max(point.channel_numbers) >= opened:
                raise ValueError(
                    f"{where}.channels: '{point.device}' is opened with {opened} channel(s), counted from 0; "
                    f"raise devices.{point.device}.channels or choose another channel"
                )
        return self

    @staticmethod
    def _axes_are_captured(where: str, point: PointConfig, axes: Sequence[str]) -> None:
        for channel in point.channels:
            number = AXES[channel] if isinstance(channel, str) else channel
            if number >= len(axes) or (isinstance(channel, str) and axes[number] != channel):
                numbered = ", ".join(f"{n} is {axis}" for n, axis in enumerate(axes))
                raise ValueError(
                    f"{where}.channels: '{point.device}' has no channel {channel}; by devices.{point.device}.axes "
                    f"{numbered}, and x, y, z stand for 0, 1, 2: give the number"
                )

    def points(self) -> dict[str, PointConfig]:
        """Every point under its full name ``machine/point``."""
        return {f"{m}/{p}": point for m, machine in self.machines.items() for p, point in machine.points.items()}

    def title(self, point: str) -> str:
        """The name for people of a point's machine."""
        machine = point.partition("/")[0]
        return self.machines[machine].title or machine

    def target_per_month(self, point: str) -> float:
        """The point's share of its machine's accepted false alarms per month."""
        machine = self.machines[point.partition("/")[0]]
        return machine.target_false_alarms_per_month / len(machine.points)


def _opened_channels(device: DeviceConfig) -> int | None:
    """How many channels the file says a device has; None where the device alone knows."""
    if isinstance(device, Mcc172Config):
        return len(device.channels)
    return device.channels if isinstance(device, MicrophoneConfig | SimulatorConfig) else None


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known are: {', '.join(sorted(known))}"
