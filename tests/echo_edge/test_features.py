"""What is published of a point's indicators: names with channels, the zone, and how often."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from echo_edge.baseline import Origin
from echo_edge.config import Config
from echo_edge.enroll import Enrollment
from echo_edge.envelope import Envelope, Topics
from echo_edge.features import describe
from echo_edge.outbox import Outbox
from echo_edge.payload import Info, load_schema
from echo_edge.pipeline import Pipeline, Verdict
from echo_edge.records import Embedding, Window
from echo_edge.report import Reporter
from tests.world import broken, machine_windows, make_config, make_embedder

RATE_HZ = 16_000
BEARING = {"rolling_elements": 9, "ball_diameter_mm": 7.94, "pitch_diameter_mm": 39.04}
WINDOW = {"length_s": 1, "hop_s": 1}


def pump(channels: list[Any] | None = None, **machine: Any) -> Config:
    point = {"device": "acc", "window": WINDOW, "channels": channels or [0]}
    device = {"kind": "simulator", "rate_hz": RATE_HZ, "channels": 4}
    return make_config(devices={"acc": device}, machines={"pump": {"points": {"de": point}, **machine}})


def verdict(config: Config, rate_hz: int = RATE_HZ, unit: str = "g", velocity_mm_s: float = 2.0) -> Verdict:
    """Of a tone at 50 Hz in as many channels as the point has, the last one twice as loud."""
    count = len(config.points()["pump/de"].channels)
    peak_g = velocity_mm_s * 2 * np.pi * 50 * np.sqrt(2) / 9806.65
    tone = peak_g * np.sin(2 * np.pi * 50 * np.arange(rate_hz) / rate_hz)
    samples = np.stack([tone * (2 if c == count - 1 and count > 1 else 1) for c in range(count)])
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(samples.shape)
    window = Window("pump/de", (samples + hiss).astype(np.float32), rate_hz, 0, unit)
    (found,) = Pipeline(config, make_embedder()).step([window])
    return found


def values(config: Config, **signal: Any) -> dict[str, float]:
    features = describe(config, verdict(config, **signal))
    assert features is not None
    return features.values


def test_one_channel_needs_no_name_and_several_have_it_before_the_unit_as_vibration_meters_do() -> None:
    assert list(values(pump())) == ["velocity_rms_mm_s", "acceleration_rms_g", "crest", "kurtosis"]
    axes = values(pump(["x", "z"]))
    assert list(axes)[:4] == [
        "velocity_rms_x_mm_s",
        "velocity_rms_z_mm_s",
        "acceleration_rms_x_g",
        "acceleration_rms_z_g",
    ]
    assert list(axes)[4:] == ["crest_x", "crest_z", "kurtosis_x", "kurtosis_z"]
    assert axes["velocity_rms_z_mm_s"] == pytest.approx(2 * axes["velocity_rms_x_mm_s"], rel=0.01)
    numbered = values(pump([2, 3]), unit="full scale")
    assert list(numbered) == [
        "level_ch2_dbfs",
        "level_ch3_dbfs",
        "crest_ch2",
        "crest_ch3",
        "kurtosis_ch2",
        "kurtosis_ch3",
    ]


@pytest.mark.parametrize(("vibration_class", "expected"), [("small", "C"), ("medium", "C"), ("large_flexible", "B")])
def test_the_zone_goes_by_the_strongest_channel(vibration_class: str, expected: str) -> None:
    config = pump(["x", "y"], vibration_class=vibration_class)
    features = describe(config, verdict(config, velocity_mm_s=2.0))
    assert features is not None
    assert features.zone == expected  # of 4 mm/s


def test_there_is_no_zone_without_a_class_a_velocity_or_the_whole_band() -> None:
    classed = pump(vibration_class="medium")
    for config, signal in ((pump(), {}), (classed, {"unit": "Pa"}), (classed, {"rate_hz": 2000})):
        features = describe(config, verdict(config, **signal))
        assert features is not None
        assert features.zone is None


def test_a_bearing_of_the_point_adds_its_lines() -> None:
    point = {"device": "acc", "window": WINDOW, "bearing": BEARING}
    config = make_config(machines={"pump": {"shaft_hz": 29.5, "points": {"de": point}}})
    assert [name for name in values(config) if name.startswith("envelope")] == [
        "envelope_bpfo_db",
        "envelope_bpfi_db",
        "envelope_bsf_db",
    ]


class Remembering(Enrollment):
    """Keeps what it is asked to learn."""

    def __init__(self) -> None:
        super().__init__("pump/de", "run", 0)
        self.seen: list[Embedding] = []

    def add(self, embedding: Embedding, origin: Origin) -> None:
        self.seen.append(embedding)
        super().add(embedding, origin)


def test_what_is_learned_live_or_from_recordings_carries_the_indicators_of_its_window() -> None:
    pipeline = Pipeline(make_config(), make_embedder())
    windows = machine_windows(2)
    recorded, live = Remembering(), Remembering()
    pipeline.learn(recorded, windows)
    pipeline.points["pump/de"].learner = live
    verdicts = pipeline.step(windows)
    for a, b, judged in zip(recorded.seen, live.seen, verdicts, strict=True):
        assert a.indicators.shape == (1, 4)
        assert a.indicators.tolist() == b.indicators.tolist() == judged.indicators.tolist()


class Broker:
    """Stands in for the publisher: what each topic was told, in order."""

    def __init__(self) -> None:
        self.told: dict[str, list[dict[str, Any]]] = {}

    def set_state(self, topic: str, payload: bytes, qos: int = 1) -> None:  # noqa: ARG002
        self.told.setdefault(topic.rpartition("/")[2], []).append(json.loads(payload))


def report(config: Config, windows: list[Window]) -> list[dict[str, Any]]:
    """Let the pipeline judge windows one by one and return the ``features`` that were published."""
    broker = Broker()
    info = Info("0", "fake", None, "fake", "5", tuple(config.points()), {})
    topics, envelope = Topics("echo-edge/v1", "gw"), Envelope("gw")
    reporter = Reporter(config, broker, Outbox(None, "gw"), topics, envelope, info)  # type: ignore[arg-type]
    pipeline = Pipeline(config, make_embedder())
    for window in windows:
        (found,) = pipeline.step([window])
        reporter.verdict(found, pipeline.points[window.point])
    told = broker.told.get("features", [])
    for payload in told:
        jsonschema.validate(payload, load_schema("features"))
    return told


def test_a_point_that_nobody_enrolled_publishes_its_features_no_more_often_than_asked() -> None:
    windows = machine_windows(4)
    (told,) = report(make_config(), windows)
    assert told["features"]["acceleration_rms_g"] == pytest.approx(0.1, abs=0.05)
    assert told["calibration"] == "none"
    assert "zone" not in told
    often = make_config(mqtt={"state_interval_s": 0.1})
    assert len(report(often, windows)) <= 4


def test_a_window_of_a_broken_sensor_has_no_features() -> None:
    dead = [broken(window, 0.0) for window in machine_windows(1)]
    assert report(make_config(), dead) == []


@pytest.mark.parametrize("unit", ["g", "Pa", "full scale", "m/s²", "mV"])
def test_features_of_every_unit_satisfy_the_schema(unit: str) -> None:
    config = pump(["x", 3], vibration_class="small", shaft_hz=29.5)
    windows = [verdict(config, unit=unit).window]
    assert len(report(config, windows)) == 1
