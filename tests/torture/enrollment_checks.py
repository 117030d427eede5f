"""What the checks of an enrollment find and miss: ``docs/results/enrollment-checks.md``.

Speech beside invented pumps and real machines, machines alone, machines that change while they are learned and steady
ones. Real sounds come from the folder DATA (``audio`` and ``bldc_motor_mic`` in it), voices from there and from
``tests.talker``.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.signal import resample_poly

from echo_edge import frontend
from echo_edge.artifact import load_package
from echo_edge.embedder import Embedder
from echo_edge.engine import create_engine
from echo_edge.levels import DB_PER_UNIT
from echo_edge.records import Window
from echo_edge.speech import SpeechWatch, speech_score
from echo_edge.stationarity import check_stationarity
from sensors import FAULTS, Machine, read_recording
from tests.talker import talk

WINDOW_S = 5.0
LEVELS_DB = (10, 0, -6)
SILENT_SHARE = 0.2  # clips of ESC-10 are often padded with digital silence: those are left out
PAUSE = 0.5  # of the voice's usual level: a piece below is mostly a pause
RATES_HZ = (8_000, 16_000, 48_000)
Array = NDArray[np.float32]
Item = TypeVar("Item")
Session = tuple[list[Array], int]
"""Windows of one recording in order, each of shape (S,), and their rate."""


def watched(items: Sequence[Item], title: str) -> Iterable[Item]:
    """Show how far it has come, where the page is not written to."""
    return track(items, title, console=Console(stderr=True))


def cut(samples: Array, rate_hz: int, length_s: float = WINDOW_S) -> list[Array]:
    """All whole windows; of a recording shorter than that, the whole."""
    n = round(length_s * rate_hz)
    return [samples[at : at + n] for at in range(0, max(1, len(samples) - n + 1), n)]


def window(samples: Array, rate_hz: int, start_s: float) -> Window:
    return Window("m/p", samples[None], rate_hz, round(start_s * 1e9), "Pa")


def pumps(count: int, seconds: float, rate_hz: int | None = None) -> Iterator[tuple[Array, int]]:
    """Invented pumps of all speeds and loads, healthy and with every fault."""
    for seed in range(count):
        random = np.random.default_rng(seed)
        rate = rate_hz or RATES_HZ[seed % len(RATES_HZ)]
        machine = Machine(seed, rate, 1, "Pa", shaft_hz=random.uniform(10, 60), load=random.uniform(0.2, 1))
        fault = (None, *FAULTS)[seed % (1 + len(FAULTS))]
        machine.set_fault(fault, random.uniform(0.3, 1))
        yield machine.samples(round(seconds * rate))[:, 0], rate


def recordings(data: Path, chosen: Callable[[dict[str, str]], bool]) -> Iterator[tuple[str, Array, int]]:
    """The general recordings whose row of the manifest is ``chosen``: name, samples, rate."""
    with (data / "audio" / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if chosen(row) and float(row["digital_silence_frac"]) < SILENT_SHARE:
                samples, rate_hz, _ = read_recording(data / "audio" / row["file"])
                yield row["file"], samples[:, 0], rate_hz


def motor_takes(data: Path) -> list[tuple[Array, int]]:
    """The clips of one take, joined."""
    files = sorted((data / "bldc_motor_mic").glob("*.flac"))
    takes = []
    for _, clips in groupby(files, key=lambda path: path.stem.rsplit("_", 1)[0]):
        read = [read_recording(path) for path in clips]
        takes.append((np.concatenate([samples[:, 0] for samples, _, _ in read]), read[0][1]))
    return takes


def sounds_without_speech(data: Path, invented: int) -> Iterator[tuple[str, list[Session]]]:
    """Machines alone, and what else may be heard beside them."""
    yield "invented pumps, healthy and faulty", [(cut(x, r), r) for x, r in pumps(invented, 120)]
    yield "motor, windows of 2 s (real)", [(cut(x, r, 2), r) for x, r in motor_takes(data)]
    for title, label in (("helicopter", "helicopter"), ("chainsaw", "chainsaw")):
        clips = recordings(data, lambda row, label=label: row["label"] == label)  # type: ignore[misc]
        yield f"{title} (real, ESC-10)", [(cut(x, r), r) for _, x, r in clips]
    effects = recordings(data, lambda row: row["subset"] == "opensfx")
    yield "vehicles and industry, 1 to 4 s each (OpenSFX)", [(cut(x, r), r) for _, x, r in effects]
    for label in ("exercise_bike", "running_tap", "doing_the_dishes"):
        parts = list(recordings(data, lambda row, label=label: row["label"] == label))  # type: ignore[misc]
        joined = np.concatenate([x for _, x, _ in parts])
        yield f"{label.replace('_', ' ')} (real)", [(cut(joined, parts[0][2]), parts[0][2])]
    for label in ("rain", "sea_waves", "fire_crackling", "clock_tick"):
        clips = recordings(data, lambda row, label=label: row["label"] == label)  # type: ignore[misc]
        yield f"{label.replace('_', ' ')} (real, ESC-10)", [(cut(x, r), r) for _, x, r in clips]


def real_voice(data: Path, rate_hz: int) -> Array:
    """Twelve recordings of people who read and talk, one after the other, at the same level."""
    parts = []
    for _, samples, rate in recordings(data, lambda row: row["label"] == "speech" or "/speech" in row["file"]):
        divisor = int(np.gcd(rate, rate_hz))
        voice = resample_poly(samples, rate_hz // divisor, rate // divisor)
        parts.append(voice / np.sqrt(np.mean(voice**2)))
    return np.concatenate(parts).astype(np.float32)


def invented_voice(rate_hz: int, seconds: float = 80) -> Array:
    each = 8.0
    voices = [talk(each, rate_hz, seed, 95 + 20 * (seed % 8)) for seed in range(round(seconds / each))]
    return np.concatenate(voices)


def pieces(voice: Array, length: int) -> list[Array]:
    """Parts of a voice that are no pauses, at RMS 1."""
    parts = [voice[at : at + length] for at in range(0, len(voice) - length + 1, length)]
    usual = float(np.sqrt(np.mean(voice**2)))
    levels = [float(np.sqrt(np.mean(part**2))) for part in parts]
    return [part / np.float32(level) for part, level in zip(parts, levels, strict=True) if level > PAUSE * usual]


def alone(sessions: list[Session]) -> tuple[int, int]:
    """How many windows of machines alone are taken for speech, of how many."""
    taken = count = 0
    for windows, rate_hz in sessions:
        watch, at_s = SpeechWatch(), 0.0
        for samples in windows:
            taken += watch.check(window(samples, rate_hz, at_s)) is not None
            count, at_s = count + 1, at_s + len(samples) / rate_hz
    return taken, count


def talked_over(
    machine: Array, rate_hz: int, voice: list[Array], db: float, length_s: float, alone_s: float
) -> tuple[int, int]:
    """Of one machine's windows with a voice in it, how many are found; it is heard alone for ``alone_s`` before."""
    watch, found, count = SpeechWatch(), 0, 0
    for i, samples in enumerate(cut(machine, rate_hz, length_s)):
        at_s = i * length_s
        if at_s < alone_s:
            watch.check(window(samples, rate_hz, at_s))
            continue
        mixed = samples + voice[count % len(voice)] * np.float32(np.std(samples) * 10 ** (db / 20))
        found += watch.check(window(mixed, rate_hz, at_s)) is not None
        count += 1
    return found, count


