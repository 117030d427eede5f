"""An invented plant for the pages about machines: messages as docs/mqtt.md shows them, and a history with a hole."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.web.world import INFO, columns

BANDS = [{"hz": [0, 1260], "share": 0.1}, {"hz": [1260, 2540], "share": 0.25}, {"hz": [2540, 3820], "share": 0.65}]
PROMISE = {"target": 1, "estimated": 0.5, "demonstrated_upper_95": 12.9, "kept": True}
UNHEARD = range(10, 20)
"""The buckets of the history in which nothing was heard."""


def ago(seconds: float) -> str:
    """A moment so long ago, as messages tell it."""
    return (
        (datetime.now(timezone.utc) - timedelta(seconds=seconds))
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def judged(level: str = "normal", raw: float = 1.25, **more: Any) -> dict[str, Any]:
    """A point's state with a verdict."""
    return {
        "ts": ago(1),
        "level": level,
        "operating_state": {"name": "run", "source": "auto"},
        "score": {"raw": raw, "threshold": 5.75, "ratio": raw / 5.75, "false_alarms_per_month": PROMISE},
        "windows": {"k": 2, "n_of": 10, "k_needed": 6},
        "bands": BANDS,
        "baseline": "bl_0001",
        "quality": "ok",
        **more,
    }


def lost() -> dict[str, Any]:
    """A point's state without its sensor."""
    return {"ts": ago(1), "level": "not_monitored", "reason": "sensor lost: /dev/ttyACM0: no such device"}


def sensor(**more: Any) -> dict[str, Any]:
    """The quality of a sensor, well where nothing else is said."""
    return {"ts": ago(1), "state": "ok", "reasons": [], "rate_hz": 25600, **more}


def features() -> dict[str, Any]:
    """Indicators that were measured just now."""
    return {"ts": ago(2), "features": {"velocity_rms_x_mm_s": 1.976, "crest_x": 6.37}, "zone": "B"}


def baseline() -> dict[str, Any]:
    """What the point is judged by."""
    states = [{"name": "run", "windows": 60, "learned_s": 600, "threshold": 5.75}]
    promise = {name: value for name, value in PROMISE.items() if name != "kept"}
    return {
        "ts": ago(9),
        "baseline": "bl_0001",
        "created": ago(9e5),
        "states": states,
        "false_alarms_per_month": promise,
    }


def score(end_s: float, raw: float = 1.0) -> dict[str, Any]:
    """One judged window of 1 s."""
    return {
        "ts": ago(end_s),
        "raw": raw,
        "threshold": 5.75,
        "level": "normal",
        "window": {"from": ago(end_s + 1), "to": ago(end_s)},
    }


def window(end_s: float, loud: int = 100, rows: int = 8, cols: int = 4) -> dict[str, Any]:
    """One window of 1 s with a picture of one loudness."""
    picture = base64.b64encode(bytes([loud]) * (rows * cols)).decode()
    size = {"rows": rows, "cols": cols, "top_hz": 12800}
    return {"ts": ago(end_s), "length_s": 1.0, "hop_s": 1.0, "gap_before": False, "picture": picture, **size}


def machines(*points: str, title: str = "Feed pump 12") -> dict[str, Any]:
    """The message ``info`` of one machine with these points."""
    return {**INFO, "machines": [{"id": "pump-12", "title": title, "points": list(points)}]}


def history(args: dict[str, Any]) -> dict[str, Any]:
    """The reading ``history``: 40 buckets, one stretch of them unheard, one alert at the end."""
    n, begin = 40, datetime.fromisoformat(args["from"].replace("Z", "+00:00"))

    def heard(value: float) -> list[float | None]:
        return columns(n, lambda i: None if i in UNHEARD else value)

    return {
        "bucket_s": 60.0,
        "t": columns(n, lambda i: (begin + timedelta(seconds=60 * i)).isoformat()),
        "score_max": heard(2.5),
        "score_median": heard(1.25),
        "threshold": heard(5.75),
        "level": columns(n, lambda i: None if i in UNHEARD else "normal"),
        "alert": columns(n, lambda i: i >= 38),
        "heard": columns(n, lambda i: 0.0 if i in UNHEARD else 1.0),
        "level_db": heard(-20.0),
        "indicators": {"velocity_rms_x_mm_s": columns(n, lambda i: None if i in UNHEARD else 1.0 + 0.05 * i)},
    }


def told(point: str = "pump-12/de", level: str = "normal", since: str | None = None, **more: Any) -> dict[str, Any]:
    """The answer to ``status``."""
    return {"points": [{"point": point, "level": level, "since": since or ago(7200), **more}]}
