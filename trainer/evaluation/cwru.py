"""The bearing faults of Case Western Reserve University by nearest neighbours: as published, and without the leak.

SIREN's protocol leaves one file out and lets the other loads of the very same bearing vote. The strict one also
leaves out every file with the query's fault diameter, so that only other bearings vote; it asks of the 101 files whose
fault exists in another diameter (FE_outer@12 has one alone).

Shape suffixes: R = recordings, V = length of a feature vector.
Source: SIREN (github.com/yucongzh/SIREN), CWRU with k = 5, Euclidean, single channel.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.features import embed, torch_encoder
from trainer.evaluation.recordings import DataError, read_manifest, read_recording
from trainer.model.echo import Echo

NEIGHBOURS = 5
RATE_HZ = 12_000
SUBSETS = ("12k_DE", "12k_FE")
FILES = 105


@dataclass(frozen=True, slots=True)
class CwruRecording:
    """One recording of a faulty bearing, 12 kHz."""

    name: str
    samples: NDArray[np.float32]
    """Shape (S,), in g."""

    label: str
    """Where the fault sits, one of ten: DE_ball, FE_outer@3 ..."""

    size_in: float
    """Diameter of the fault in inch: 0.007, 0.014, 0.021 or 0.028."""

    load_hp: int


@dataclass(frozen=True, slots=True)
class CwruFigures:
    """Part of the recordings whose fault was named rightly: one file is a whole point of a hundred."""

    siren: float
    """Of 105."""

    strict: float
    """Of 101."""


def load_cwru(folder: Path) -> list[CwruRecording]:
    """Read the recordings SIREN uses from a folder with ``manifest.csv``, in the order of the manifest.

    Raises:
        DataError: the manifest or a file is missing or damaged, or there are not 105.
    """
    rows = [row for row in read_manifest(folder) if row["subset"] in SUBSETS and row["siren_reads_this"] == "1"]
    if len(rows) != FILES:
        raise DataError(f"{folder / 'manifest.csv'}: lists {len(rows)} of SIREN's {FILES} CWRU recordings")
    return [
        CwruRecording(row["file"], read_recording(folder, row), _label(row), float(row["size_in"]), int(row["load_hp"]))
        for row in rows
    ]


def embed_cwru(model: Echo, recordings: Sequence[CwruRecording]) -> NDArray[np.float32]:
    """Return one vector per whole recording, shape (R, bands * D)."""
    return embed(torch_encoder(model), [r.samples for r in recordings], RATE_HZ).reshape(len(recordings), -1)


def score_cwru(features: NDArray[Any], recordings: Sequence[CwruRecording]) -> CwruFigures:
    """Name every recording's fault by its neighbours among ``features`` (R, V), under both protocols."""
    labels = [r.label for r in recordings]
    sizes = np.array([r.size_in for r in recordings])
    itself = np.eye(len(labels), dtype=bool)
    return CwruFigures(
        siren=accuracy(features, labels, itself),
        strict=accuracy(features, labels, sizes[:, None] == sizes[None, :]),
    )


def accuracy(features: NDArray[Any], labels: Sequence[str], barred: NDArray[np.bool_]) -> float:
    """Return the part of ``labels`` that the nearest vectors vote for.

    Args:
        features: shape (R, V).
        labels: of each.
        barred: shape (R, R), true where the column may not vote on the row. A row whose label nobody may vote for is
            not counted.
    Returns:
        NaN when no row is counted.
    """
    names = np.array(labels)
    asked = ((names[:, None] == names[None, :]) & ~barred).any(axis=1)
    x = np.asarray(features, np.float64)
    x = x - x.mean(axis=0)
    norms = (x * x).sum(axis=1)
    distance = np.where(barred, np.inf, norms[:, None] + norms[None, :] - 2 * x @ x.T)
    right = 0
    for i in np.flatnonzero(asked).tolist():
        nearest = [j for j in np.argsort(distance[i], kind="stable")[:NEIGHBOURS] if not barred[i, j]]
        # most_common keeps the order of first sight: of equal counts, the one with the nearest neighbour wins
        right += Counter(labels[j] for j in nearest).most_common(1)[0][0] == labels[i]
    return right / int(asked.sum()) if asked.any() else math.nan


def _label(row: dict[str, str]) -> str:
    return f"{row['fault_end']}_{row['fault']}" + (f"@{row['or_position']}" if row["or_position"] else "")
