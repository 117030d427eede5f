"""Ways to score measured on real machines in noise: the same vectors, judged in every way there is.

The machines and conditions are those of ``trainer.evaluation.detection``: bearings with early and full faults and a
motor without its propeller, in four backgrounds, at their own and at other levels.

Shape suffixes: R = windows, N = bands, W = length of the longest band's part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.detection import Fold, conditions, load_backgrounds, load_rigs, roc, scores
from trainer.siren.backends import Combined, LocalDensity, Mahalanobis, Nearest, Residual
from trainer.siren.daemon_rule import nearest
from trainer.siren.encoders.base import Encoder, FloatArray
from trainer.siren.errors import SirenError
from trainer.siren.tables import DASH, header, row

Edges = tuple[int, ...] | None
Judge = Callable[[Fold, Edges], NDArray[np.float64] | None]
"""One score for every vector asked of; None where the method needs bands and there are none."""

Step = Callable[[int, int], None]


def _whole(make: Callable[[NDArray[np.float64]], Nearest | LocalDensity | Mahalanobis | Residual | Combined]) -> Judge:
    return lambda fold, _: make(_flat(fold.known)).scores(_flat(fold.asked))


def _per_band(fold: Fold, edges: Edges) -> NDArray[np.float64] | None:
    return Nearest(_flat(fold.known), edges).scores(_flat(fold.asked)) if edges else None


def _usual(fold: Fold, edges: Edges) -> NDArray[np.float64]:
    """Return the Euclidean distance per band, in units of the usual one there, RMS over bands."""
    return scores(_banded(fold.known, edges), fold.excerpt, _banded(fold.asked, edges))


def _white(fold: Fold, edges: Edges) -> NDArray[np.float64]:
    """Return what the daemon's part for such vectors says."""
    return nearest(_banded(fold.known, edges), fold.excerpt, _banded(fold.asked, edges))[1]


JUDGES: dict[str, Judge] = {
    "nearest, cosine (SIREN)": _whole(Nearest),
    "per band, cosine": _per_band,
    "local density": _whole(LocalDensity),
    "Mahalanobis": _whole(Mahalanobis),
    "residual of components": _whole(Residual),
    "combined": _whole(Combined),
    "per band, usual distance": _usual,
    "per band, whitened": _white,
}


def measure(encoders: Sequence[Encoder], data: Path, progress: Step = lambda *_: None) -> str:
    """Return a Markdown table: AUC and partial AUC of every encoder by every method, mean over all conditions.

    Raises:
        DataError: recordings are missing under ``data``.
        SirenError: an encoder refuses a window.
    """
    rigs = load_rigs(data)
    backgrounds = {hz: load_backgrounds(data / "audio", hz) for hz in {rig.rate_hz for rig in rigs}}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    done = 0
    for encoder in encoders:

        def vectors(signals: Sequence[FloatArray], rate_hz: int, encoder: Encoder = encoder) -> FloatArray:
            try:
                return np.stack(encoder.embed_batch([samples[None] for samples in signals], rate_hz))
            except ValueError as error:
                raise SirenError(f"{encoder.name}: {error}") from error

        for rig in rigs:
            edges = encoder.band_edges(rig.rate_hz)
            progress(done, len(encoders) * len(rigs))
            for at in conditions(vectors, rig, backgrounds[rig.rate_hz]):
                for name, judge in JUDGES.items():
                    judged = [(judge(fold, edges), fold.faulty) for fold in at.folds]
                    areas = [roc(values, faulty) for values, faulty in judged if values is not None]
                    if areas:
                        auc, pauc = np.mean(areas, axis=0)
                        found.setdefault((name, encoder.name), []).append((float(auc), float(pauc)))
            done += 1
    progress(done, len(encoders) * len(rigs))
    count = max(len(values) for values in found.values())
    names = [encoder.name for encoder in encoders]
    lines = header(["", *names])
    for judge_name in JUDGES:
        means = [np.mean(found[judge_name, n], axis=0) if (judge_name, n) in found else None for n in names]
        cells = [DASH if m is None else f"{m[0]:.3f} / {m[1]:.3f}" for m in means]
        lines.append(row([judge_name, *cells]))
    head = f"ROC-AUC / partial AUC (0.5 is chance), mean of {count} conditions on {len(rigs)} machines."
    return "\n".join([*lines, "", head, ""])


def _flat(vectors: FloatArray) -> NDArray[np.float64]:
    return vectors.reshape(len(vectors), -1).astype(np.float64)


def _banded(vectors: FloatArray, edges: Edges) -> FloatArray:
    """Return (R, N, W); a shorter band is filled with zeros, which change no distance."""
    flat = vectors.reshape(len(vectors), -1)
    ends = edges or (0, flat.shape[1])
    widest = max(b - a for a, b in pairwise(ends))
    return np.stack([np.pad(flat[:, a:b], ((0, 0), (0, widest - (b - a)))) for a, b in pairwise(ends)], axis=1)
