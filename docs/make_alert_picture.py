"""Draw docs/pictures/alert.png: the alert of an invented machine whose bearing begins to fail.

.venv/bin/python docs/make_alert_picture.py
"""

from __future__ import annotations

from pathlib import Path

from echo_edge.album import save_picture
from echo_edge.assembly import make_embedder
from echo_edge.config import Config
from echo_edge.enroll import Enrollment
from echo_edge.features import zoned
from echo_edge.pipeline import Pipeline
from echo_edge.records import Window
from echo_edge.windows import Windower
from sensors import Block, Machine

PICTURE = Path(__file__).parent / "pictures" / "alert.png"
POINT, RATE_HZ, WINDOW_S, ENROLLED = "pump-12/de", 25_600, 2.0, 60
BEGIN_NS = 1_777_881_600_000_000_000  # 2026-05-04 08:00:00 UTC
CONFIG = {
    "gateway": {"id": "gw-hall3"},
    "devices": {"acc1": {"kind": "simulator", "rate_hz": RATE_HZ, "channels": 3}},
    "machines": {
        "pump-12": {
            "title": "Feed pump 12",
            "shaft_hz": 29.5,
            "vibration_class": "medium",
            "points": {
                "de": {
                    "device": "acc1",
                    "channels": ["x", "y", "z"],
                    "window": {"length_s": WINDOW_S, "hop_s": WINDOW_S},
                    "bearing": {"rolling_elements": 9, "ball_diameter_mm": 7.94, "pitch_diameter_mm": 39.04},
                }
            },
        }
    },
}


def windows(machine: Machine, count: int, begin_ns: int) -> list[Window]:
    cutter = Windower(POINT, [0, 1, 2], RATE_HZ, WINDOW_S, WINDOW_S, "g")
    return cutter.push(Block(machine.samples(round(count * WINDOW_S * RATE_HZ)), begin_ns, after_gap=True))


def main() -> None:
    config = Config.model_validate(CONFIG, context={"folder": Path()})
    pipeline = Pipeline(config, make_embedder(config))
    machine = Machine(3, RATE_HZ, 3)
    enrollment = Enrollment(POINT, "run-50hz", 0)
    pipeline.learn(enrollment, windows(machine, ENROLLED, BEGIN_NS))
    pipeline.points[POINT].adopt(enrollment.finish(None))
    machine.set_fault("outer_race", 0.25)
    for verdict in pipeline.step(windows(machine, 10, BEGIN_NS + 3_600_000_000_000)):
        if verdict.event is not None and (evidence := zoned(config, verdict)) is not None:
            save_picture(PICTURE, verdict.event, evidence, config.title(POINT))
            return
    raise SystemExit("no alert")


if __name__ == "__main__":
    main()
