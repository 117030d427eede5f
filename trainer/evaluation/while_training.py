"""What a training run looks at every so many steps, on signals it was not trained on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from trainer.evaluation import cwru
from trainer.evaluation.features import embed, mean_and_deviation, mean_log_spectrum, torch_encoder
from trainer.evaluation.spread import MACHINE_RATE_HZ, effective_rank, invented_machines
from trainer.model.echo import Echo


def evaluate_while_training(model: Echo, data: Path | None) -> dict[str, float]:
    """Return figures by name: the spread of the embeddings; with ``data``/cwru also accuracy, baselines beside it.

    The model is in eval mode meanwhile, and no random number is drawn that training would miss.

    Raises:
        DataError: ``data`` is given and the recordings are not there.
    """
    encode = torch_encoder(model)
    vectors = embed(encode, invented_machines(), MACHINE_RATE_HZ)
    figures = {"effective_rank": effective_rank(vectors), "deviation": float(vectors.std(axis=0).mean())}
    if data is None:
        return figures
    recordings, baselines = _cwru(data / "cwru")
    found = embed(encode, [r.samples for r in recordings], cwru.RATE_HZ)
    score = cwru.score_cwru(found.reshape(len(found), -1), recordings)
    return {
        **figures,
        "cwru_siren": score.siren,
        "cwru_strict": score.strict,
        "cwru_effective_rank": effective_rank(found),
        **baselines,
    }


@cache
def _cwru(folder: Path) -> tuple[list[cwru.CwruRecording], dict[str, float]]:
    """Read once: the recordings and what the trivial features reach on them."""
    recordings = cwru.load_cwru(folder)
    figures: dict[str, float] = {}
    for feature in (mean_log_spectrum, mean_and_deviation):
        score = cwru.score_cwru(np.stack([feature(r.samples, cwru.RATE_HZ) for r in recordings]), recordings)
        figures |= {f"cwru_siren_{feature.__name__}": score.siren, f"cwru_strict_{feature.__name__}": score.strict}
    return recordings, figures