def share(pairs: list[tuple[int, int]]) -> str:
    hits, tries = (sum(column) for column in zip(*pairs, strict=True))
    return f"{hits / tries:.1%}"


def detection(data: Path, invented: int) -> list[str]:
    """Windows with speech that are found: backgrounds and voices, then lengths and rates."""
    lines = ["| machine, windows of 5 s | voice | windows | +10 dB | 0 dB | -6 dB |", "|---|---|---|---|---|---|"]
    voices: dict[str, Callable[[int], Array]] = {
        "real": lambda rate_hz: real_voice(data, rate_hz),
        "invented": invented_voice,
    }
    grounds = {
        "invented pumps, heard alone for a minute before": (list(pumps(invented, 120)), 60.0),
        "motor (real), from the first window on": (motor_takes(data), 0.0),
    }
    for ground, (machines, alone_s) in grounds.items():
        for name, voice in voices.items():
            spoken = {rate: pieces(voice(rate), round(WINDOW_S * rate)) for rate in {rate for _, rate in machines}}
            cells, count = [], 0
            for db in LEVELS_DB:
                pairs = [
                    talked_over(x, r, spoken[r][i % len(spoken[r]) :] + spoken[r], db, WINDOW_S, alone_s)
                    for i, (x, r) in enumerate(watched(machines, f"{ground}, {name}, {db} dB"))
                    if len(x) >= WINDOW_S * r
                ]
                cells.append(share(pairs))
                count = sum(tries for _, tries in pairs)
            lines.append(f"| {ground} | {name} | {count:,} | {' | '.join(cells)} |")
    lines += ["", "| real voice at 0 dB, invented pumps | windows | found |", "|---|---|---|"]
    for length_s, rate_hz in ((0.5, 16_000), (1, 16_000), (2, 16_000), (20, 16_000), *((5, rate) for rate in RATES_HZ)):
        spoken_now = pieces(real_voice(data, rate_hz), round(length_s * rate_hz))
        machines = list(pumps(max(3, invented // 3), 60 + max(20, 2 * length_s), rate_hz))
        pairs = [
            talked_over(x, r, spoken_now[7 * i % len(spoken_now) :] + spoken_now, 0, length_s, 60)
            for i, (x, r) in enumerate(watched(machines, f"{length_s} s, {rate_hz} Hz"))
        ]
        lines.append(
            f"| {length_s:g} s at {rate_hz // 1000} kHz | {sum(tries for _, tries in pairs):,} | {share(pairs)} |"
        )
    return lines


def without_speech(data: Path, invented: int) -> list[str]:
    lines = ["| sound without speech | windows | taken for speech |", "|---|---|---|"]
    for title, sessions in sounds_without_speech(data, invented):
        taken, count = alone(sessions)
        lines.append(f"| {title} | {count:,} | {taken} ({taken / count:.1%}) |")
    return lines


def cost() -> list[str]:
    """Processor time per window of 5 s, beside the smallest encoder's."""
    package = load_package("echo-tiny")
    embedder = Embedder(package, create_engine("onnx", package, 1))
    lines = [
        "| window of 5 s | embedding | steady machine | share | where the network is asked |",
        "|---|---|---|---|---|",
    ]
    for rate_hz in RATES_HZ:
        steady = np.random.default_rng(0).standard_normal(round(WINDOW_S * rate_hz)).astype(np.float32)
        lively = steady * np.linspace(0.1, 1, len(steady), dtype=np.float32)
        heard = [window(samples, rate_hz, 0) for samples in (steady, lively)]
        embed = least_ms(lambda: embedder.embed(heard[:1]))  # noqa: B023 - called at once
        calm, asked = (least_ms(lambda: speech_score(one)) for one in heard)  # noqa: B023
        times = f"{embed:.1f} ms | {calm:.2f} ms | {calm / embed:.1%} | {asked:.0f} ms"
        lines.append(f"| {rate_hz // 1000} kHz | {times} |")
    return lines


def least_ms(call: Callable[[], object], turns: int = 30) -> float:
    took = []
    for _ in range(turns):
        started = time.process_time_ns()
        call()
        took.append(time.process_time_ns() - started)
    return min(took) / 1e6


Part = tuple[float, dict[str, float]]
"""Seconds, and what the machine is set to for so long: ``shaft_hz``, ``load``."""

USUAL = {"shaft_hz": 29.5, "load": 0.7}
MORE, SLOWER = {"load": 0.9}, {"shaft_hz": 25.0}
WARMING = [(5.0, {"shaft_hz": 4.0 + 4 * i, "load": 0.1 + 0.1 * i}) for i in range(6)]
CHANGES: dict[str, tuple[str, list[Part]]] = {
    "load 0.7 to 0.9 after 5 min": ("step", [(300, USUAL), (300, MORE)]),
    "load 0.7 to 0.9 after 2 min": ("step", [(120, USUAL), (480, MORE)]),
    "speed 29.5 to 25 Hz after 5 min": ("step", [(300, USUAL), (300, SLOWER)]),
    "start-up, the first 30 s": ("step", [*WARMING, (570, USUAL)]),
    "load 0.4 for the first 30 s": ("step", [(30, {**USUAL, "load": 0.4}), (570, USUAL)]),
    "load 0.7 and 0.9, 2 to 3 min each": (
        "two_states",
        [(120, USUAL), (120, MORE), (150, USUAL), (120, MORE), (90, USUAL)],
    ),
    "speed 29.5 and 25 Hz, 2.5 min each": ("two_states", [(150, USUAL), (150, SLOWER)] * 2),
    "a cycle: load 0.7 and 1.0, 20 s each": ("two_states", [(20, USUAL), (20, {**USUAL, "load": 1.0})] * 15),
    "load 0.6 to 0.9 little by little": ("trend", [(20, {**USUAL, "load": 0.6 + 0.01 * i}) for i in range(30)]),
}


def spectra(seed: int, rate_hz: int, parts: list[Part], fault: str | None = None) -> NDArray[np.float16]:
    """Mean spectra of the windows of a pump that is set otherwise from time to time, shape (W, 1, N, 32)."""
    machine = Machine(seed, rate_hz, 1, "Pa", **parts[0][1])  # type: ignore[arg-type]
    machine.set_fault(fault, 0.5)
    rows = []
    for seconds, settings in parts:
        machine.load = settings.get("load", machine.load)
        machine.shaft_hz = settings.get("shaft_hz", machine.shaft_hz)
        for _ in range(round(seconds / WINDOW_S)):
            samples = machine.samples(round(WINDOW_S * rate_hz))[:, 0]
            bands, _ = frontend.bands(samples, rate_hz)
            rows.append(bands[..., : frontend.frame_count(len(samples), rate_hz)].mean(axis=-1))
    return np.stack(rows)[:, None].astype(np.float16)


def steady_spectra(seed: int) -> tuple[NDArray[np.float16], int]:
    """Ten minutes of a pump that does not change."""
    random, rate_hz = np.random.default_rng(seed), (8000, 16_000)[seed % 2]
    settings = {"shaft_hz": random.uniform(10, 60), "load": random.uniform(0.2, 1)}
    return spectra(seed, rate_hz, [(600, settings)], (None, *FAULTS)[seed % (1 + len(FAULTS))]), rate_hz


def wandering(spectrum_wcnr: NDArray[np.float16], seed: int, spread_db: float, within_s: float) -> NDArray[np.float16]:
    """The same, but each band's level wanders as a first-order autoregressive process does."""
    random = np.random.default_rng(seed)
    keep = np.exp(-WINDOW_S / within_s)
    level_n = random.standard_normal(spectrum_wcnr.shape[2])
    levels_wn = np.empty((len(spectrum_wcnr), len(level_n)))
    for at in range(len(levels_wn)):
        levels_wn[at] = level_n
        level_n = keep * level_n + np.sqrt(1 - keep**2) * random.standard_normal(len(level_n))
    return (spectrum_wcnr + spread_db / DB_PER_UNIT * levels_wn[:, None, :, None]).astype(np.float16)


def verdict(spectrum_wcnr: NDArray[np.float16], rate_hz: int) -> str:
    start_ns = np.arange(len(spectrum_wcnr)) * round(WINDOW_S * 1e9)
    findings = check_stationarity(spectrum_wcnr, start_ns, rate_hz).findings
    return f"{findings[0].check}{' (bad)' if findings[0].bad else ''}" if findings else "nothing"


def stationarity(steady: int, changed: int) -> list[str]:
    """What is found in ten minutes of steady machines, of wandering and of changing ones."""
    lines = ["| 10 min, windows of 5 s | sessions | found |", "|---|---|---|"]
    calm = [steady_spectra(seed) for seed in watched(range(steady), "steady machines")]
    lines.append(row("steady pumps, healthy and faulty", [verdict(*session) for session in calm]))
    for spread_db, within_s in ((0.2, 30), (1.0, 30), (0.2, 120), (0.5, 120), (1.0, 120)):
        found = [verdict(wandering(x, i, spread_db, within_s), rate) for i, (x, rate) in enumerate(calm)]
        lines.append(row(f"each band wanders by {spread_db} dB within {within_s} s", found))
    for title, (_, parts) in CHANGES.items():
        found = [
            verdict(spectra(seed, (8000, 16_000)[seed % 2], parts), (8000, 16_000)[seed % 2])
            for seed in watched(range(changed), title)
        ]
        lines.append(row(title, found))
    return lines


def row(title: str, found: list[str]) -> str:
    counts = ", ".join(f"{what} {count}" for what, count in Counter(found).most_common())
    return f"| {title} | {len(found)} | {counts} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with audio and bldc_motor_mic in it")
    parser.add_argument("--pumps", type=int, default=30, help="invented pumps beside voices (default: 30)")
    parser.add_argument("--sessions", type=int, default=150, help="steady sessions (default: 150)")
    args = parser.parse_args()
    parts = (
        lambda: without_speech(args.data, args.pumps),
        lambda: detection(args.data, args.pumps),
        cost,
        lambda: stationarity(args.sessions, max(2, args.sessions // 15)),
    )
    for part in parts:
        print("\n".join(["", *part()]), flush=True)


if __name__ == "__main__":
    main()
