"""Recorded faults in recorded backgrounds: whether an alert opens, and how soon.

The recordings are short. A stream is made of them: windows of one condition one after the other, each in another piece
of background. What is learned and what is judged are other windows in other backgrounds; windows learned follow each
other as in the recording, so that a stretch that is held out is one that the others do not contain.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.embedder import Embedder
from echo_edge.records import Window
from tests.torture.alert_counts import opened
from tests.torture.features import Heard, hear, make_embedder
from tests.torture.growing import Way, ways
from tests.torture.judging import Learned

SNRS_DB = (10.0, 0.0, -6.0)
LEARNED, BEFORE, FAULTY, HEALTHY = 480, 20, 60, 480  # windows of each stream
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rig:
    """A machine's windows, each of shape (S,)."""

    name: str
    unit: str
    rate_hz: int
    learned: list[Array]
    healthy: list[Array]
    faults: dict[str, list[Array]]
    rms: float
    """Of the healthy machine: what the background is set against."""


def measure(data: Path, target: float) -> list[dict[str, Any]]:
    """Return one row per rig, background level and way to judge."""
    from trainer.evaluation.detection import load_backgrounds  # noqa: PLC0415 - reads recordings

    embedder = make_embedder()
    rows = []
    for rig in rigs(data):
        backgrounds = load_backgrounds(data / "audio", rig.rate_hz)
        for snr_db in SNRS_DB:
            rows += _measure(rig, backgrounds, snr_db, target, embedder)
    return rows


def rigs(data: Path) -> list[Rig]:
    """CWRU's bearings with full and with early faults, and the motor that loses its propeller."""
    return [*_bearings(data / "cwru"), _motor(data / "bldc_motor_mic")]


def _bearings(folder: Path) -> list[Rig]:
    """Drive end, 48 kHz, windows of 0.5 s: the first half of both normal recordings is learned.

    Early faults are the recordings, weaker than the healthy machine, on top of healthy windows that were not learned.
    """
    from trainer.evaluation.detection import EARLY_DB, mix  # noqa: PLC0415
    from trainer.evaluation.recordings import read_manifest, read_recording  # noqa: PLC0415

    rows = [r for r in read_manifest(folder) if r["subset"] in {"normal", "48k_DE"} and r["channel"] == "DE"]
    cut = {r["file"]: _cut(read_recording(folder, r), 24_000) for r in rows}
    normal = [cut[r["file"]] for r in rows if r["fault"] == "normal"]
    learned = [window for windows in normal for window in windows[: len(windows) // 2]]
    healthy = [window for windows in normal for window in windows[len(windows) // 2 :]]
    full = {Path(r["file"]).stem: cut[r["file"]] for r in rows if r["fault"] != "normal"}
    rms = float(np.mean([_rms(window) for window in learned]))
    early = {
        name: [mix(healthy[i % len(healthy)], rms, part / _rms(part), EARLY_DB) for i, part in enumerate(parts)]
        for name, parts in full.items()
    }
    return [
        Rig("bearing, full fault", "g", 48_000, learned, healthy, full, rms),
        Rig("bearing, early fault", "g", 48_000, learned, healthy, early, rms),
    ]


def _motor(folder: Path) -> Rig:
    """A small motor at a microphone, windows of 1 s: with its propeller it is healthy, without it has lost it.

    The first half of the clips of every throttle is learned. Clips of one throttle come from one take, so that this is
    the easier half of what a real machine would show.
    """
    from trainer.evaluation.detection import THROTTLES  # noqa: PLC0415
    from trainer.evaluation.recordings import read_manifest, read_recording  # noqa: PLC0415

    clips: dict[tuple[str, str], list[Array]] = {}
    for row in sorted(read_manifest(folder), key=lambda row: row["file"]):
        throttle = row["condition"].rpartition("=")[2]
        if throttle in THROTTLES:
            clips.setdefault((row["label"], throttle), []).extend(_cut(read_recording(folder, row), 48_000))
    kept = {t: clips["prop", t] for t in THROTTLES}
    learned = [window for windows in kept.values() for window in windows[: len(windows) // 2]]
    healthy = [window for windows in kept.values() for window in windows[len(windows) // 2 :]]
    lost = {f"no propeller, {t} %": clips["no_prop", t] for t in THROTTLES}
    rms = float(np.mean([_rms(window) for window in learned]))
    return Rig("motor", "full scale", 48_000, learned, healthy, lost, rms)


def _cut(samples: Array, length: int) -> list[Array]:
    return [samples[at : at + length] for at in range(0, samples.size - length + 1, length)]


def _rms(samples: Array) -> float:
    return float(np.std(samples, dtype=np.float64))


def _measure(
    rig: Rig, backgrounds: tuple[list[Array], list[Array]], snr_db: float, target: float, embedder: Embedder
) -> list[dict[str, Any]]:
    random = np.random.default_rng([zlib.crc32(f"{rig.name} {snr_db}".encode())])

    def stream(windows: Sequence[Array], count: int, clips: Sequence[Array]) -> list[Array]:
        """``count`` windows, in the order of the recording, each in some background."""
        order = [i * len(windows) // count for i in range(count)]
        return [_mixed(windows[i], rig.rms, clips, snr_db, random) for i in order]

    learned = Learned(_heard(stream(rig.learned, LEARNED, backgrounds[0]), rig, embedder), rig_hop_s(rig))
    every = ways(learned, target)
    healthy = _heard(stream(rig.healthy, HEALTHY, backgrounds[1]), rig, embedder)
    false = {way.name: len(_alerts(way, healthy, rig)) for way in every}
    delays: dict[str, list[float | None]] = {way.name: [] for way in every}
    for windows in rig.faults.values():
        before = stream(rig.healthy, BEFORE, backgrounds[1])
        heard = _heard(before + stream(windows, FAULTY, backgrounds[1]), rig, embedder)
        for way in every:
            begins = [begin for begin in _alerts(way, heard, rig) if begin >= BEFORE]
            delays[way.name].append((begins[0] - BEFORE + 1) * rig_hop_s(rig) if begins else None)
    return [
        {
            "rig": rig.name,
            "snr_db": snr_db,
            "way": name,
            "faults": len(found),
            "found": sum(delay is not None for delay in found),
            "delay_s": float(np.median([d for d in found if d is not None])) if any(found) else None,
            "false_alarms": false[name],
            "healthy_s": HEALTHY * rig_hop_s(rig),
        }
        for name, found in delays.items()
    ]


def rig_hop_s(rig: Rig) -> float:
    return len(rig.learned[0]) / rig.rate_hz


def _mixed(samples: Array, rms: float, clips: Sequence[Array], snr_db: float, random: np.random.Generator) -> Array:
    clip = clips[int(random.integers(len(clips)))]
    start = int(random.integers(clip.size - samples.size + 1))
    background = clip[start : start + samples.size] * np.float32(rms * 10 ** (-snr_db / 20))
    return np.asarray(samples + background, np.float32)


def _heard(stream: Sequence[Array], rig: Rig, embedder: Embedder) -> Heard:
    hop_ns = round(rig_hop_s(rig) * 1e9)
    windows = (Window("real/fault", x[None], rig.rate_hz, i * hop_ns, rig.unit) for i, x in enumerate(stream))
    return hear((replace(window) for window in windows), embedder, hop_ns)


def _alerts(way: Way, heard: Heard, rig: Rig) -> list[int]:
    return opened(way.scorer.score(heard) / way.threshold.value, way.threshold.persistence, rig_hop_s(rig))
