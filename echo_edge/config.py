"""Configuration: what can be set, with its unit in its name, its meaning below it and its check beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from echo_edge.config_clips import ClipsConfig
from echo_edge.config_devices import DeviceConfig, IioConfig, opened_channels
from echo_edge.config_machine import BearingConfig, VibrationClass
from echo_edge.config_metrics import MetricsConfig
from echo_edge.config_model import Id, Model, existing
from echo_edge.config_mqtt import MqttConfig
from echo_edge.config_orders import OrdersConfig
from echo_edge.config_states import OperatingStateConfig
from echo_edge.config_yaml import suggest
from echo_edge.frontend import SPEC
from echo_edge.indicators import IndicatorSpec
from echo_edge.records import Window

AXES = {"x": 0, "y": 1, "z": 2}


class HistoryConfig(Model):
    """What points remember of their past: embeddings, indicators and verdicts; no sound."""

    keep_days: float = Field(default=30.0, ge=0, le=3650)
    """Older hours are deleted. 0: nothing is remembered."""

    max_mb: float = Field(default=2000.0, ge=10)
    """Megabytes on disk, of all points together. Beyond, the oldest hours' vectors go first, then their verdicts."""


class OutboxConfig(Model):
    """Events that the broker has not acknowledged yet, on disk."""

    max_mb: float = Field(default=64.0, ge=4, le=4096)
    """Megabytes that are taken on disk at the first start, so that a full disk cannot stop an alert; about 13,000
    alerts fit into 64. When it is full the least severe go first, the oldest of them before others, and are counted."""

    max_age_days: float = Field(default=90.0, ge=1, le=3650)
    """An event that could not be delivered for so long is given up and counted."""


class GatewayConfig(Model):
    """Who we are on the network, and what we keep."""

    id: Id
    """Name of this gateway in every topic: lower-case letters, digits, ``-`` and ``_``."""

    history: HistoryConfig = HistoryConfig()
    clips: ClipsConfig | None = None
    """Absent: no sound is ever stored."""

    outbox: OutboxConfig = OutboxConfig()


class EngineConfig(Model):
    """What computes the embeddings."""

    kind: Literal["auto", "onnx", "tensorrt", "cuda"] = "auto"
    """``onnx`` is ONNX Runtime on the CPU, ``cuda`` the same on an NVIDIA GPU, ``tensorrt`` an engine built for that
    GPU. ``auto``: the GPU if there is one, by TensorRT if that is installed, else the CPU. The CPU serves until a GPU
    engine is ready and whenever it fails."""

    threads: int = Field(default=2, ge=1, le=64)
    """CPU threads for inference."""


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

    windows: int | None = Field(default=None, ge=1, le=100)
    """How many of the latest windows are looked at (the n of "k of n"). Absent: chosen for each baseline by how alike
    the machine's neighbouring windows are, so that an alert comes within a minute."""

    strange_windows: int | None = Field(default=None, ge=1, le=100)
    """How many of them must be above the threshold to open an alert (the k)."""

    clear_ratio: float = Field(default=0.95, gt=0, le=1)
    """A window counts as well again below this share of the threshold; between the two nothing changes."""

    hold_off_s: float = Field(default=30.0, ge=0)
    """After an alert cleared, no new one opens for so long."""

    @model_validator(mode="after")
    def _k_of_n(self) -> AlertConfig:
        if (self.windows is None) != (self.strange_windows is None):
            raise ValueError("'windows' and 'strange_windows' go together: give both or neither")
        if self.windows is not None and self.strange_windows is not None and self.strange_windows > self.windows:
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
    off_below_db: float | None = Field(default=None, ge=-400, le=400)
    """A window is of the state ``off`` when every channel's level is below: 20 log10 of the RMS without its mean, in
    dB relative to 1 of the sensor's unit (-50 dB: 0.0032 g, or 0.0032 of full scale). Absent: the level decides
    nothing."""
    bearing: BearingConfig | None = None
    """The rolling bearing under the sensor: its lines join the indicators. Needs the machine's ``shaft_hz``."""

    @property
    def channel_labels(self) -> list[str]:
        """What tells the channels apart: axes by their letter, others as ``ch0``; one alone needs nothing."""
        if len(self.channels) == 1:
            return [""]
        return [c if isinstance(c, str) else f"ch{c}" for c in self.channels]

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


