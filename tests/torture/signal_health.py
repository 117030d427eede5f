"""How often the checks of a signal cry wolf, and how often they miss: ``docs/results/signal-health.md``.

Good windows are an invented machine's, healthy and with each fault, in 16 bit steps, and every second of the real
recordings when they are there. Bad windows are good ones with one defect of a broken sensor put in.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from echo_edge.records import Limits, Window
from echo_edge.signal_checks import check_signal
from sensors import FAULTS, Machine, read_recording
from tests.shared_data import SHARED

RATES_HZ = (8_000, 16_000, 25_600, 48_000)
CONDITIONS = (None, *FAULTS)
FULL_SCALE = 2.0
LSB = FULL_SCALE / 32768
UNITS = {"g": Limits((FULL_SCALE,), (LSB,)), "Pa": Limits((FULL_SCALE,), (LSB,)), "full scale": Limits()}
Array = NDArray[np.float32]


def invented(count: int) -> Iterator[Window]:
    """Seconds of machines: rates, units, levels, conditions in turn."""
    each = 50
    for run in range(-(-count // each)):
        rate_hz, unit = RATES_HZ[run % len(RATES_HZ)], list(UNITS)[run % len(UNITS)]
        machine = Machine(run, rate_hz, 1, unit, level=10 ** np.random.default_rng(run).uniform(-1.5, -0.3))
        machine.set_fault(CONDITIONS[run % len(CONDITIONS)])
        samples = np.clip(np.rint(machine.samples(each * rate_hz)[:, 0] / LSB), -32768, 32767) * LSB
        for second in np.split(samples.astype(np.float32), each):
            yield Window("m/p", second[None], rate_hz, 0, unit, UNITS[unit])


def real(folder: Path) -> Iterator[tuple[str, Window]]:
    """Every second of the recordings below a folder, with the recording's name."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".wav", ".flac", ".ogg"}):
        samples, rate_hz, unit = read_recording(path)
        for start in range(0, len(samples) - rate_hz + 1, rate_hz):
            yield path.name, Window("m/p", samples[start : start + rate_hz, :1].T.copy(), rate_hz, 0, unit)


def muted(w: Window, random: np.random.Generator) -> Array:
    return with_run(w, random, 0.3, 0.0)


def hanging(w: Window, random: np.random.Generator) -> Array:
    return with_run(w, random, 0.15, float(random.uniform(0.01, 1)))


def unplugged_input(w: Window, random: np.random.Generator) -> Array:
    return (LSB * np.rint(0.6 * random.standard_normal(w.samples.shape))).astype(np.float32)


def broken_bits(w: Window, random: np.random.Generator) -> Array:
    """A converter of which only two bits still move."""
    return (0.2 * random.integers(0, 4, w.samples.shape)).astype(np.float32)


def overdriven(w: Window, random: np.random.Generator) -> Array:
    """So loud that about every fiftieth sample is cut off."""
    gain = FULL_SCALE / np.quantile(np.abs(w.samples), random.uniform(0.95, 0.985))
    return np.clip(w.samples * gain, -FULL_SCALE, FULL_SCALE).astype(np.float32)


def biased(w: Window, random: np.random.Generator) -> Array:
    quiet = w.samples * (0.2 / max(1e-9, float(np.abs(w.samples).max())))
    return (quiet + FULL_SCALE * random.uniform(0.75, 0.85)).astype(np.float32)


def humming(w: Window, random: np.random.Generator) -> Array:
    t = np.arange(w.samples.shape[1]) / w.rate_hz
    mains_hz = random.choice([50, 60])
    hum = sum(np.sin(2 * np.pi * mains_hz * k * t + random.uniform(0, 6)) / k for k in (1, 2, 3, 4, 5, 7))
    return (w.samples + 2 * float(w.samples.std()) * hum).astype(np.float32)


def not_numbers(w: Window, random: np.random.Generator) -> Array:
    samples = w.samples.copy()
    samples[0, random.integers(samples.shape[1])] = random.choice([np.nan, np.inf, -np.inf])
    return samples


def with_run(w: Window, random: np.random.Generator, run_s: float, value: float) -> Array:
    samples = w.samples.copy()
    start = random.integers(samples.shape[1] - round(run_s * w.rate_hz))
    samples[0, start : start + round(run_s * w.rate_hz)] = value
    return samples


DEFECTS: dict[str, tuple[str, tuple[str, ...], Callable[[Window, np.random.Generator], Array]]] = {
    "muted for 0.3 s": ("silence", tuple(UNITS), muted),
    "one value for 0.15 s": ("stuck", tuple(UNITS), hanging),
    "nothing but rounding noise": ("silence", ("g", "Pa"), unplugged_input),
    "no more than four values": ("stuck", tuple(UNITS), broken_bits),
    "1.5 to 5 % of the samples cut off": ("clipping", tuple(UNITS), overdriven),
    "mean at 75 to 85 % of the range": ("dc", ("g", "Pa"), biased),
    "hum of the mains, 8 dB above the machine": ("mains_hum", ("Pa", "full scale"), humming),
    "one sample that is no number": ("not_finite", tuple(UNITS), not_numbers),
}


def measure(count: int) -> list[str]:
    """Return the report's tables."""
    random = np.random.default_rng(0)
    flagged: Counter[str] = Counter()
    bad: dict[str, list[int]] = {name: [0, 0] for name in DEFECTS}
    for i, window in enumerate(track(invented(count), "windows", total=count)):
        flagged.update({finding.check for finding in check_signal(window)} or {"none"})
        name = list(DEFECTS)[i % len(DEFECTS)]
        check, units, break_it = DEFECTS[name]
        if window.unit in units:
            found = {finding.check for finding in check_signal(replace(window, samples=break_it(window, random)))}
            bad[name][0] += check in found
            bad[name][1] += 1
    lines = ["| good windows | count | flagged | as |", "|---|---|---|---|"]
    total, fine = flagged.total(), flagged.pop("none")
    lines.append(f"| invented machines | {total:,} | {(total - fine) / total:.3%} | {names(flagged)} |")
    for title, folder in (("CWRU bearings", "cwru"), ("BLDC motor, microphone", "bldc_motor_mic")):
        if SHARED is not None and (SHARED / "data" / folder).is_dir():
            seen: Counter[str] = Counter()
            for _, window in real(SHARED / "data" / folder):
                seen.update({finding.check for finding in check_signal(window)} or {"none"})
            total, fine = seen.total(), seen.pop("none", 0)
            lines.append(f"| {title} (real) | {total:,} | {(total - fine) / total:.3%} | {names(seen)} |")
    lines += ["", "| defect | check | windows | found |", "|---|---|---|---|"]
    for name, (hits, tries) in bad.items():
        lines.append(f"| {name} | `{DEFECTS[name][0]}` | {tries:,} | {hits / tries:.2%} |")
    return lines


def names(checks: Counter[str]) -> str:
    return ", ".join(f"`{check}` {count}" for check, count in checks.most_common()) or "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=10_000, help="invented good windows (default: 10000)")
    print("\n".join(measure(parser.parse_args().windows)))


if __name__ == "__main__":
    main()
