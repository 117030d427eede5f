"""Normal machines against faulty ones, in real background noise and at other levels than they were learned at.

A detector learns from normal windows and scores others by their distance to the nearest normal, band by band, in units
of the usual distance there: a plain rule, so that vectors are compared and not what is made of them (the daemon's own
is in ``trainer/siren/parts.py``). Learning hears the same kinds of background at the same ratio, as a technician who
enrolls in a running hall would, but from other clips than the test. The background's level is set against the *normal*
machine in the same state: a hall does not get louder because a bearing fails.

Shape suffixes: S = samples, R = windows, N = bands, D = embedding width.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from trainer.evaluation.recordings import DataError, read_manifest, read_recording

FloatArray = NDArray[np.float32]
Detector = Callable[[Sequence[FloatArray], int], FloatArray]
"""Windows (S,) and their rate to vectors (R, N, D); one long vector is one band."""

SEED = 20250814
SNRS_DB: tuple[float | None, ...] = (None, 10.0, 0.0, -6.0)
GAINS_DB = (0.0, 6.0)
MAX_FPR = 0.1
SCALE_FLOOR = 0.1  # of the median band's unit
CROWD, SPARSE = 2, 0.1  # as in echo_edge/nearest.py
BACKGROUND_RATE_HZ = 44_100
BACKGROUNDS = ("rain", "sea_waves", "helicopter", "chainsaw", "fire_crackling")
EARLY_DB = 6.0  # at 10 dB even clean AUC is below 0.9, at 3 dB it is 0.98
MIXES = 3  # draws of background per normal window, so that few seconds of normal meet many backgrounds
THROTTLES = ("20", "30", "40", "50", "60")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One window of a machine."""

    samples: FloatArray
    normal_rms: float
    """Of the normal machine in the same state: what the background is set against."""

    state: str
    faulty: bool = False


@dataclass(frozen=True, slots=True)
class Rig:
    """A machine with windows to learn and windows to test, and which states of both belong together."""

    name: str
    rate_hz: int
    learned: tuple[Excerpt, ...]
    tested: tuple[Excerpt, ...]
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """States learned and states tested, fold by fold."""

    acceleration: bool = True
    """What the samples are; else sound."""


@dataclass(frozen=True, slots=True)
class Row:
    """How well one detector did under one condition: mean over the rig's folds."""

    rig: str
    snr_db: float | None
    """None: no background."""

    gain_db: float
    """Every window is tested so much louder and so much softer than it was learned."""

    auc: float
    pauc: float
    """Standardised over false positive rates up to 0.1: 0.5 is chance (McClish 1989)."""


def load_rigs(data: Path) -> list[Rig]:
    """Return the machines of ``cwru`` and ``bldc_motor_mic`` under ``data``.

    Raises:
        DataError: a recording is missing or damaged.
    """
    return [*_bearings(data / "cwru"), _motor(data / "bldc_motor_mic")]


