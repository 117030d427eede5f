"""The daemon's rule part by part, on the machines and conditions of ``methods``: what each step is worth.

Shape suffixes: R = windows, N = bands, D = width, K = indicators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echo_edge.frontend import SPEC
from trainer.evaluation.contestants import spectrum_by_band
from trainer.evaluation.detection import Condition, Rig, conditions, load_backgrounds, load_rigs, roc, scores
from trainer.siren.daemon_rule import GAIN, INDICATORS_WEIGHT, Part, fused, nearest, spread
from trainer.siren.encoders.base import Encoder, FloatArray
from trainer.siren.tables import header, row

Array = NDArray[np.float64]
Step = Callable[[int, int], None]
VELOCITY_HZ = (10.0, 1000.0)
COLUMNS = ("all", "bearing, early fault", "bearing, other load", "motor", "at the level learned", "6 dB louder, softer")


@dataclass(frozen=True, slots=True)
class Views:
    """What the daemon knows of the windows of a fold, learned and asked of."""

    echo: tuple[FloatArray, FloatArray]
    """Shape (R, N, D) each."""

    spectrum: tuple[FloatArray, FloatArray]
    """Shape (R, N, 32) each."""

    indicators: tuple[Array, Array]
    """Shape (R, K) each."""

    group: NDArray[np.int64]
    """Shape (R,): windows of one group do not test each other."""


def by_parts(encoder: Encoder, data: Path, progress: Step = lambda *_: None) -> str:
    """Return a Markdown table: AUC and partial AUC of each step of the daemon's rule, by machine and by level.

    Args:
        encoder: one whose bands are equally wide.
    Raises:
        DataError: recordings are missing under ``data``.
    """
    rigs = load_rigs(data)
    found: dict[str, list[tuple[str, float, float, float]]] = {name: [] for name in STEPS}
    for done, rig in enumerate(rigs):
        progress(done, len(rigs))
        for at in conditions(_seen_by(encoder, rig), rig, load_backgrounds(data / "audio", rig.rate_hz)):
            for name, areas in _areas(at, encoder, rig).items():
                found[name].append((rig.name, at.gain_db, *areas))
    progress(len(rigs), len(rigs))
    lines = header([encoder.name, *COLUMNS])
    for name, rows in found.items():
        wanted = [
            rows,
            *([r for r in rows if r[0] == machine] for machine in COLUMNS[1:4]),
            *([r for r in rows if (r[1] == 0) == level] for level in (True, False)),
        ]
        means = [np.mean([r[2:] for r in some], axis=0) for some in wanted]
        lines.append(row([name, *(f"{auc:.3f} / {pauc:.3f}" for auc, pauc in means)]))
    return "\n".join([*lines, ""])


def equally_wide(encoder: Encoder, rate_hz: int) -> int | None:
    """Return the width of an encoder's bands; None where it has none or they differ."""
    widths = {b - a for a, b in pairwise(encoder.band_edges(rate_hz) or ())}
    return widths.pop() if len(widths) == 1 else None


def _echo(v: Views, density: float) -> Part:
    return nearest(v.echo[0], v.group, v.echo[1], density=density)


def _spectrum(v: Views, tolerated: float) -> Part:
    return nearest(v.spectrum[0], v.group, v.spectrum[1], tolerated=tolerated)


def _indicators(v: Views) -> Part:
    return spread(v.indicators[0], v.group, v.indicators[1])


def _both(v: Views) -> list[Part]:
    return [_echo(v, 0.5), _spectrum(v, GAIN)]


STEPS: dict[str, Callable[[Views], Array]] = {
    "encoder: nearest per band": lambda v: scores(v.echo[0], v.group, v.echo[1]),
    "encoder: nearest per band, density": lambda v: scores(v.echo[0], v.group, v.echo[1], density=0.5),
    "encoder: whitened": lambda v: _echo(v, 0.0)[1],
    "encoder: whitened, density (**the part**)": lambda v: _echo(v, 0.5)[1],
    "spectrum: nearest per band": lambda v: scores(v.spectrum[0], v.group, v.spectrum[1]),
    "spectrum: whitened, density": lambda v: _spectrum(v, 0.0)[1],
    "spectrum: whitened, density, 3 dB (**the part**)": lambda v: _spectrum(v, GAIN)[1],
    "indicators (**the part**)": lambda v: _indicators(v)[1],
    "encoder and spectrum": lambda v: fused(_both(v), (1, 1)),
    "encoder, spectrum and indicators (**the daemon's rule**)": lambda v: fused(
        [*_both(v), _indicators(v)], (1, 1, INDICATORS_WEIGHT)
    ),
}


def _areas(at: Condition, encoder: Encoder, rig: Rig) -> dict[str, tuple[float, float]]:
    width = equally_wide(encoder, rig.rate_hz) or 0
    ends = (0, width, width + SPEC.band_width)
    folds = []
    for fold in at.folds:
        echo, spectrum = ((fold.known[..., a:b], fold.asked[..., a:b]) for a, b in pairwise(ends))
        known, asked = (x[:, 0, ends[-1] :].astype(np.float64) for x in (fold.known, fold.asked))
        folds.append((Views(echo, spectrum, (known, asked), fold.excerpt), fold.faulty))
    return {name: _mean([roc(step(views), faulty) for views, faulty in folds]) for name, step in STEPS.items()}


def _mean(areas: Sequence[tuple[float, float]]) -> tuple[float, float]:
    auc, pauc = np.mean(areas, axis=0)
    return float(auc), float(pauc)


def _seen_by(encoder: Encoder, rig: Rig) -> Callable[[Sequence[FloatArray], int], FloatArray]:
    """Return a detector of all three views in one array, (R, N, D + 32 + K); indicators are repeated in every band."""

    def vectors(signals: Sequence[FloatArray], rate_hz: int) -> FloatArray:
        width = equally_wide(encoder, rate_hz) or 0
        echo = np.stack(encoder.embed_batch([s[None] for s in signals], rate_hz)).reshape(len(signals), -1, width)
        measured = np.stack([indicators(s, rate_hz, acceleration=rig.acceleration) for s in signals])
        repeated = np.repeat(measured[:, None], echo.shape[1], axis=1)
        return np.concatenate([echo, spectrum_by_band(signals, rate_hz), repeated], axis=2).astype(np.float32)

    return vectors


def indicators(samples: FloatArray, rate_hz: int, *, acceleration: bool) -> Array:
    """Return log10 of RMS, crest factor, kurtosis and, of acceleration, of velocity RMS from 10 to 1000 Hz.

    As ``echo_edge/indicators.py`` without a bearing; a factor of the unit changes nothing here.
    """
    x = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    rms = float(np.sqrt(np.mean(np.square(x))))
    found = [rms, float(np.abs(x).max()) / rms, float(np.mean(x**4)) / rms**4]
    if acceleration:
        spectrum = np.abs(np.fft.rfft(x * np.hanning(x.size)))
        frequency = np.fft.rfftfreq(x.size, 1 / rate_hz)
        heard = (frequency >= VELOCITY_HZ[0]) & (frequency <= VELOCITY_HZ[1])
        found.append(float(np.sqrt(np.sum(np.square(spectrum[heard] / frequency[heard])))))
    logs: Array = np.log10(found)
    return logs
