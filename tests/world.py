"""Small worlds for tests: a configuration, an embedder without a model, windows of an invented machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from echo_edge.config import Config
from echo_edge.embedder import Embedder
from echo_edge.engine.fake import FakeEngine, fake_package
from echo_edge.records import Window
from echo_edge.windows import Windower
from sensors import Block, Machine

RATE_HZ = 16_000
POINT = "pump/de"


def make_config(**sections: Any) -> Config:
    """One machine with one point on one simulated device, unless told otherwise."""
    return Config.model_validate(
        {
            "gateway": {"id": "gw"},
            "devices": {"acc": {"kind": "simulator", "rate_hz": RATE_HZ}},
            "machines": {"pump": {"points": {"de": {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}}}}},
            **sections,
        },
        context={"folder": Path()},
    )


def make_embedder(width: int = 16) -> Embedder:
    engine = FakeEngine(width)
    return Embedder(fake_package(engine), engine)


def machine_windows(
    count: int, *, point: str = POINT, seed: int = 1, skip_s: float = 0, **machine: Any
) -> list[Window]:
    """Consecutive windows of half a second; ``fault`` and ``severity`` as ``Machine.set_fault`` takes them."""
    fault, severity = machine.pop("fault", None), machine.pop("severity", 1.0)
    unit = machine.get("unit", "g")
    invented = Machine(seed, machine.pop("rate_hz", RATE_HZ), **machine)
    invented.set_fault(fault, severity)
    invented.samples(round((1 + skip_s) * invented.rate_hz))  # a fault sets in softly
    windower = Windower(point, [0], invented.rate_hz, 0.5, 0.5, unit)
    samples = invented.samples(round(count * 0.5 * invented.rate_hz))
    return windower.push(Block(samples, 0, after_gap=True))


def broken(window: Window, value: float) -> Window:
    """The same window with one impossible sample, or stuck at a value that a sensor may well get stuck at."""
    samples = window.samples.copy()
    if np.isfinite(value) and value < 100:
        samples[:] = value
    else:
        samples[0, 100] = value
    return Window(window.point, samples, window.rate_hz, window.time_ns, window.unit)
