"""The bearing faults of Case Western Reserve University by nearest neighbours: as published, and without the leak.

Both by ``trainer.siren`` in mode ``strict``, k = 5: true channels; the published protocol leaves one file out and lets
the other loads of the very same bearing vote, the other also leaves out every file with the query's fault diameter.

Shape suffixes: R = recordings, V = length of a feature vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.features import embed, torch_encoder
from trainer.evaluation.recordings import DataError
from trainer.model.echo import Echo
from trainer.siren import faults
from trainer.siren.engine import Features
from trainer.siren.errors import TreeError
from trainer.siren.reading import decode, file_bytes
from trainer.siren.results import NEIGHBOURS
from trainer.siren.tasks.base import FaultClip
from trainer.siren.tasks.cwru import Cwru

K = 5
RATE_HZ = Cwru.rate_hz


@dataclass(frozen=True, slots=True)
class CwruRecording:
    """One recording of a faulty bearing, 12 kHz."""

    clip: FaultClip
    samples: NDArray[np.float32]
    """Shape (S,), in g."""


@dataclass(frozen=True, slots=True)
class CwruFigures:
    """Part of the recordings whose fault was named rightly: one file is a whole point of a hundred."""

    siren: float
    """Of 105."""

    strict: float
    """Of 101."""


def load_cwru(folder: Path) -> list[CwruRecording]:
    """Read the 105 recordings.

    Raises:
        DataError: the folder or a file is missing or damaged, or there are not 105.
    """
    try:
        listing = Cwru().find(folder)
        if listing.problems:
            raise DataError(listing.problems[0])
        clips = [clip for clip in listing.clips if isinstance(clip, FaultClip)]
        return [CwruRecording(clip, decode(clip, file_bytes(clip)).signal[0]) for clip in clips]
    except TreeError as error:
        raise DataError(str(error)) from error


def embed_cwru(model: Echo, recordings: Sequence[CwruRecording]) -> NDArray[np.float32]:
    """Return one vector per whole recording, shape (R, bands * D)."""
    return embed(torch_encoder(model), [r.samples for r in recordings], RATE_HZ).reshape(len(recordings), -1)


def score_cwru(features: NDArray[Any], recordings: Sequence[CwruRecording]) -> CwruFigures:
    """Name every recording's fault by its neighbours among ``features`` (R, V), under both protocols."""
    clips = [r.clip for r in recordings]
    vectors = {clip.name: vector[None] for clip, vector in zip(clips, features, strict=True)}
    results = faults.evaluate(Cwru(), clips, Features(vectors), "", "strict", (K,))
    found = {r.protocol: r.value for r in results if r.method == NEIGHBOURS}
    return CwruFigures(siren=found[Cwru.protocol], strict=found[faults.LEAKAGE_FREE])