def load_backgrounds(folder: Path, rate_hz: int) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return noise to learn in and noise to test in, of RMS 1: of every kind, but never of one original recording.

    ESC-10's fifth fold, which is kept out of training.

    Raises:
        DataError: there are none, or one cannot be read.
    """
    rows = [r for r in read_manifest(folder) if r["file"].startswith("esc10_44k1/5-") and r["label"] in BACKGROUNDS]
    sides: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    for label in BACKGROUNDS:
        originals = sorted({_original(row) for row in rows if row["label"] == label})
        if len(originals) < 2:
            raise DataError(f"{folder / 'manifest.csv'}: needs ESC-10's fold 5 (esc10_44k1/5-*) of '{label}'")
        for row in rows:
            if row["label"] == label:
                clip = resampled(read_recording(folder, row), int(row["sampling_rate_hz"]), rate_hz)
                sides[originals.index(_original(row)) % 2].append(_unit(clip))
    return sides


def mix(samples: FloatArray, rms: float, background: FloatArray, snr_db: float) -> FloatArray:
    """Add ``background``, of RMS 1 over its whole clip, brought to ``snr_db`` below ``rms``; both have one length."""
    return (samples + background * (rms * 10 ** (-snr_db / 20))).astype(np.float32)


def detect(detector: Detector, rig: Rig, backgrounds: tuple[list[FloatArray], list[FloatArray]]) -> Iterator[Row]:
    """Score a detector under every condition."""
    for at in conditions(detector, rig, backgrounds):
        folds = [roc(scores(fold.known, fold.excerpt, fold.asked), fold.faulty) for fold in at.folds]
        auc, pauc = np.mean(folds, axis=0)
        yield Row(rig.name, at.snr_db, at.gain_db, float(auc), float(pauc))


@dataclass(frozen=True, slots=True)
class Fold:
    """Vectors learned and vectors asked of."""

    known: FloatArray
    """Shape (R, N, D)."""

    excerpt: NDArray[np.int64]
    """Which excerpt each learned row is of."""

    asked: FloatArray
    """Shape (R', N, D)."""

    faulty: NDArray[np.bool_]
    """Shape (R',)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One background and gain, fold by fold."""

    snr_db: float | None
    gain_db: float
    folds: tuple[Fold, ...]


def conditions(
    detector: Detector, rig: Rig, backgrounds: tuple[list[FloatArray], list[FloatArray]]
) -> Iterator[Condition]:
    """Yield what a detector says under every condition; the same mixtures whoever asks."""
    for snr_db in SNRS_DB:
        random = np.random.default_rng([SEED, zlib.crc32(f"{rig.name} {snr_db}".encode())])
        learned = _in_background(rig.learned, backgrounds[0], snr_db, random)
        tested = _in_background(rig.tested, backgrounds[1], snr_db, random)
        known = detector([window for _, window in learned], rig.rate_hz)
        for gain_db in GAINS_DB:
            # Louder and softer in one test: one gain for all would favour the faults that add level, or hide them.
            levels = [(at, w * np.float32(10 ** (g / 20))) for g in sorted({gain_db, -gain_db}) for at, w in tested]
            asked = detector([window for _, window in levels], rig.rate_hz)
            folds = []
            for states_learned, states_tested in rig.folds:
                rows = [i for i, (at, _) in enumerate(learned) if rig.learned[at].state in states_learned]
                columns = [i for i, (at, _) in enumerate(levels) if rig.tested[at].state in states_tested]
                excerpt = np.array([learned[i][0] for i in rows])
                faulty = np.array([rig.tested[levels[i][0]].faulty for i in columns])
                folds.append(Fold(known[rows], excerpt, asked[columns], faulty))
            yield Condition(snr_db, gain_db, tuple(folds))


def scores(
    known: FloatArray, excerpt: NDArray[np.int64], asked: FloatArray, density: float = 0.0
) -> NDArray[np.float64]:
    """Return how strange windows are: distance to the nearest normal per band, in units of the usual one, RMS of bands.

    Args:
        known: normal windows, shape (R, N, D).
        excerpt: shape (R,); rows of one excerpt, in several backgrounds, do not tell what is usual between normals.
        asked: shape (R', N, D).
        density: power of the local density around each normal window that distances to it are divided by.
    Returns:
        Shape (R',).
    """
    same = excerpt[:, None] == excerpt[None, :]
    among = np.where(same[None], np.inf, np.sqrt(_squared(known, known)))
    apart = np.sqrt(_squared(asked, known))
    if density:
        local = np.sort(among, axis=2)[:, :, :CROWD].mean(axis=2)
        crowding = np.maximum(local / np.median(local, axis=1, keepdims=True), SPARSE) ** density
        among, apart = among / crowding[:, None], apart / crowding[:, None]
    usual = np.median(among.min(axis=2), axis=1)
    scale = np.maximum(usual, SCALE_FLOOR * np.median(usual))
    distance = apart.min(axis=2) / scale[:, None]
    combined: NDArray[np.float64] = np.sqrt(np.mean(np.square(distance), axis=0))
    return combined


def roc(values: NDArray[np.float64], faulty: NDArray[np.bool_]) -> tuple[float, float]:
    """Return ROC-AUC and the standardised partial AUC up to a false positive rate of 0.1."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - a second to import, and only this asks for it

    return float(roc_auc_score(faulty, values)), float(roc_auc_score(faulty, values, max_fpr=MAX_FPR))


def resampled(samples: FloatArray, from_hz: int, to_hz: int) -> FloatArray:
    """Return ``samples`` at another rate."""
    common = gcd(from_hz, to_hz)
    return np.asarray(resample_poly(samples, to_hz // common, from_hz // common), np.float32)


def _squared(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    """Squared distances band by band: (R, N, D), (R', N, D) -> (N, R, R')."""
    centre = b.mean(axis=0, dtype=np.float64)  # distances are small beside the vectors: centring keeps their digits
    x, y = (a - centre).transpose(1, 0, 2), (b - centre).transpose(1, 0, 2)
    norms = np.square(x).sum(axis=2)[:, :, None] + np.square(y).sum(axis=2)[:, None, :]
    squared: NDArray[np.float64] = np.maximum(norms - 2 * x @ y.transpose(0, 2, 1), 0.0)
    return squared


def _in_background(
    excerpts: Sequence[Excerpt], backgrounds: list[FloatArray], snr_db: float | None, random: np.random.Generator
) -> list[tuple[int, FloatArray]]:
    """Return excerpts' numbers and windows; normal ones several times, each time in another background."""
    if snr_db is None:
        return [(i, excerpt.samples) for i, excerpt in enumerate(excerpts)]
    mixed = []
    for i, excerpt in enumerate(excerpts):
        for _ in range(1 if excerpt.faulty else MIXES):
            clip = backgrounds[random.integers(len(backgrounds))]
            start = int(random.integers(clip.size - excerpt.samples.size + 1))
            part = clip[start : start + excerpt.samples.size]
            mixed.append((i, mix(excerpt.samples, excerpt.normal_rms, part, snr_db)))
    return mixed


def _bearings(folder: Path) -> list[Rig]:
    """CWRU at 48 kHz, drive end, windows of 0.5 s.

    Full faults, with normal learned at one load and tested at the other. Even so, clean, they are told without a
    miss; so early faults too: 6 dB weaker than the normal machine, added to windows of it that were not learned.
    """
    rate_hz, length = 48_000, 24_000
    rows = [r for r in read_manifest(folder) if r["subset"] in ("normal", "48k_DE") and r["channel"] == "DE"]
    normal = {f"load {r['load_hp']}": read_recording(folder, r) for r in rows if r["fault"] == "normal"}
    if set(normal) != {"load 0", "load 2"}:
        raise DataError(f"{folder / 'manifest.csv'}: needs the normal recordings of load 0 and load 2")
    rms = {state: _rms(samples) for state, samples in normal.items()}
    broken = [_cut(read_recording(folder, r), length)[:5] for r in rows if r["fault"] != "normal"]
    faults = [part for parts in broken for part in parts]
    windows = {state: [Excerpt(p, rms[state], state) for p in _cut(x, length)] for state, x in normal.items()}
    early = [e for w in windows.values() for e in w[: len(w) // 2]]
    late = [e for w in windows.values() for e in w[len(w) // 2 :]]
    carriers = [late[i % len(late)] for i in range(len(faults))]
    loads = ("load 0", "load 2")
    full = [Excerpt(part, rms["load 0"], "load 0", faulty=True) for part in faults]
    weak = [
        Excerpt(mix(e.samples, e.normal_rms, _unit(part), EARLY_DB), e.normal_rms, e.state, faulty=True)
        for e, part in zip(carriers, faults, strict=True)
    ]
    return [
        Rig("bearing, other load", rate_hz, tuple(windows["load 0"]), (*windows["load 2"], *full), ((loads, loads),)),
        Rig("bearing, early fault", rate_hz, tuple(early), (*late, *weak), ((loads, loads),)),
    ]


def _motor(folder: Path) -> Rig:
    """A small motor at a microphone, windows of 1 s: with its propeller it is normal, without it has lost it.

    Clips of one throttle come from one take: the tested throttle is never a learned one, but lies between two.
    """
    rate_hz = 48_000
    rows = [(r, r["condition"].rpartition("=")[2]) for r in read_manifest(folder)]
    clips = [
        (read_recording(folder, r), throttle, r["label"] == "no_prop") for r, throttle in rows if throttle in THROTTLES
    ]
    rms = {t: float(np.mean([_rms(x) for x, at, faulty in clips if at == t and not faulty])) for t in THROTTLES}
    excerpts = [Excerpt(p, rms[t], t, faulty) for x, t, faulty in clips for p in _cut(x, rate_hz)[:1]]
    inner = THROTTLES[1:-1]
    return Rig(
        "motor",
        rate_hz,
        tuple(e for e in excerpts if not e.faulty),
        tuple(e for e in excerpts if e.state in inner),
        tuple((tuple(t for t in THROTTLES if t != tested), (tested,)) for tested in inner),
        acceleration=False,
    )


def _cut(samples: FloatArray, length: int) -> list[FloatArray]:
    return [samples[at : at + length] for at in range(0, samples.size - length + 1, length)]


def _unit(samples: FloatArray) -> FloatArray:
    return samples / np.float32(_rms(samples))


def _rms(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(samples - samples.mean(), dtype=np.float64))))


def _original(row: dict[str, str]) -> str:
    return row["file"].split("-")[1]
