"""The daemon's rule in small form agrees with the daemon."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

pytest.importorskip("torch")

from echo_edge.config import AlertConfig
from echo_edge.indicators import strangeness_scale
from echo_edge.material import Material
from echo_edge.nearest import DENSITY
from echo_edge.normal import Normal
from echo_edge.normal_state import GAIN_DB, TOLERATED, WEIGHTS, NormalState, blocks
from echo_edge.records import Embedding
from trainer.siren import daemon_rule
from trainer.siren.daemon_rule import GAIN, INDICATORS_WEIGHT, fused, nearest, rarity, spread

SECOND_NS = 1_000_000_000
NAMES = ("velocity_rms_mm_s", "acceleration_rms_g", "crest", "kurtosis")
BANDS = 7  # of 16 kHz


def windows(count: int, seed: int, shift: float = 0.0) -> list[Embedding]:
    """Vectors of few directions, as those of machines are, one number that never changes, and a level that wanders."""
    fixed = np.random.default_rng(0)
    mixing = fixed.standard_normal((6, BANDS * 24))
    random = np.random.default_rng(seed)
    bands = random.standard_normal((count, 6)) @ mixing + 0.3 * random.standard_normal((count, BANDS * 24)) + shift
    spectrum = 0.02 * random.standard_normal((count, BANDS, 32)) + 0.05 * random.standard_normal((count, 1, 1))
    spectrum[:, -1, :7] = 0  # padding of the last band
    indicators = np.exp(0.1 * random.standard_normal((count, 1, len(NAMES))) + shift)
    return [
        Embedding(
            "m/p",
            bands[i].reshape(1, BANDS, 24).astype(np.float32),
            16_000,
            i * SECOND_NS,
            (i + 1) * SECOND_NS,
            spectrum[i][None].astype(np.float32),
            np.zeros((1, 4, 4), np.uint8),
            np.zeros(1),
            indicators[i],
            NAMES,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [40, 150])
def test_every_part_and_the_score_are_the_daemons(count: int) -> None:
    learned, asked = windows(count, 1), [*windows(20, 2), *windows(20, 3, shift=0.3)]
    material, other = Material.of(learned), Material.of(asked)
    state = NormalState.learn("run", material)
    normal = Normal("bl_0001", [state], 1.0, 1.0, AlertConfig())
    said = [normal.score(one) for one in asked]
    group = blocks(material.start_ns, material.end_ns)
    parts = {
        "echo": nearest(material.bands[:, 0], group, other.bands[:, 0]),
        "spectrum": nearest(material.spectrum[:, 0], group, other.spectrum[:, 0], tolerated=GAIN),
        "indicators": spread(
            *(
                strangeness_scale(material.indicators[:, 0], NAMES),
                group,
                strangeness_scale(other.indicators[:, 0], NAMES),
            )
        ),
    }
    for name, part in parts.items():
        theirs = np.array([score.rarities[name] for score in said]) / WEIGHTS[name]
        np.testing.assert_allclose(rarity(part)[1], theirs, rtol=0.02, atol=0.02, err_msg=name)
    score = fused(list(parts.values()), [1.0, 1.0, INDICATORS_WEIGHT])
    np.testing.assert_allclose(score, [one.value for one in said], rtol=0.02, atol=0.02)


def test_what_a_person_may_change_in_the_daemon_is_the_same_here() -> None:
    assert pytest.approx(TOLERATED["spectrum"]) == GAIN
    assert GAIN_DB == 3.0
    assert WEIGHTS == {"echo": 1.0, "spectrum": 1.0, "indicators": INDICATORS_WEIGHT}
    assert daemon_rule.DENSITY == DENSITY


def test_the_shrinkage_is_the_known_librarys() -> None:
    x = np.random.default_rng(4).standard_normal((40, 90)) * np.linspace(0.5, 2, 90)
    assert daemon_rule._ledoit_wolf(x - x.mean(axis=0)) == pytest.approx(ledoit_wolf_shrinkage(x))