class AdaptationConfig(Model):
    """Let the normal states grow by what was clearly normal a week ago, without a person."""

    share_per_month: float = Field(default=0.05, gt=0, le=0.25)
    """At most this share of a state's windows is added in 30 days."""


class MachineConfig(Model):
    """A monitored machine."""

    title: str | None = None
    """Name for people; the id where it is absent."""

    target_false_alarms_per_month: float = Field(default=1.0, gt=0, le=1000)
    """How many false alarms a month are acceptable for the whole machine; its points share them."""

    shaft_hz: float | None = Field(default=None, gt=0, le=2000)
    """Turns of the shaft per second (1475 per minute are 24.58), within 2 %."""

    vibration_class: VibrationClass | None = None
    """What the zones A to D of velocity RMS go by, told as information: ``small`` (motors up to 15 kW), ``medium`` (15
    to 75 kW, on special foundations up to 300 kW), larger ones as ``large_rigid`` or ``large_flexible`` by their
    foundation; classes I to IV of ISO 10816-1. Absent: no zone."""

    operating_state: OperatingStateConfig = OperatingStateConfig()
    approval: Literal["local", "two_person"] = "local"
    """With ``two_person``, a new baseline is only proposed, and somebody else than its author must activate it."""

    adaptation: AdaptationConfig | None = None
    """Absent: only a person changes what is normal."""

    points: dict[Id, PointConfig] = Field(min_length=1)
    """The machine's measuring points."""

    @model_validator(mode="after")
    def _bearings_turn(self) -> MachineConfig:
        for name, point in self.points.items():
            if point.bearing is not None and self.shaft_hz is None:
                raise ValueError(
                    f"points.{name}.bearing needs the speed of the shaft; add 'shaft_hz' (turns per second) here"
                )
        return self


class Config(Model):
    """The whole file."""

    gateway: GatewayConfig
    model: str = "echo-tiny"
    """Model package: the name of a shipped one, or the path of a ``NAME.onnx`` with its ``NAME.json``."""

    @field_validator("model")
    @classmethod
    def _model_path(cls, value: str, info: ValidationInfo) -> str:
        is_path = "/" in value or value.endswith((".onnx", ".json"))
        return str(existing(Path(value), info)) if is_path else value

    engine: EngineConfig = EngineConfig()
    mqtt: MqttConfig = MqttConfig()
    orders: OrdersConfig = OrdersConfig()
    metrics: MetricsConfig | None = None
    """Absent: nothing listens."""

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
            opened = opened_channels(device)
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

    def two_person_points(self) -> frozenset[str]:
        """Points whose baselines their authors must not activate."""
        return frozenset(p for p in self.points() if self.machines[p.partition("/")[0]].approval == "two_person")

    def title(self, point: str) -> str:
        """The name for people of a point's machine."""
        machine = point.partition("/")[0]
        return self.machines[machine].title or machine

    def operating_state(self, point: str) -> OperatingStateConfig:
        """How the state of a point's machine is told."""
        return self.machines[point.partition("/")[0]].operating_state

    def state_topics(self) -> list[str]:
        """Topics of the plant that tell the state of a machine, each once."""
        topics = [machine.operating_state.topic for machine in self.machines.values()]
        return list(dict.fromkeys(topic for topic in topics if topic is not None))

    def indicator_spec(self, window: Window) -> IndicatorSpec:
        """What decides which indicators a window has."""
        bearing = self.points()[window.point].bearing
        shaft_hz = self.machines[window.point.partition("/")[0]].shaft_hz
        return IndicatorSpec.of(window, shaft_hz, None if bearing is None else bearing.per_turn)

    def target_per_month(self, point: str) -> float:
        """The point's share of its machine's accepted false alarms per month."""
        machine = self.machines[point.partition("/")[0]]
        return machine.target_false_alarms_per_month / len(machine.points)
